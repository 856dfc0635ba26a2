#!/usr/bin/env bash
# Renders the chart in every combination of switches and checks what must hold in each. Needs helm and python3 with
# PyYAML, no cluster. Prints a line per check and "N passed, M failed" at the end.
set -euo pipefail
chart=$(cd "$(dirname "$0")/.." && pwd)
helm=${HELM:-$(command -v helm || echo "$HOME/.cache/egressway/lab/helm")}
out=$(mktemp)
trap 'rm -f "$out" "$out.err"' EXIT
passed=0 failed=0 release=egressway

ok() { passed=$((passed + 1)); echo "ok: $*"; }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }

render() { "$helm" template "$release" "$chart" --namespace egressway-system --kube-version 1.31.0 "$@" >"$out" 2>"$out.err"; }

# holds NAME EXPRESSION ARGS...: the chart renders, and the Python expression over `docs` holds.
holds() {
  local name=$1 expression=$2
  shift 2
  if ! render "$@"; then bad "$name: $(tail -3 "$out.err")"; return; fi
  if python3 "$chart/tests/look.py" "$out" "$expression"; then ok "$name"; else bad "$name: $expression"; fi
}

# refused NAME WORD ARGS...: the schema refuses, and says WORD. A template that fails by itself is no refusal.
refused() {
  local name=$1 word=$2
  shift 2
  if render "$@"; then bad "$name: was accepted"; return; fi
  if grep -q "values don't meet the specifications" "$out.err" && grep -q -- "$word" "$out.err"; then ok "$name"; else bad "$name: $(tail -3 "$out.err")"; fi
}

if "$helm" lint --strict "$chart" >"$out" 2>&1; then ok lint; else bad "lint: $(cat "$out")"; fi

monitoring="--api-versions=monitoring.coreos.com/v1"
for crds in true false; do
  for pool in true false; do
    for policy in true false; do
      for cleanup in true false; do
        for monitors in true false; do
          holds "crds=$crds pool=$pool networkPolicy=$policy cleanup=$cleanup monitors=$monitors" \
            "basics(crds=$crds, pool=$pool, policy=$policy, cleanup=$cleanup, monitors=$monitors)" \
            --set "crds.install=$crds,defaultPool.create=$pool,networkPolicy.enabled=$policy,cleanup.enabled=$cleanup" \
            --set "metrics.serviceMonitor.enabled=$monitors,metrics.podMonitor.enabled=$monitors" $monitoring
        done
      done
    done
  done
done

holds "monitors without the API make none" "not kinds('ServiceMonitor') and not kinds('PodMonitor')" \
  --set metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true
holds "kinds are kept" "all(keep(d) for d in kinds('CustomResourceDefinition'))"
holds "kinds are not kept" "not any(keep(d) for d in kinds('CustomResourceDefinition'))" --set crds.keep=false
holds "no namespace" "not kinds('Namespace')" --set fleetNamespace.create=false
holds "pools in use are protected" "protects_pools()"
holds "pools in use are not protected" "not kinds('ValidatingAdmissionPolicy') and not kinds('ValidatingAdmissionPolicyBinding')" --set admission.protectPools=false
holds "another fleet namespace everywhere" "'egressway-fleets' not in text and '--fleet-namespace=out' in args()" \
  --set fleetNamespace.name=out
holds "no user roles" "not any('aggregate' in str(d) for d in kinds('ClusterRole'))" --set rbac.aggregate=false
holds "an uninstall needs no fleet namespace" \
  "not any(hook(d) and d['metadata'].get('namespace') == 'egressway-fleets' for d in docs) and any(r == {'apiGroups': [''], 'resources': ['namespaces'], 'resourceNames': ['egressway-fleets'], 'verbs': ['get']} for d, r in rules() if d['metadata']['name'] == 'egressway-cleanup')"
holds "nobody reads tenants' Secrets unasked" "secret_readers() == ['egressway-secret-reader']"
holds "what tenants are told fits the names" "'--service-account=other' in args() and '--secret-reader-role=other-secret-reader' in args() and secret_readers() == ['other-secret-reader']" \
  --set fullnameOverride=other
holds "a digest decides" "operator()['image'].endswith(':1.2@sha256:' + 'a' * 64)" \
  --set operator.image.tag=1.2,operator.image.digest="sha256:$(printf 'a%.0s' {1..64})"
holds "the proxy's image" "'--proxy-image=r.test/p:7' in args() and '--proxy-image-pull-policy=Never' in args()" \
  --set proxy.image.repository=r.test/p,proxy.image.pullPolicy=Never --set-string proxy.image.tag=7
holds "pull secrets of fleets" "[a for a in args() if 'pull-secret' in a] == ['--image-pull-secret=one', '--image-pull-secret=two']" \
  --set 'proxy.imagePullSecrets[0].name=one,proxy.imagePullSecrets[1].name=two'
