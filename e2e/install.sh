#!/usr/bin/env bash
# Puts the working tree into a running lab: images of both binaries, the chart, its default pool.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
mapfile -t images < <("$ROOT/e2e/binaries.sh")
[ ${#images[@]} = 2 ]
"$LAB" images "${images[@]}"
"$LAB" load
"$LAB" helm upgrade --install egressway "$ROOT/charts/egressway" --namespace egressway-system --create-namespace \
  --values "$ROOT/e2e/values.yaml" --wait --timeout 120s "$@"
