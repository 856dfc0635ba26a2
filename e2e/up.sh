#!/usr/bin/env bash
# From nothing to a lab that has shown that it works, with the chart and the working tree's binaries in it.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

step "binaries for the cluster"
quietly "$logs/binaries" "$ROOT/e2e/binaries.sh"
step "cluster"
EGRESSWAY_PROXY_BIN=$(sed -n 's/^egressway-proxy=//p' "$logs/binaries") "$LAB" up
step "self-test of the lab"
"$LAB" selftest
step "helm install"
quietly "$logs/install" "$ROOT/e2e/install.sh"
took
