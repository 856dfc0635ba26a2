#!/usr/bin/env bash
# Every test, from formatting to the cluster: what must pass before anything lands. Needs root for the lab.
#   e2e/check.sh            all
#   e2e/check.sh --fast     without the cluster
# The cluster comes up beside what needs none: one mostly waits, the other computes. The end-to-end tests wait for
# both, so that they have the machine to themselves.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
cd "$ROOT"
case ${1:-} in
  '') fast=no ;;
  --fast) fast=yes ;;
  *) echo "usage: e2e/check.sh [--fast]" >&2; exit 2 ;;
esac
logs=$(mktemp -d)
up='' coming=''
finish() {
  local status=$?
  [ -z "$coming" ] || kill -- "-$coming" || true # a group of its own
  if [ -n "$up" ]; then
    step "taking the lab down"
    "$LAB" down || status=1
    "$LAB" check-clean || status=1
  fi
  took
  rm -rf "$logs"
  exit $status
}
trap finish EXIT

# cluster_is_up: waits for it, and shows how that went.
cluster_is_up() {
  local status=0
  signs_of_life "$coming" "$logs/up"
  wait "$coming" || status=$?
  coming=
  cat "$logs/up"
  return $status
}

step "tools and binaries of the lab"
"$LAB" build
step "format"
cargo fmt --check
(cd core/fuzz && cargo fmt --check)
(cd proxy/fuzz && cargo fmt --check)
need shellcheck shellcheck
git ls-files -z '*.sh' e2e/lab/lab .ci/run | xargs -0 shellcheck -x -e SC1091
if [ $fast = no ]; then
  setsid e2e/up.sh >"$logs/up" 2>&1 &
  coming=$! up=yes
fi
step "lint"
quietly "$logs/clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
step "build of unit, property, snapshot and socket tests"
quietly "$logs/test-build" cargo test --locked --workspace --no-run
step "unit, property, snapshot and socket tests"
cargo test --locked --workspace --quiet
step "chart"
charts/egressway/tests/render.sh
step "dependencies: licences, bans, sources"
quietly "$logs/deny" e2e/deny.sh
[ $fast = no ] || exit 0

step "the end-to-end tests' own binary"
quietly "$logs/e2e-build" cargo build --locked -p egressway-e2e
step "the cluster, which came up meanwhile"
cluster_is_up
step "end-to-end tests"
KUBECONFIG=$("$LAB" kubeconfig) "$CARGO_TARGET_DIR/debug/egressway-e2e" --lab "$LAB"
step "uninstall with policies still present"
e2e/uninstall.sh
