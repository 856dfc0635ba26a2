# Builds one of the two images, FROM scratch, with one static binary in it:
#   docker build --build-arg BINARY=egressway-operator -t egressway-operator:0.1.0 .
#   docker build --build-arg BINARY=egressway-proxy    -t egressway-proxy:0.1.0 .
# Both need BuildKit, which Docker has had as its default since 23. Alpine's own target is musl, so the binary is static on
# every platform that buildx builds this for. linux-headers: aws-lc includes linux/random.h (aws/aws-lc-rs issue 894).
FROM rust:1.95.0-alpine AS build
RUN apk add --no-cache cmake gcc linux-headers make musl-dev
WORKDIR /src
COPY . .
ARG BINARY
# The toolchain of the image is the pinned one; rustup must not fetch clippy and rustfmt for it. The caches are for
# machines that build again; the lock file decides what is compiled.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    test -n "$BINARY" && cargo build --locked --release --package "$BINARY" && cp "target/release/$BINARY" /binary

# No shell, no libc, no CA files: the proxy carries Mozilla's roots, the operator gets the API server's from its token.
FROM scratch
COPY --from=build --chown=65532:65532 --chmod=0555 /binary /egressway
USER 65532:65532
ENTRYPOINT ["/egressway"]
