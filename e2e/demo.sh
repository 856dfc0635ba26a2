#!/usr/bin/env bash
# The main job, for real: a cluster with NAT gateways on this machine, the chart, the examples, requests, and the
# egress IPs in status beside what servers outside of the cluster saw. Takes the cluster down again unless --keep.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
cd "$ROOT"
case ${1:-} in
  '') keep=no ;;
  --keep) keep=yes ;;
  *) echo "usage: e2e/demo.sh [--keep]" >&2; exit 2 ;;
esac
logs=$(mktemp -d)
finish() {
  local status=$?
  if [ $keep = no ] || [ $status != 0 ]; then
    step "taking the lab down"
    "$LAB" down
    "$LAB" check-clean
  fi
  rm -rf "$logs"
}
trap finish EXIT

step "tools and binaries of the lab (a new machine builds Kubernetes from Go modules first)"
"$LAB" build
step "operator and proxy (a new machine compiles their dependencies first)"
quietly "$logs/binaries" e2e/binaries.sh
step "cluster: five nodes, a NAT gateway per cell, an internet with DNS, echo servers and observers"
EGRESSWAY_PROXY_BIN=$(sed -n 's/^egressway-proxy=//p' "$logs/binaries") "$LAB" up
step "helm install"
quietly "$logs/install" e2e/install.sh
k() { "$LAB" kubectl "$@"; }

step "kubectl apply -f examples/lab"
k apply --server-side -f "$ROOT/examples/lab"
k wait --for=condition=Ready --timeout=120s egresspolicy --all --all-namespaces
k wait --for=condition=Progressing=False --timeout=60s egresspolicy --all --all-namespaces
k -n shop wait --for=condition=Ready --timeout=60s pod/client

step "requests from a client pod, through the proxy"
since=$("$LAB" echo mark)
url=$(k -n shop get egresspolicy webhooks -o jsonpath='{.status.proxyURL}')
echo "HTTPS_PROXY=$url"
fetch() { echo "\$ fetch $*"; k -n shop exec client -- /lab-tool fetch --proxy "$url" "$@" || true; }
fetch --insecure https://echo.example.test/
fetch http://echo.example.test/
fetch --insecure https://not-on-the-list.example/
fetch http://169.254.169.254/latest/meta-data/
outside() { "$LAB" echo log --since "$since" | sed -n 's/.*"source":"\([^"]*\)".*/\1/p'; }
verified() {
  k -n shop get egresspolicy webhooks -o jsonpath='{range .status.egressIPs[?(@.state=="Verified")]}{.ip}{"\n"}{end}' | sort
}
# Until every pod behind the Service has had its turn: a node may need a moment to hear of the last one.
for _ in {1..10}; do
  for host in v4.example.test v6.example.test; do
    k -n shop exec client -- /lab-tool loop --proxy "$url" --count 20 --gap 5ms "http://$host/" >/dev/null
  done
  [ "$(verified)" != "$(outside | sort -u)" ] || break
done

step "kubectl get egresspolicies,egresspools"
k get egresspolicies,egresspools --all-namespaces
step "and what the outside saw of policy shop/webhooks"
outside | sort | uniq -c
[ "$(verified)" = "$(outside | sort -u)" ] || { echo "status and outside differ"; exit 1; }
echo "equal to the Verified addresses in status."
[ $keep = no ] || printf '\nThe lab stays up: try %s kubectl get epol -A, and take it down with %s down\n' "$LAB" "$LAB"
