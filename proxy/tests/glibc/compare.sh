#!/usr/bin/env bash
# What glibc and the proxy make of the same two name servers, as rows of a table in Markdown. Needs root (namespaces).
# Usage: compare.sh PATH/egressway-proxy
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
proxy=$(realpath "$1")
if [ "${2:-}" != inside ]; then
  # A network and a file system of its own: nothing leaves the machine, and its resolv.conf stays.
  exec unshare --net --mount --fork bash "$0" "$proxy" inside
fi
ip link set lo up
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'nameserver 127.0.0.1\nnameserver 127.0.0.2\n' > "$work/resolv.conf"
printf 'hosts: dns\n' > "$work/nsswitch.conf"
mount --bind "$work/resolv.conf" "$(realpath /etc/resolv.conf)"
[ ! -e /etc/nsswitch.conf ] || mount --bind "$work/nsswitch.conf" "$(realpath /etc/nsswitch.conf)"
cat > "$work/policy.yaml" <<'YAML'
apiVersion: egressway.dev/v1alpha1
kind: EgressPolicy
metadata: {name: all, namespace: a}
spec: {rules: [{name: all, hosts: ["*"]}]}
YAML
# Prints "answer | seconds": whose addresses, both families or one.
told() {
  local began ended found
  began=$(date +%s.%N)
  found=$("$@" 2>/dev/null | grep -oE '192\.175\.48\.[12]|2620:4f:8000::[12]' | sort -u || true)
  ended=$(date +%s.%N)
  local by=none
  case $(tr '\n' ' ' <<< "$found") in
    "192.175.48.1 2620:4f:8000::1 ") by=first ;;
    "192.175.48.2 2620:4f:8000::2 ") by=second ;;
    " ") by=none ;;
    *) by=$(tr '\n' ' ' <<< "$found") ;;
  esac
  printf '%s, %.1f s' "$by" "$(bc <<< "$ended - $began")"
}
echo "| first | second | glibc | proxy |"
echo "| --- | --- | --- | --- |"
row() {
  : > "$work/ready"
  python3 "$here/servers.py" "$1" "$2" > "$work/ready" &
  local servers=$!
  until grep -q ready "$work/ready"; do sleep 0.05; done
  local glibc ours
  glibc=$(told getent ahosts a.example)
  ours=$(told "$proxy" check --policy "$work/policy.yaml" --resolve https://a.example)
  kill "$servers"; wait "$servers" 2>/dev/null || true
  echo "| $1 | $2 | $glibc | $ours |"
}
for word in SERVFAIL REFUSED NOTIMP NXDOMAIN silence garbage truncation wrong-id wrong-question late; do
  row "$word" good
done
for word in SERVFAIL REFUSED NOTIMP NXDOMAIN silence garbage truncation wrong-id wrong-question late; do
  row good "$word"
done
row SERVFAIL NXDOMAIN
row silence NXDOMAIN
row late NXDOMAIN
row SERVFAIL SERVFAIL
