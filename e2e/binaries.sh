#!/usr/bin/env bash
# Builds both binaries static, for images FROM scratch, and prints "operator=PATH proxy=PATH" for `lab images`.
# musl where its target is installed or can be; else glibc linked statically (both are tested on the lab).
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
cd "$ROOT"
musl=x86_64-unknown-linux-musl gnu=x86_64-unknown-linux-gnu
if need musl-gcc musl-tools && { rustup target list --installed | grep -qx $musl || rustup target add $musl; } >&2; then
  target=$musl
else
  target=$gnu
  export RUSTFLAGS="-C target-feature=+crt-static"
fi
cargo build --locked --profile lab --target $target -p egressway-operator -p egressway-proxy >&2
for name in operator proxy; do echo "egressway-$name=$CARGO_TARGET_DIR/$target/lab/egressway-$name"; done
