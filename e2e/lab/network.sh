# shellcheck shell=bash
# The lab's network: one namespace per node, one for the control plane, a router between them and the internet.
#
#   node, control --- br0 [router] wan --- [inet]
#
# The router is the NAT gateway of every cell. The NAT addresses sit on no interface: the internet routes both NAT
# prefixes to the router, which drops whatever belongs to no connection. So a cell's NAT changes with nft alone, and
# a source without a rule gets nowhere. The machine's own namespace gets no interface, address or route.

network() {
  local name line
  mkdir -p "$RUN/netns"
  mount -t tmpfs -o mode=700,size=1m egressway-lab "$RUN/netns" # so that a node can let go of all of them at once
  mount --make-private "$RUN/netns"
  for name in router inet control; do namespace "$name"; done
  router_network
  internet_network
  attach control "$CONTROL4" "$CONTROL6"
  for line in "${NODES[@]}"; do
    node_fields "${line%% *}"
    printf 'route add %s via %s\nroute add %s via %s\n' "$pods4" "$ip4" "$pods6" "$ip6" >>"$RUN/pod-routes"
  done
  inside router ip -batch "$RUN/pod-routes"
  inside control ip -batch "$RUN/pod-routes"
  for name in $(node_names); do node_network "$name"; done
  nat_base
}

namespace() { # NAME
  : >"$RUN/netns/$1"
  unshare --net="$RUN/netns/$1" ip link set lo up
}

router_network() {
  inside router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  inside router ip -batch - <<END
link add br0 type bridge
addr add $ROUTER4/24 dev br0
addr add $ROUTER6/64 dev br0 nodad
link set br0 up
link add wan type veth peer name eth0 netns $RUN/netns/inet
addr add 10.255.0.1/30 dev wan
addr add fd10:255::1/64 dev wan nodad
link set wan up
END
  inside router sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0
}

internet_network() {
  local line addresses
  inside inet ip -batch - <<END
addr add 10.255.0.2/30 dev eth0
addr add fd10:255::2/64 dev eth0 nodad
link set eth0 up
route add $NAT4.0/24 via 10.255.0.1
route add $NAT6::/64 via fd10:255::1
END
  for line in "${ECHOS[@]}" "${OBSERVERS[@]}" "dns $DNS_SERVER"; do
    addresses=${line#* }
    echo "addr add ${addresses%,*}/32 dev lo"
    echo "addr add ${addresses#*,}/128 dev lo nodad"
  done | inside inet ip -batch -
  inside router ip -batch - <<END
route add $NET4.0/24 via 10.255.0.2
route add $NET6::/64 via fd10:255::2
route add blackhole $NAT4.0/24
route add blackhole $NAT6::/64
END
}

# The hardware address follows from the IP: a machine that crashed comes back with the one that its neighbours know.
attach() { # NETNS IP4 IP6
  local mac
  # shellcheck disable=SC2086,SC2183 # four numbers
  mac=$(printf '02:00:%02x:%02x:%02x:%02x' ${2//./ })
  inside router ip link add "v-$1" type veth peer name eth0 address "$mac" netns "$RUN/netns/$1"
  inside router ip link set "v-$1" master br0 up
  inside "$1" ip -batch - <<END
addr add $2/24 dev eth0
addr add $3/64 dev eth0 nodad
link set eth0 up
route add default via $ROUTER4
route add default via $ROUTER6
END
}

# node_network NODE: a fresh namespace, with routes to every other node's pods.
node_network() {
  node_fields "$1"
  namespace "$1"
  attach "$1" "$ip4" "$ip6"
  # the last two: what pods of one node send each other passes the rules of network policies
  inside "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
    net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
  grep -v -e " via $ip4\$" -e " via $ip6\$" "$RUN/pod-routes" | inside "$1" ip -batch -
}

# forget_namespace NAME: with its last process gone, the namespace and its cable vanish.
forget_namespace() {
  umount "$RUN/netns/$1"
  rm "$RUN/netns/$1"
}
