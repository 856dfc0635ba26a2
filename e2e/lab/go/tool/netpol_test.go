package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func testPod(t *testing.T, namespace, name, node string, labels map[string]string, ips ...string) *podObject {
	t.Helper()
	var list []map[string]string
	for _, ip := range ips {
		list = append(list, map[string]string{"ip": ip})
	}
	p := &podObject{}
	decode(t, p, map[string]any{
		"metadata": map[string]any{"namespace": namespace, "name": name, "uid": "uid-" + name, "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
		"spec": map[string]any{"nodeName": node, "containers": []any{map[string]any{"ports": []any{
			map[string]any{"name": "web", "containerPort": 8000 + len(name)}, map[string]any{"name": "web", "containerPort": 53, "protocol": "UDP"},
		}}}},
		"status": map[string]any{"phase": "Running", "podIPs": list},
	})
	return p
}

func decode(t *testing.T, into, from any) {
	t.Helper()
	data, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// testWorld: client and proxy in namespace shop, a stranger in other, on two nodes.
func testWorld(t *testing.T) *world {
	w := &world{
		nodes: map[string]*nodeObject{}, namespaces: map[string]*namespaceObject{}, pods: map[string]*podObject{},
		policies: map[string]*policyObject{}, announced: map[string]announcement{},
	}
	for i, name := range []string{"n1", "n2"} {
		n := &nodeObject{}
		n.Metadata.Name = name
		n.Spec.PodCIDRs = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd10:244:%d::/64", i+1))}
		w.nodes[name] = n
	}
	for _, name := range []string{"shop", "other"} {
		n := &namespaceObject{}
		n.Metadata.Name, n.Metadata.Labels = name, map[string]string{"name": name}
		w.namespaces[name] = n
	}
	for _, p := range []*podObject{
		testPod(t, "shop", "proxy", "n1", map[string]string{"app": "proxy"}, "10.244.1.5", "fd10:244:1::5"),
		testPod(t, "shop", "client", "n2", map[string]string{"app": "client", "tier": "a"}, "10.244.2.6", "fd10:244:2::6"),
		testPod(t, "other", "stranger", "n2", map[string]string{"app": "client"}, "10.244.2.7"),
	} {
		w.pods[p.Metadata.UID] = p
	}
	return w
}

func (w *world) add(t *testing.T, spec string) {
	t.Helper()
	p := &policyObject{}
	if err := json.Unmarshal([]byte(`{"metadata": {"namespace": "shop"}, "spec": `+spec+`}`), p); err != nil {
		t.Fatal(err)
	}
	p.Metadata.UID = fmt.Sprint("policy-", len(w.policies))
	w.policies[p.Metadata.UID] = p
}

func TestWhatAPolicyLetsThrough(t *testing.T) {
	const free = "free"
	for name, c := range map[string]struct {
		spec            string
		ingress, egress string // of the pod called proxy
	}{
		"no types and no egress is ingress alone":  {`{"podSelector": {}}`, "", free},
		"no types with egress is both":             {`{"podSelector": {}, "egress": [{}]}`, "", "return"},
		"types decide":                             {`{"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}]}`, free, ""},
		"another's selector isolates nobody":       {`{"podSelector": {"matchLabels": {"app": "client"}}}`, free, free},
		"an empty rule is everybody on every port": {`{"podSelector": {}, "ingress": [{}]}`, "return", free},
		"own namespace by pods": {`{"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]}`,
			"ip saddr { 10.244.2.6 } return|ip6 saddr { fd10:244:2::6 } return", free},
		"pods of a namespace, both together": {`{"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"name": "other"}}, "podSelector": {"matchLabels": {"app": "client"}}}]}]}`,
			"ip saddr { 10.244.2.7 } return", free},
		"expressions": {`{"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchExpressions": [
			{"key": "app", "operator": "In", "values": ["client"]}, {"key": "tier", "operator": "DoesNotExist"}]}}]}]}`, "ip saddr { 10.244.2.7 } return", free},
		"a peer that selects nobody is nobody": {`{"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "none"}}}]}]}`, "", free},
		"ports, ranges and protocols": {`{"podSelector": {}, "ingress": [{"ports": [{"port": 80}, {"port": 8000, "endPort": 8099}, {"port": 53, "protocol": "UDP"}, {"protocol": "SCTP"}]}]}`,
			"meta l4proto sctp return|tcp dport 80 return|tcp dport 8000-8099 return|udp dport 53 return", free},
		"a port's name is the receiving pod's": {`{"podSelector": {}, "ingress": [{"ports": [{"port": "web"}, {"port": "web", "protocol": "UDP"}, {"port": "other"}]}]}`,
			"tcp dport 8005 return|udp dport 53 return", free},
		"for egress it is each peer's own": {`{"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": "web"}]}]}`,
			free, "ip daddr { 10.244.2.6 } tcp dport 8006 return|ip daddr { 10.244.2.7 } tcp dport 8008 return|ip6 daddr { fd10:244:2::6 } tcp dport 8006 return"},
		"and a range has no name for it": {`{"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": "web"}]}]}`, free, ""},
		"ranges with exceptions": {`{"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [
			{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16"]}}, {"ipBlock": {"cidr": "2000::/3"}}, {"ipBlock": {"cidr": "10.0.0.9/8"}}]}]}`,
			free, "ip daddr 10.0.0.0/8 return|ip6 daddr 2000::/3 return|meta nfproto ipv4 ip daddr != { 10.0.0.0/8, 192.168.0.0/16 } return"},
	} {
		w := testWorld(t)
		w.add(t, c.spec)
		all := w.endpoints()
		compiler := compiler{world: w, all: all, names: map[string]string{}}
		for _, e := range all {
			if e.Metadata.Name != "proxy" {
				continue
			}
			for direction, want := range map[string]string{ingress: c.ingress, egress: c.egress} {
				body, isolated := compiler.body(e, direction)
				got := strings.ReplaceAll(strings.TrimSpace(body), "\n    ", "|")
				if !isolated {
					got = free
				}
				if got != want {
					t.Errorf("%s, %s: got %q, want %q", name, direction, got, want)
				}
			}
		}
	}
}

func TestPoliciesAddUp(t *testing.T) {
	w := testWorld(t)
	w.add(t, `{"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}`)
	w.add(t, `{"podSelector": {"matchLabels": {"app": "proxy"}}, "ingress": [{"ports": [{"port": 81}]}]}`)
	text := w.rules("n1", w.endpoints())
	if !strings.Contains(text, "    tcp dport 80 return\n    tcp dport 81 return\n    counter reject") {
		t.Error(text)
	}
}

func TestAPodIsHeldWhereItRuns(t *testing.T) {
	w := testWorld(t)
	w.add(t, `{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}`)
	one, two := w.rules("n1", w.endpoints()), w.rules("n2", w.endpoints())
	for _, wanted := range []string{
		"ip saddr vmap { 10.244.1.5 : jump egress-0 }", "ip6 daddr vmap { fd10:244:1::5 : jump ingress-1 }",
		"ip saddr . ip daddr { 10.244.1.5 . 10.244.1.5 } accept",
		"ip saddr { 10.244.1.0/24, 10.244.2.0/24 } ip saddr != { 10.244.1.5, 10.244.2.6, 10.244.2.7 } counter reject",
		"ip daddr { 10.244.1.0/24 } ip daddr != { 10.244.1.5 } counter reject",
	} {
		if !strings.Contains(one, wanted) {
			t.Errorf("%s is not in %s", wanted, one)
		}
	}
	if strings.Contains(two, "10.244.1.5 : jump") || !strings.Contains(two, "10.244.2.6 : jump") {
		t.Error(two)
	}
}

func TestAnAddressHasOneHolderTheOneThatGotItLast(t *testing.T) {
	holder := func(w *world) string {
		for _, e := range w.endpoints() {
			for _, address := range e.addresses {
				if address == netip.MustParseAddr("10.244.1.5") {
					return e.Metadata.Name
				}
			}
		}
		return ""
	}
	w := testWorld(t)
	heir := testPod(t, "shop", "heir", "n1", nil, "10.244.1.5")
	heir.Metadata.CreationTimestamp = heir.Metadata.CreationTimestamp.Add(time.Hour)
	w.pods[heir.Metadata.UID] = heir
	if got := holder(w); got != "heir" {
		t.Errorf("the younger: got %q", got)
	}
	told := []netip.Addr{netip.MustParseAddr("10.244.1.5")}
	w.announced["uid-proxy"] = announcement{told, heir.Metadata.CreationTimestamp.Add(time.Minute)}
	if got := holder(w); got != "proxy" {
		t.Errorf("the one announced later: got %q", got)
	}
	w.pods["uid-proxy"].Status.Phase = "Failed"
	if got := holder(w); got != "heir" {
		t.Errorf("one that ended holds nothing: got %q", got)
	}
	w.announced["uid-heir"] = announcement{[]netip.Addr{netip.MustParseAddr("10.244.1.9")}, time.Now()}
	if got := holder(w); got != "" {
		t.Errorf("what a node announced is newer than the status: got %q", got)
	}
}

func TestThePluginReadsWhomItStarts(t *testing.T) {
	told, err := announcedBy("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u;K8S_POD_INFRA_CONTAINER_ID=x",
		[]byte(`{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.244.1.5/24"}, {"version": "6", "address": "fd10:244:1::5/64"}]}`))
	if got := fmt.Sprint(told, err); got != "{u shop web-0 [10.244.1.5 fd10:244:1::5]} <nil>" {
		t.Error(got)
	}
}
