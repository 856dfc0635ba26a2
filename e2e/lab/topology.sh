# shellcheck shell=bash
# The lab's map: nodes, cells, addresses, names. Data only; nothing here acts.
#
# Internet and NAT addresses are from the AS112 blocks (RFC 7534, 7535): the registries call them globally reachable,
# so address policies treat them as public, and yet they lead nowhere. They exist only inside the lab's namespaces.

# name  IPv4  IPv6  pod IPv4  pod IPv6  cell  pool  zone      ("-": none)
NODES=(
  "sys-1   10.10.0.11 fd10:10::11 10.244.1.0/24  fd10:244:1::/64  general -     -"
  "edge-a1 10.10.0.21 fd10:10::21 10.244.21.0/24 fd10:244:21::/64 edge-a  edge  lab-a"
  "edge-a2 10.10.0.22 fd10:10::22 10.244.22.0/24 fd10:244:22::/64 edge-a  edge  lab-a"
  "edge-b1 10.10.0.31 fd10:10::31 10.244.31.0/24 fd10:244:31::/64 edge-b  edge  lab-b"
  "batch-1 10.10.0.41 fd10:10::41 10.244.41.0/24 fd10:244:41::/64 batch   batch lab-a"
)

NAT4=192.31.196
NAT6=2620:4f:8000:2
# cell  its default NAT addresses
CELLS=(
  "general $NAT4.1 $NAT6::1"
  "edge-a $NAT4.10 $NAT6::10"
  "edge-b $NAT4.20 $NAT6::20"
  "batch $NAT4.30 $NAT6::30"
)

NET4=192.175.48
NET6=2620:4f:8000:1
# name  addresses
ECHOS=("echo $NET4.80,$NET6::80" "echo2 $NET4.81,$NET6::81")
OBSERVERS=(
  "one $NET4.91,$NET6::91" "two $NET4.92,$NET6::92" "three $NET4.93,$NET6::93"
  "four $NET4.94,$NET6::94" "five $NET4.95,$NET6::95" "six $NET4.96,$NET6::96"
)
DNS_SERVER=$NET4.53,$NET6::53
RECORDS=(
  "echo.example.test=$NET4.80,$NET6::80"
  "echo2.example.test=$NET4.81,$NET6::81"
  "v4.example.test=$NET4.80"
  "v6.example.test=$NET6::80"
  "*.example.test=$NET4.81,$NET6::81"
  "one.observers.test=$NET4.91,$NET6::91"
  "two.observers.test=$NET4.92,$NET6::92"
  "three.observers.test=$NET4.93,$NET6::93"
  "four.observers.test=$NET4.94,$NET6::94"
  "five.observers.test=$NET4.95,$NET6::95"
  "six.observers.test=$NET4.96,$NET6::96"
)

# The cluster's own network.
ROUTER4=10.10.0.1 ROUTER6=fd10:10::1
CONTROL4=10.10.0.2 CONTROL6=fd10:10::2
PODS=10.244.0.0/16,fd10:244::/32
SERVICES=10.96.0.0/16,fd10:96::/112
CLUSTER_DNS4=10.96.0.10 CLUSTER_DNS6=fd10:96::a
FORWARDER=127.0.0.1:16443 # the API server, seen from the machine

# node_fields NODE: sets node, ip4, ip6, pods4, pods6, cell, pool, zone; fails for an unknown name.
node_fields() {
  local line
  for line in "${NODES[@]}"; do
    read -r node ip4 ip6 pods4 pods6 cell pool zone <<<"$line"
    [ "$node" = "$1" ] && return 0
  done
  return 1
}

node_names() { printf '%s\n' "${NODES[@]}" | cut -d' ' -f1; }

# value_of NAME "KEY VALUE..."...: the values behind a key in one of the tables above.
value_of() {
  local wanted=$1 line
  shift
  for line in "$@"; do
    [ "${line%% *}" = "$wanted" ] && { echo "${line#* }"; return 0; }
  done
  return 1
}
