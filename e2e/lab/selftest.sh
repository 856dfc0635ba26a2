# shellcheck shell=bash
# lab selftest: checks on a running lab that everything the README promises holds, one line per check. It uses the
# namespace lab-selftest and puts NATs, names and observers back to their defaults when it ends. The checks themselves
# are in selftest-*.sh. It tests the lab, nothing of the product.

. "$LAB/selftest-egress.sh"
. "$LAB/selftest-internet.sh"
. "$LAB/selftest-cluster.sh"
. "$LAB/selftest-policies.sh"

ECHO4=http://$NET4.80 ECHO6="http://[$NET6::80]"

selftest() {
  need_up
  passed=0 failed=0
  trap selftest_end EXIT
  check "five nodes are Ready" 5 ready_nodes
  selftest_pods
  check_cluster
  check_egress
  check_nat
  check_dns
  check_observers
  check_echo_server
  check_images
  ! enforced || check_policies
  check_crash
  complete=yes
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}

selftest_end() {
  local line
  [ -n "${complete:-}" ] || echo "FAIL the self-test itself broke off"
  for line in "${CELLS[@]}"; do nat "${line%% *}" reset; done
  for line in "${OBSERVERS[@]}"; do observer "${line%% *}" honest; done
  dns clear
  kubectl delete namespace lab-selftest --ignore-not-found --wait=false >/dev/null
}

# check NAME WANTED CMD...: CMD's output (both streams, spaces squeezed) must match the extended regular expression.
check() {
  local name=$1 wanted=$2 got
  shift 2
  got=$("$@" 2>&1 | tr -s '[:space:]' ' ' | sed 's/^ //; s/ $//') || true
  if [[ $got =~ ^($wanted)$ ]]; then
    passed=$((passed + 1))
    echo "ok   $name"
  else
    failed=$((failed + 1))
    echo "FAIL $name: wanted $wanted, got ${got:0:300}"
  fi
}

# eventually SECONDS WANTED CMD...: repeats CMD until its output is WANTED, then prints it; else prints the last one.
eventually() {
  local end=$((SECONDS + $1)) wanted=$2 got
  shift 2
  while :; do
    got=$("$@" 2>&1) || true
    if [ "$got" = "$wanted" ] || ((SECONDS >= end)); then break; fi
    sleep 0.5
  done
  echo "$got"
}

# patiently SECONDS CMD...: repeats CMD until it succeeds; prints the last output.
patiently() {
  local end=$((SECONDS + $1)) got
  shift
  until got=$("$@" 2>&1) || ((SECONDS >= end)); do sleep 0.5; done
  echo "$got"
}

in_pod() { kubectl --namespace lab-selftest exec "$1" -- /lab-tool "${@:2}"; } # POD CMD...
body() { in_pod "$1" fetch --body --timeout 3s "${@:2}"; }                    # POD URL

ready_nodes() { kubectl get nodes --no-headers | grep -c ' Ready .* v1\.36\.'; }

# One client pod on every node; the web server carries no toleration, so that the taints are tested too.
selftest_pods() {
  local line
  kubectl delete namespace lab-selftest --ignore-not-found >/dev/null
  kubectl create namespace lab-selftest >/dev/null
  kubectl wait --for=create --namespace lab-selftest serviceaccount/default --timeout=20s >/dev/null
  for line in "${NODES[@]}"; do
    node_fields "${line%% *}"
    cat <<END
---
apiVersion: v1
kind: Pod
metadata: {name: on-$node, namespace: lab-selftest}
spec:
  nodeSelector: {kubernetes.io/hostname: $node}
  terminationGracePeriodSeconds: 1
  tolerations: [{key: egressway.dev/pool, value: ${pool/#-/none}, effect: NoSchedule}]
  containers: [{name: client, image: "$REGISTRY/lab-tool:1", imagePullPolicy: Never, args: [sleep],
                securityContext: {runAsNonRoot: true}}]
END
  done >"$RUN/selftest.yaml"
  cat >>"$RUN/selftest.yaml" <<END
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: lab-selftest, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: "$REGISTRY/lab-tool:1", imagePullPolicy: Never,
                args: [observer, --name, web, --http, ":8080"], readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: lab-selftest}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
END
  kubectl apply -f "$RUN/selftest.yaml" >/dev/null
  kubectl wait --namespace lab-selftest --for=condition=Ready pod --all --timeout=60s >/dev/null
}
