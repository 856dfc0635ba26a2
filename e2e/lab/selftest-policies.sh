# shellcheck shell=bash
# Self-test: NetworkPolicies, between nodes and on one, in both directions and families. What happens to a
# node that crashes is with the other checks of that.

REFUSED=".*(no route to host|permission denied).*" # what a rejected connection gets to hear, by family

check_policies() {
  local address since=$SECONDS
  web4=$(kubectl -n lab-selftest get pod web -o 'jsonpath={.status.podIPs[0].ip}')
  web6=$(kubectl -n lab-selftest get pod web -o 'jsonpath={.status.podIPs[1].ip}')
  check "lab status tells of the policies" ".* in force on batch-1 edge-a1 edge-a2 edge-b1 sys-1" enforcer_status
  for address in "$web4" "[$web6]"; do
    check "without a policy all pass ($address)" "(10.244|fd10:244).*" body on-edge-a1 "http://$address:8080/"
  done
  isolate_begin
  for address in "$web4" "[$web6]"; do
    check "another node's pod is refused ($address)" "$REFUSED" body on-edge-a1 "http://$address:8080/"
    check "the same node's pod is refused ($address)" "$REFUSED" body on-sys-1 "http://$address:8080/"
    check "another node is refused ($address)" "$REFUSED" inside edge-a1 "$RUN/bin/lab-tool" fetch --timeout 3s "http://$address:8080/"
    check "a pod that is let in gets in ($address)" "(10.244.31|fd10:244:31:).*" body on-edge-b1 "http://$address:8080/"
  done
  check "its own node's kubelet gets in" "true" kubectl -n lab-selftest get pod web -o 'jsonpath={.status.containerStatuses[0].ready}'
  check "a pod that may send nothing reaches no internet (IPv4)" "$REFUSED" body on-batch-1 "$ECHO4/"
  check "nor over IPv6" "$REFUSED" body on-batch-1 "$ECHO6/"
  check "nor its own node" "$REFUSED" body on-batch-1 http://10.10.0.41:10256/healthz
  check "nor another" "$REFUSED" body on-batch-1 http://10.10.0.11:10256/healthz
  check "a new pod is held before its first packet" "0 of 5 got out" first_packets
  kubectl -n lab-selftest label pod on-batch-1 silent- >/dev/null
  check "what is no longer selected is free" "$NAT4.30" patiently 10 body on-batch-1 "$ECHO4/"
  say "network policies: checked in $((SECONDS - since)) s"
}

# isolate_begin: web lets in the pod on edge-b1 alone, and the pod on batch-1 sends nothing.
isolate_begin() {
  kubectl -n lab-selftest label pod on-edge-b1 let-in=yes >/dev/null
  kubectl apply -f - >/dev/null <<END
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: lab-selftest}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {let-in: "yes"}}}], ports: [{port: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: silent, namespace: lab-selftest}
spec: {podSelector: {matchLabels: {silent: "yes"}}, policyTypes: [Egress]}
END
  until_refused on-edge-a1 "http://$web4:8080/"
  silence on-batch-1
}

silence() { # POD
  kubectl -n lab-selftest label pod "$1" silent=yes >/dev/null
  until_refused "$1" "$ECHO4/"
}

# The enforcer hears of a change a moment after kubectl has its answer; the check behind this says if it never did.
until_refused() { # POD URL
  local end=$((SECONDS + 10))
  while body "$1" "$2" >/dev/null 2>&1 && ((SECONDS < end)); do sleep 0.1; done
}

# first_packets: five pods that may send nothing and try at once, all of them at the same time.
first_packets() {
  local n out=0
  for n in 1 2 3 4 5; do
    cat <<END
---
apiVersion: v1
kind: Pod
metadata: {name: eager-$n, namespace: lab-selftest, labels: {silent: "yes"}}
spec:
  restartPolicy: Never
  containers: [{name: client, image: "$REGISTRY/lab-tool:1", imagePullPolicy: Never, args: [fetch, --timeout, 3s, "$ECHO4/"]}]
END
  done | kubectl apply -f - >/dev/null
  for n in 1 2 3 4 5; do
    kubectl -n lab-selftest wait --for=jsonpath='{.status.phase}'=Failed "pod/eager-$n" --timeout=20s >/dev/null || out=$((out + 1))
  done
  echo "$out of 5 got out"
}
