# shellcheck shell=bash
# lab up: from nothing to a Ready cluster. It builds nothing that is in the cache already, and stops at the first
# component that dies.

up() {
  local name policies=yes
  case ${1:-} in
    "") ;;
    --no-network-policies) policies= ;;
    *) die "up: unknown option $1" ;;
  esac
  lock
  if [ -e "$RUN/ready" ] && ! no_processes; then # none at all: the machine was restarted
    (fail_if_dead) || die "up, but broken: lab down, then lab up"
    say "already up, since $(date -r "$RUN/ready" +%T)" # it may be somebody else's
    return
  fi
  preconditions
  without_proxies
  remove # whatever a failed start left
  STARTED_MS=$(now_ms)
  state
  [ -z "$policies" ] || enforcer_prepare
  settings_save
  pki
  step "keys and certificates"
  network
  step "network"
  internet_start
  control_plane_start
  for name in $(node_names); do node_start "$name"; done
  await "the API server" 120 api_server_ready
  step "API server ready"
  controllers_start
  { node_objects; echo ---; cat "$LAB/manifests/coredns.yaml"; } >"$RUN/objects.yaml"
  await "the first objects" 30 "$RUN/bin/kubectl" apply --server-side -f "$RUN/objects.yaml"
  ! enforced || enforcer_start
  touch "$RUN/registered"
  step "nodes and CoreDNS created"
  await "the internet" 30 internet_ready
  await "all nodes Ready" 180 "$RUN/bin/kubectl" wait --for=condition=Ready node --all --timeout=170s
  step "all nodes Ready"
  await "CoreDNS" 120 "$RUN/bin/kubectl" --namespace kube-system wait --for=condition=Available deployment/coredns --timeout=110s
  await "the default ServiceAccount" 30 "$RUN/bin/kubectl" wait --for=create serviceaccount/default --timeout=20s
  step "CoreDNS Available"
  ! enforced || await "network policies" 20 enforcer_status
  touch "$RUN/ready"
}

preconditions() {
  [ "$(id -u)" = 0 ] || die "needs root: network namespaces, mounts, cgroups"
  [ -d /sys/fs/cgroup/memory ] || die "needs cgroup v1 hierarchies under /sys/fs/cgroup (version 2 alone is not supported)"
  [ -e "$RUN" ] || no_processes || die "another lab runs on this machine (with another EGRESSWAY_LAB?)"
  build
}

state() {
  local name
  mkdir -p "$RUN"/{bin,log,node,etcd}
  chmod 700 "$RUN"
  : >"$RUN/processes"
  : >"$RUN/log/observers.jsonl"
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    ln -s "$(readlink -f "$CACHE/hyper")" "$RUN/bin/$name"
  done
  for name in helm lab-tool; do ln -s "$(readlink -f "$CACHE/$name")" "$RUN/bin/$name"; done
  [ -z "${EGRESSWAY_PROXY_BIN:-}" ] || [ -x "$EGRESSWAY_PROXY_BIN" ] || die "EGRESSWAY_PROXY_BIN: no executable $EGRESSWAY_PROXY_BIN"
  [ -z "${EGRESSWAY_PROXY_BIN:-}" ] || ln -s "$(readlink -f "$EGRESSWAY_PROXY_BIN")" "$RUN/bin/egressway-proxy"
}
