# shellcheck shell=bash
# The configuration files of one node. What is not set is at Kubernetes' default, on purpose: times such as the
# kubelet's sync of mounted ConfigMaps must be those of a real cluster.

node_configuration() {
  mkdir -p "$home/cni-conf"
  cni_configuration >"$home/cni-conf/10-lab.conflist"
  containerd_configuration >"$home/containerd.toml"
  kubelet_configuration >"$home/kubelet.yaml"
  kube_proxy_configuration >"$home/kube-proxy.yaml"
}

cni_configuration() {
  local announce=
  ! enforced || announce=', {"type": "'$NETPOL_PLUGIN'", "socket": "'$NETPOL_SOCKET'"}'
  cat <<END
{"cniVersion": "0.4.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods4"}], [{"subnet": "$pods6"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}$announce
]}
END
}

# restrict_oom_score_adj: root may lack CAP_SYS_RESOURCE (in a VM or a container), then nobody may lower a score.
containerd_configuration() {
  cat <<END
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$REGISTRY/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(enforced && echo "$RUN/cni-bin" || echo /usr/lib/cni)"
    conf_dir = "$home/cni-conf"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
END
}

# Image collection is off (nothing here can pull an image again), and eviction is nearly off: the disk is shared with
# whatever else the machine does. Each node offers a fifth of the machine's memory.
kubelet_configuration() {
  cat <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
enforceNodeAllocatable: [pods]
systemReserved: {memory: $(awk '/MemTotal/ { print int($2 * 4 / 5) }' /proc/meminfo)Ki}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: ["$CLUSTER_DNS4", "$CLUSTER_DNS6"]
clusterDomain: cluster.local
resolvConf: $home/resolv.conf
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$RUN/pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/$node.crt
tlsPrivateKeyFile: $RUN/pki/$node.key
address: $ip4
volumePluginDir: /var/lib/kubelet/volumeplugins
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 64Mi, nodefs.available: 64Mi, imagefs.available: 64Mi, nodefs.inodesFree: "1000"}
serializeImagePulls: false
oomScoreAdj: 0
maxPods: 60
END
}

# conntrack: those sysctls belong to the machine, not to a network namespace.
kube_proxy_configuration() {
  cat <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $PODS
clientConnection: {kubeconfig: "$RUN/pki/kube-proxy.kubeconfig"}
hostnameOverride: $node
healthzBindAddress: $ip4:10256
metricsBindAddress: 127.0.0.1:10249
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
}
