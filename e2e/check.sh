#!/usr/bin/env bash
# Every test, from formatting to the cluster: what must pass before anything lands. Needs root for the lab.
#   e2e/check.sh            all
#   e2e/check.sh --fast     without the cluster
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
cd "$ROOT"
fast=no
[ "${1:-}" = --fast ] && fast=yes
logs=$(mktemp -d)
lab_up=no
finish() {
  local status=$?
  [ $lab_up = no ] || { step "taking the lab down"; "$LAB" down || status=1; "$LAB" check-clean || status=1; }
  rm -rf "$logs"
  exit $status
}
trap finish EXIT

step "tools and binaries of the lab"
"$LAB" build
step "format"
cargo fmt --check
(cd core/fuzz && cargo fmt --check)
(cd proxy/fuzz && cargo fmt --check)
step "lint"
quietly "$logs/clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
need shellcheck shellcheck
git ls-files -z '*.sh' e2e/lab/lab .ci/run | xargs -0 shellcheck -x -e SC1091
step "unit, property, snapshot and socket tests"
quietly "$logs/test-build" cargo test --locked --workspace --no-run
cargo test --locked --workspace --quiet
step "chart"
charts/egressway/tests/render.sh
step "dependencies: licences, bans, sources"
quietly "$logs/deny" e2e/deny.sh
[ $fast = no ] || exit 0

step "binaries for the cluster"
quietly "$logs/binaries" e2e/binaries.sh
step "cluster"
lab_up=yes
EGRESSWAY_PROXY_BIN=$(sed -n 's/^egressway-proxy=//p' "$logs/binaries") "$LAB" up
"$LAB" selftest
step "helm install"
quietly "$logs/install" e2e/install.sh
step "end-to-end tests"
KUBECONFIG=$("$LAB" kubeconfig) cargo run --locked --quiet -p egressway-e2e -- --lab "$LAB"
step "uninstall with policies still present"
e2e/uninstall.sh
