#!/usr/bin/env bash
# node-init.sh NODE: process 1 of a node, in network, mount, uts, ipc, pid and cgroup namespaces of its own. It makes
# the node's file system view, then runs containerd, kube-proxy and kubelet. If one of them ends, it says which and
# ends the node: nothing is restarted behind a test's back.
set -euo pipefail
LAB=$(dirname "$(readlink -f "$0")")
. "$LAB/env.sh"
. "$LAB/topology.sh"
. "$LAB/lib.sh"
. "$LAB/network-policies.sh"
. "$LAB/node-config.sh"
node_fields "$1"
home=$RUN/node/$node

file_systems() {
  local path hierarchy
  hostname "$node"
  mount --make-rprivate /
  umount --recursive "$RUN/netns" # a copy of the mounts would keep every namespace alive
  mkdir -p "$home"/{containerd,kubelet,cni,log}
  mount -t tmpfs -o mode=755,size=16m lib /var/lib # so that no mount point has to be made on the machine
  for path in containerd kubelet cni; do
    mkdir "/var/lib/$path"
    mount --bind "$home/$path" "/var/lib/$path"
  done
  mount --bind "$home/log" /var/log
  mkdir -p /var/log/pods /var/log/containers
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/netns /run/lock
  printf 'nameserver %s\n' "${DNS_SERVER%,*}" "${DNS_SERVER#*,}" >"$home/resolv.conf"
  mount --bind "$home/resolv.conf" "$(readlink -f /etc/resolv.conf)"
  # the node's own cgroup namespace, so that kubelet does not watch the other nodes' pods
  umount --recursive /sys/fs/cgroup
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  for hierarchy in $HIERARCHIES; do
    mkdir "/sys/fs/cgroup/$hierarchy"
    case $hierarchy in
      systemd) mount -t cgroup -o none,name=systemd cgroup "/sys/fs/cgroup/$hierarchy" ;;
      unified) mount -t cgroup2 cgroup2 "/sys/fs/cgroup/$hierarchy" ;;
      *) mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/$hierarchy" ;;
    esac
  done
  mount --make-rshared / # kubelet wants to propagate mounts into pods
}

declare -A component
run() { # COMPONENT CMD...
  local name=$1
  shift
  "$@" >>"$RUN/log/$node-$name.log" 2>&1 &
  component[$!]=$name
}

# fall PID: a component that ended takes the node down, and leaves its name for `lab`.
fall() {
  mkdir -p "$RUN/died"
  echo "$node-${component[$1]}" >"$RUN/died/node-$node"
  exit 1
}

wait_for_containerd() {
  until ctr version >/dev/null 2>&1; do
    kill -0 "$1" 2>/dev/null || fall "$1"
    sleep 0.1
  done
}

file_systems
node_configuration
export PATH=$RUN/bin:/usr/sbin:/usr/bin:/sbin:/bin
run containerd containerd --config "$home/containerd.toml" --log-level warn
wait_for_containerd $!
"$LAB/import-images.sh" "$node"
while [ ! -e "$RUN/registered" ]; do sleep 0.05; done # the Node object carries the pod ranges, it must come first
run kube-proxy kube-proxy --config "$home/kube-proxy.yaml"
run kubelet kubelet --config "$home/kubelet.yaml" --kubeconfig "$RUN/pki/$node.kubeconfig" \
  --hostname-override "$node" --node-ip "$ip4,$ip6"
while :; do # process 1 also inherits orphans, whose end means nothing
  ended=
  wait -n -p ended || true
  [ -z "${component[${ended:-0}]:-}" ] || fall "$ended"
done
