#!/usr/bin/env bash
# Builds the lab's own binaries (Kubernetes, CoreDNS, Helm, the lab's tool, pause) into a cache outside the checkout.
# A piece is keyed by its sources, its flags and the compiler's version: what is there already is not built again.
# It leaves Go's own module and build caches where Go keeps them, and does not build anything of the product.
# Usage: build.sh [hyper|coredns|helm|lab-tool|pause|kube-router ...]   prints the path of each piece on stdout, progress on stderr.
set -euo pipefail
lab=$(dirname "$(readlink -f "$0")")
. "$lab/env.sh"
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local

V=k8s.io/component-base/version
kube=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$lab/go/hyper/go.mod")
minor=$(echo "$kube" | cut -d. -f2)

key() { sha256sum | cut -c1-16; }

# ticking PIECE CMD...: run a long command, with a line every 20 s on stderr.
ticking() {
  local piece=$1 start=$SECONDS next=20 pid
  shift
  echo "lab: building $piece, once per machine" >&2
  [ "$piece" != hyper ] || echo "lab: this is all of Kubernetes, 7 to 20 minutes on two cores" >&2
  nice -n 5 "$@" >&2 &
  pid=$!
  trap 'kill "$pid" 2>/dev/null || true' EXIT
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5
    ((SECONDS - start >= next)) || continue
    next=$((next + 20))
    echo "lab: still building $piece, $((SECONDS - start)) s" >&2
  done
  trap - EXIT
  wait "$pid"
  echo "lab: $piece built in $((SECONDS - start)) s" >&2
}

# cached PIECE KEY CMD...: CMD writes the file @OUT@, unless the cache has it.
cached() {
  local piece=$1 out=$CACHE/$1-$2
  shift 2
  if [ ! -x "$out" ]; then
    mkdir -p "$CACHE"
    ticking "$piece" "${@/@OUT@/$out.part}"
    mv "$out.part" "$out"
  fi
  ln -sfn "$out" "$CACHE/$piece"
  echo "$out"
}

go_piece() { # PIECE DIRECTORY PACKAGE LDFLAGS
  local package=$3 ldflags="-s -w ${4:-}"
  cd "$lab/go/$2"
  cached "$1" "$({ cat ./*; go version; echo "$package $ldflags"; } | key)" \
    go build -trimpath -ldflags "$ldflags" -o @OUT@ "$package"
}

c_piece() { # PIECE SOURCE
  cached "$1" "$({ cat "$2"; gcc --version; } | key)" gcc -static -Os -s -o @OUT@ "$2"
}

for piece in "${@:-hyper}"; do
  case $piece in
    hyper) go_piece hyper hyper . "-X $V.gitVersion=$kube -X $V.gitMajor=1 -X $V.gitMinor=$minor -X $V.gitTreeState=clean" ;;
    coredns) go_piece coredns coredns . ;;
    helm) go_piece helm helm helm.sh/helm/v4/cmd/helm ;;
    lab-tool) go_piece lab-tool tool . ;;
    kube-router) go_piece kube-router kube-router . ;; # optional: `lab second-opinion`
    pause) c_piece pause "$lab/pause/pause.c" ;;
    *) echo "build.sh: unknown piece $piece" >&2; exit 2 ;;
  esac
done
