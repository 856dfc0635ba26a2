#!/usr/bin/env bash
# Puts the working tree into a running lab: images of both binaries, the chart, its default pool.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
mapfile -t images < <("$ROOT/e2e/binaries.sh")
[ ${#images[@]} = 2 ]
"$LAB" images "${images[@]}"
"$LAB" load
known=$("$LAB" helm list --namespace egressway-system --short)
"$LAB" helm upgrade --install egressway "$ROOT/charts/egressway" --namespace egressway-system --create-namespace \
  --values "$ROOT/e2e/values.yaml" --wait --timeout 120s "$@"
# The tag stays the same, so what runs already has to be told that there is another image behind it.
if [ -n "$known" ]; then
  "$LAB" kubectl rollout restart --namespace egressway-system deployment/egressway
  "$LAB" kubectl rollout status --namespace egressway-system deployment/egressway --timeout=60s
  "$LAB" kubectl delete pods --namespace egressway-fleets --all --wait=false
fi