holds "ranges repeat" "[a for a in args() if 'cidr' in a] == ['--internal-cidr=25.0.0.0/8', '--internal-cidr=fd10::/32', '--never-cidr=192.175.48.1/32']" \
  --set 'operator.internalCIDRs={25.0.0.0/8,fd10::/32},operator.neverCIDRs={192.175.48.1/32}'
holds "pod labels add and never replace" "labels()['team'] == 'x' and labels()['app.kubernetes.io/name'] == 'egressway-operator'" \
  --set operator.podLabels.team=x,operator.podLabels.app\\.kubernetes\\.io/name=evil
holds "default pool observes three" "len(pool()['spec']['observation']['observers']) == 3 and pool()['spec']['observation']['quorum'] == 2"
holds "no observers, no observation" "'observation' not in pool()['spec']" --set defaultPool.observation.observers=null
holds "addresses are promised" "pool()['spec']['cells'][0]['addresses'] == [{'cidr': '192.175.48.10/32'}]" \
  --set 'defaultPool.addresses[0].cidr=192.175.48.10/32'
holds "namespaces by name" "pool()['spec']['allowedNamespaces'] == {'from': 'Names', 'names': ['a', 'b']}" \
  --set 'defaultPool.namespaces.from=Names,defaultPool.namespaces.names={a,b}'
holds "majority by null" "'quorum' not in pool()['spec']['observation']" --set defaultPool.observation.quorum=null
holds "name servers repeat" "[a for a in args() if 'name-server' in a] == ['--name-server=10.0.0.2/32', '--name-server=fd10::2/128']" \
  --set 'operator.nameServers={10.0.0.2/32,fd10::2/128}'
holds "the operator has the resolvers of its node" "pod_of(kinds('Deployment')[0])['dnsPolicy'] == 'Default'"
holds "API server by range" "api_server_ranges() == [['192.175.48.1/32']] * 2" --set 'networkPolicy.apiServerCIDRs={192.175.48.1/32}'
holds "API server in private ranges, unless Helm finds it" \
  "api_server_ranges() == [['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']] * 2"
holds "API server anywhere, where it is said" "api_server_ranges() == [None] * 2" --set 'networkPolicy.apiServerCIDRs={any}'
holds "metrics for Prometheus alone" "str(kinds('NetworkPolicy')).count(\"'prometheus'\") == 2" $monitoring \
  --set 'networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus,metrics.podMonitor.enabled=true'
holds "a release of another name" "all('other' in d['metadata']['name'] for d in kinds('Deployment'))" --set fullnameOverride=other
for release in x 9.egress.2026 0egressway "$(printf 'a%.0s' {1..39}).$(printf 'b%.0s' {1..13})"; do
  holds "names of release $release" "names_fit()"
done
release=x holds "a name that begins with a digit" "names_fit() and kinds('Deployment')[0]['metadata']['name'] == 'r9'" --set-string fullnameOverride=9
release=egressway

holds "empty maps and lists in a file of values" "labels()['app.kubernetes.io/name'] == 'egressway-operator' and 'observation' not in pool()['spec']" \
  --set operator.podLabels=null,operator.podAnnotations=null,operator.affinity=null,operator.tolerations=null,operator.resources=null \
  --set operator.nodeSelector=null,imagePullSecrets=null,proxy.imagePullSecrets=null,operator.internalCIDRs=null,operator.neverCIDRs=null \
  --set defaultPool.observation=null,defaultPool.tolerations=null,defaultPool.addresses=null,networkPolicy.metricsFrom=null,operator.image.tag=null
holds "monitors without labels" "kinds('PodMonitor') and kinds('ServiceMonitor')" $monitoring \
  --set metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true,metrics.serviceMonitor.labels=null,metrics.podMonitor.labels=null
holds "an interval by null" "'interval' not in pool()['spec']['observation']" --set defaultPool.observation.interval=null
holds "nodes by another label alone" "pool()['spec']['cells'][0]['nodeSelector'] == {'np': 'egress'}" \
  --set 'defaultPool.nodeSelector.egressway\.dev/pool=null,defaultPool.nodeSelector.np=egress'
holds "hooks run where the operator may, with its labels and annotations" \
  "all(t['spec']['affinity'] == {'nodeAffinity': {}} and t['metadata']['labels']['mesh'] == 'off' and t['metadata']['labels']['app.kubernetes.io/name'] == 'egressway-hook' and t['metadata']['annotations']['a'] == 'b' for t in [d['spec']['template'] for d in kinds('Job')])" \
  --set-json 'operator.affinity={"nodeAffinity":{}}' --set-string operator.podLabels.mesh=off,operator.podAnnotations.a=b,operator.podLabels.app\\.kubernetes\\.io/name=evil
holds "the default container is ours" "text.count('default-container') == 1 and 'default-container: operator' in text" \
  --set 'operator.podAnnotations.kubectl\.kubernetes\.io/default-container=x,cleanup.enabled=false,defaultPool.create=false'

