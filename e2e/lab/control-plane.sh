# shellcheck shell=bash
# etcd, API server, controller manager and scheduler, one of each, in the control plane's namespace. Leader election
# is off and etcd does not sync its disk: this cluster is made to be thrown away.

control_plane_start() {
  spawn etcd control "$RUN/bin/etcd" --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --quota-backend-bytes 2147483648
  api_server_start
  spawn forwarder - "$RUN/bin/lab-tool" forward "$FORWARDER" "$RUN/netns/control" 127.0.0.1:6443
}

# Aggregator routing: webhooks in pods are reached without a kube-proxy beside the API server.
api_server_start() {
  local pki=$RUN/pki
  spawn kube-apiserver control "$RUN/bin/kube-apiserver" \
    --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=:: --advertise-address="$CONTROL4" --secure-port=6443 \
    --service-cluster-ip-range="$SERVICES" \
    --allow-privileged=true --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
    --requestheader-username-headers=X-Remote-User \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key" \
    --enable-aggregator-routing=true \
    --audit-policy-file="$LAB/manifests/audit-policy.yaml" --audit-log-path="$RUN/log/audit.jsonl" \
    --audit-log-maxsize=10000
}

# Readiness may be asked without credentials; a kubectl per poll would cost more CPU than the server has to spare.
api_server_ready() { inside control "$RUN/bin/lab-tool" fetch --insecure --timeout 1s https://127.0.0.1:6443/readyz; }

controllers_start() {
  local pki=$RUN/pki
  spawn kube-controller-manager control "$RUN/bin/kube-controller-manager" \
    --kubeconfig="$pki/kube-controller-manager.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --use-service-account-credentials=true --allocate-node-cidrs=false --flex-volume-plugin-dir="$RUN/flex" \
    --kube-api-qps=300 --kube-api-burst=600
  spawn kube-scheduler control "$RUN/bin/kube-scheduler" \
    --kubeconfig="$pki/kube-scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 \
    --kube-api-qps=300 --kube-api-burst=600
}

# The Node objects, made before the kubelets come: fixed pod ranges are what ties a pod to its cell's NAT.
node_objects() {
  local line
  for line in "${NODES[@]}"; do
    node_fields "${line%% *}"
    cat <<END
---
apiVersion: v1
kind: Node
metadata:
  name: $node
  labels:
    kubernetes.io/hostname: $node
$([ "$pool" = - ] || echo "    egressway.dev/pool: $pool")
$([ "$zone" = - ] || echo "    topology.kubernetes.io/zone: $zone")
spec:
  podCIDR: $pods4
  podCIDRs: ["$pods4", "$pods6"]
$([ "$pool" = - ] || echo "  taints: [{key: egressway.dev/pool, value: $pool, effect: NoSchedule}]")
END
  done
}
