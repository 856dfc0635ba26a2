# shellcheck shell=bash
# NetworkPolicies, enforced by the lab's own tool: one process for all nodes, one nftables table in each. A node
# announces a pod to it before the pod starts (the CNI plugin in node-config.sh). `lab up --no-network-policies` leaves
# both out.

NETPOL_SOCKET=$RUN/network-policies.sock
NETPOL_PLUGIN=lab-network-policies # as which the tool is a CNI plugin

enforced() { [ -e "$RUN/network-policies" ]; }

enforcer_prepare() {
  local plugin
  touch "$RUN/network-policies"
  mkdir -p "$RUN/cni-bin"
  for plugin in /usr/lib/cni/*; do ln -s "$plugin" "$RUN/cni-bin/"; done
  ln -s "$(readlink -f "$CACHE/lab-tool")" "$RUN/cni-bin/$NETPOL_PLUGIN"
}

# Pods wait for it, so it may start at any time after the API server.
enforcer_start() {
  rm -f "$NETPOL_SOCKET"
  spawn network-policies - "$RUN/bin/lab-tool" network-policies --server "https://$FORWARDER" --pki "$RUN/pki" \
    --netns "$RUN/netns" --socket "$NETPOL_SOCKET"
}

# second_opinion: kube-router's controller on every node instead of the lab's own enforcer, for whoever doubts a verdict.
# Not part of the suite: it costs far more, and a new pod is free for a moment.
second_opinion() {
  local name
  need_up
  ! enforced || die "second-opinion: first lab down, then lab up --no-network-policies"
  command -v ipset >/dev/null || die "second-opinion: needs the Debian package ipset"
  "$LAB/build.sh" kube-router >/dev/null
  sed "s#$FORWARDER#$CONTROL4:6443#" "$RUN/pki/admin.kubeconfig" >"$RUN/pki/kube-router.kubeconfig"
  for name in $(node_names); do
    spawn "kube-router-$name" "$name" "$CACHE/kube-router" --node "$name" --services "$SERVICES" \
      --kubeconfig "$RUN/pki/kube-router.kubeconfig"
  done
}

# Every change that the API server told is in force on every node that runs.
enforcer_status() { "$RUN/bin/lab-tool" network-policies --status --socket "$NETPOL_SOCKET"; }