for section in operator proxy fleetNamespace crds defaultPool admission rbac networkPolicy metrics cleanup; do
  refused "no $section at all" "missing property '$section'" --set "$section=null"
done
refused "no image" "missing property 'image'" --set operator.image=null
refused "no nodes for the pool" "missing property 'nodeSelector'" --set defaultPool.nodeSelector=null
refused "no port of the API server" apiServerPorts --set networkPolicy.apiServerPorts=null
refused "upper case in a name" fullnameOverride --set fullnameOverride=My.Name
if ! render --set fleetNamespace.name=egressway-system && grep -q 'fleetNamespace.name is the namespace of the release' "$out.err"; then
  ok "fleets beside the operator"; else bad "fleets beside the operator: $(tail -3 "$out.err")"
fi
refused "typo at the top" defaultPol --set defaultPol.create=true
refused "typo below" replica --set operator.replica=2
refused "typo in an image" Tag --set operator.image.Tag=1
refused "typo in a peer" podSelectr --set 'networkPolicy.metricsFrom[0].podSelectr.matchLabels.a=b'
refused "typo in an affinity" nodeAfinity --set operator.affinity.nodeAfinity.x=y
refused "pull policy out of the list" pullPolicy --set proxy.image.pullPolicy=Sometimes
refused "mismatch out of the list" onMismatch --set defaultPool.observation.onMismatch=quarantine
refused "text where a number belongs" apiServerPorts --set-string 'networkPolicy.apiServerPorts[0]=https'
refused "latest" tag --set proxy.image.tag=latest
refused "short digest" digest --set proxy.image.digest=sha256:abc
refused "selector without from" selector --set defaultPool.namespaces.selector.matchLabels.a=b
refused "names without names" names --set defaultPool.namespaces.from=Names
refused "no range" internalCIDRs --set 'operator.internalCIDRs={10.0.0.1}'
# What the operator or the API server would refuse only after the release is half done.
refused "too long a prefix" neverCIDRs --set 'operator.neverCIDRs={10.0.0.0/33}'
refused "too long a prefix of IPv6" internalCIDRs --set 'operator.internalCIDRs={fd00::/129}'
refused "no address" cidr --set 'defaultPool.addresses[0].cidr=999.0.2.1/32'
refused "no time" notBefore --set 'defaultPool.addresses[0].cidr=192.0.2.1/32,defaultPool.addresses[0].notBefore=tomorrow'
refused "rounds too close" interval --set defaultPool.observation.interval=4s
refused "rounds too far apart" interval --set defaultPool.observation.interval=2h
refused "no amount" memory --set operator.resources.limits.memory=much
refused "no label at all for the pool's nodes" minProperties --set 'defaultPool.nodeSelector.egressway\.dev/pool=null'
refused "no label" "invalid propertyName" --set-string 'defaultPool.nodeSelector.a b=1'
refused "a tag in the repository" repository --set proxy.image.repository=r.test:5000/proxy:1
refused "no domain" clusterDomain --set operator.clusterDomain=a..b
holds "ranges, times and intervals as people write them" "pool()['spec']['cells'][0]['addresses'][0]['notAfter'] == '2027-04-01T00:00:00+02:00' and pool()['spec']['observation']['interval'] == '1m30s'" \
  --set 'operator.neverCIDRs={::ffff:0:0/96,2001:db8::/128,::/0,0.0.0.0/0}' --set proxy.image.repository=r.test:5000/a/b,operator.resources.limits.memory=1.5Gi,operator.resources.limits.cpu=2 \
  --set-string 'defaultPool.addresses[0].cidr=2001:db8::/64,defaultPool.addresses[0].notAfter=2027-04-01T00:00:00+02:00,defaultPool.observation.interval=1m30s'
refused "fleets in kube-system" fleetNamespace --set fleetNamespace.name=kube-system
refused "fleets in kube-public" fleetNamespace --set fleetNamespace.name=kube-public
refused "observer without scheme" url --set 'defaultPool.observation.observers[0].name=a,defaultPool.observation.observers[0].url=a.test'
if ! render --set 'defaultPool.observation.observers[0].name=a,defaultPool.observation.observers[0].url=http://a.test/' &&
  grep -q 'quorum is larger than the number of observers' "$out.err"; then ok "a quorum that nobody can reach"; else
  bad "a quorum larger than the number of observers: $(tail -3 "$out.err")"
fi
if python3 "$chart/tests/values_doc.py" | cmp -s - "$chart/../../docs/reference/chart.md"; then ok "the manual of values"; else
  bad "docs/reference/chart.md is not what values.yaml says: python3 charts/egressway/tests/values_doc.py >docs/reference/chart.md"
fi
if ! "$helm" template x "$chart" --kube-version 1.30.0 >"$out" 2>&1 && grep -q kubeVersion "$out"; then ok "an old cluster"; else bad "an old cluster is accepted"; fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
