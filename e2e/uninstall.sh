#!/usr/bin/env bash
# helm uninstall while policies exist: nothing of a fleet may be left, and no policy may hang in deletion.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
k() { "$LAB" kubectl "$@"; }
policies=$(k get egresspolicies -A --no-headers | wc -l)
[ "$policies" -gt 0 ] || { echo "no policies: this would show nothing"; exit 1; }
"$LAB" helm uninstall egressway --namespace egressway-system --wait --timeout 180s
[ "$(k get egresspolicies -A --no-headers | wc -l)" = "$policies" ] || { echo "policies went with the chart"; exit 1; }
k get namespace egressway-fleets --ignore-not-found | { ! grep . ; } || k wait --for=delete namespace/egressway-fleets --timeout=120s
left=$(k get all,configmaps,secrets,networkpolicies,poddisruptionbudgets,serviceaccounts -A -l app.kubernetes.io/managed-by=egressway-operator -o name)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
left=$(k get clusterroles,clusterrolebindings -l app.kubernetes.io/part-of=egressway -o name)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
k delete egresspolicies --all -A --timeout=30s >/dev/null
# The chart's admission policy is gone with the chart: nothing denies this.
k delete egresspools --all --timeout=30s >/dev/null
echo "uninstalled: $policies policies kept and then deleted, nothing left behind"
