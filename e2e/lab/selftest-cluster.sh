# shellcheck shell=bash
# Self-test: the cluster itself, its audit log, images, and the crash of a node.

check_cluster() {
  local since service
  check "labels and taints" "batch-1 batch lab-a batch edge-a1 edge lab-a edge edge-a2 edge lab-a edge edge-b1 edge lab-b edge sys-1 <none> <none> <none>" \
    kubectl get nodes --no-headers --output 'custom-columns=N:.metadata.name,P:.metadata.labels.egressway\.dev/pool,Z:.metadata.labels.topology\.kubernetes\.io/zone,T:.spec.taints[*].value'
  check "pods without a toleration land on sys-1" "sys-1" kubectl -n lab-selftest get pod web -o 'jsonpath={.spec.nodeName}'
  check "pods have both families" "10.244.31.* fd10:244:31::.*" kubectl -n lab-selftest get pod on-edge-b1 -o 'jsonpath={.status.podIPs[*].ip}'
  service=$(kubectl -n lab-selftest get service web -o 'jsonpath={.spec.clusterIPs[1]}')
  # a Ready pod is in every node's kube-proxy a moment later
  check "a Service over IPv4 keeps the pod's address" "10.244.41.*" patiently 10 body on-batch-1 -4 http://web.lab-selftest.svc.cluster.local/
  check "a Service over IPv6 keeps the pod's address" "fd10:244:41::.*" patiently 10 body on-batch-1 "http://[$service]/"
  check "kubectl logs" '.*"server":"web".*' kubectl -n lab-selftest logs web --tail=1
  check "a validating admission policy denies" ".*no such mark.*" admission_policy
  since=$(now_ms)
  kubectl -n lab-selftest create configmap counted >/dev/null
  kubectl -n lab-selftest delete configmap counted >/dev/null
  check "the audit log counts writes" "1 create, 1 delete" audited "$since"
  check "helm speaks to the cluster" "NAME NAMESPACE .*" "$RUN/bin/helm" list --all-namespaces
}

admission_policy() {
  kubectl apply -f - >/dev/null <<END
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: lab-selftest}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab-selftest}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  validations: [{expression: "object.metadata.name != 'marked'", message: "no such mark"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: lab-selftest}
spec: {policyName: lab-selftest, validationActions: [Deny]}
END
  eventually_denied 20
  kubectl delete validatingadmissionpolicy/lab-selftest validatingadmissionpolicybinding/lab-selftest >/dev/null
}

eventually_denied() { # SECONDS
  local end=$((SECONDS + $1)) answer
  while ((SECONDS < end)); do
    answer=$(kubectl -n lab-selftest create configmap marked --dry-run=server 2>&1) || { echo "$answer"; return; }
    sleep 0.5
  done
  echo "not denied"
}

audited() { # SINCE
  local verb
  for verb in create delete; do
    printf '%s %s, ' "$(audit --since "$1" | grep -c "\"verb\":\"$verb\".*\"resource\":\"configmaps\".*\"name\":\"counted\"")" "$verb"
  done | sed 's/, $//'
}

check_images() {
  local name into
  enter edge-b1
  for name in "$CACHE/pause" "$CACHE/lab-tool"; do # the same tag, another binary
    images "lab-selftest=$name" 2>/dev/null
    load
    check "images and load, with $(basename "$name")" "$(readlink -f "$name" | xargs sha256sum | cut -c1-64)" image_binary
  done
  rm -f "$IMAGES"/lab-selftest.*
}

# The binary in the image that edge-b1 has under the tag.
image_binary() {
  "${into[@]}" ctr -n k8s.io images mount "$REGISTRY/lab-selftest:dev" /mnt >/dev/null
  "${into[@]}" sha256sum /mnt/lab-selftest | cut -c1-64
  "${into[@]}" ctr -n k8s.io images unmount --rm /mnt >/dev/null
}

check_crash() {
  body on-batch-1 "$ECHO6/" >/dev/null # so that the router knows the way back before the crash
  node_command kill batch-1
  check "a crashed node's pods are gone from the net" ".*(no route to host|deadline exceeded|i/o timeout).*" \
    body on-sys-1 "http://$(kubectl -n lab-selftest get pod on-batch-1 -o 'jsonpath={.status.podIP}'):8080/"
  node_command start batch-1
  check "it comes back, and its pod leaves from its cell" "$NAT4.30" eventually 60 "$NAT4.30" body on-batch-1 "$ECHO4/"
  check "over IPv6 too" "$NAT6::30" patiently 10 body on-batch-1 "$ECHO6/"
  check "five nodes are Ready again" 5 eventually 60 5 ready_nodes
  if enforced; then
    silence on-batch-1
    check "its pods are held again" "$REFUSED" body on-batch-1 "$ECHO4/"
    check "over IPv6 too" "$REFUSED" body on-batch-1 "$ECHO6/"
    kubectl -n lab-selftest delete networkpolicy web silent >/dev/null
    check "until their policies go" "$NAT4.30" patiently 10 body on-batch-1 "$ECHO4/"
  fi
}
