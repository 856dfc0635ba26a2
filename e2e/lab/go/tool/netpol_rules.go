package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// From objects to nftables. Pure: the same world gives the same text. It knows nothing of who holds the world and how
// the text gets into a node's kernel.

const (
	ingress = "Ingress"
	egress  = "Egress"
	table   = "inet lab_network_policies"
	refuse  = "counter reject with icmpx admin-prohibited\n"
	bridge  = "cni0" // behind it are a node's pods, and nothing else
)

// announcement: a pod's addresses, as its node gave them, before the API server knows of them.
type announcement struct {
	addresses []netip.Addr
	at        time.Time
}

// world is everything that the rules are made from.
type world struct {
	nodes      map[string]*nodeObject
	namespaces map[string]*namespaceObject
	pods       map[string]*podObject
	policies   map[string]*policyObject
	announced  map[string]announcement // by the pod's UID
}

// endpoint is a pod with the addresses that are its own.
type endpoint struct {
	*podObject
	addresses []netip.Addr
}

// endpoints are the pods that policies speak of, each address with one holder: of several pods that show it, the one
// that got it last. (A node that crashed shows its old pods' addresses for a while, and has given them away again.)
func (w *world) endpoints() []endpoint {
	var all []endpoint
	since := func(p *podObject) time.Time {
		if told, ok := w.announced[p.Metadata.UID]; ok {
			return told.at
		}
		return p.Metadata.CreationTimestamp
	}
	for _, p := range w.pods {
		if p.Spec.HostNetwork || p.Spec.NodeName == "" || p.ended() {
			continue
		}
		addresses := p.addresses()
		if told, ok := w.announced[p.Metadata.UID]; ok {
			addresses = told.addresses
		}
		if len(addresses) > 0 {
			all = append(all, endpoint{p, addresses})
		}
	}
	slices.SortFunc(all, func(a, b endpoint) int {
		return cmp.Or(since(b.podObject).Compare(since(a.podObject)), cmp.Compare(a.Metadata.UID, b.Metadata.UID))
	})
	taken := map[netip.Addr]bool{}
	for i := range all {
		var own []netip.Addr
		for _, address := range all[i].addresses {
			if !taken[address] {
				taken[address] = true
				own = append(own, address)
			}
		}
		all[i].addresses = own
	}
	slices.SortFunc(all, func(a, b endpoint) int { return cmp.Compare(a.Metadata.UID, b.Metadata.UID) })
	return all
}

// rules is the text for one node: what its own pods may send and receive. A pod's policies are enforced where it runs
// and nowhere else, so each packet between two pods is judged twice.
func (w *world) rules(node string, all []endpoint) string {
	c := compiler{world: w, all: all, names: map[string]string{}}
	var local []endpoint
	for _, e := range all {
		if e.Spec.NodeName == node {
			local = append(local, e)
		}
	}
	jumps := map[string][]string{}
	for _, e := range local {
		for _, direction := range []string{egress, ingress} {
			body, isolated := c.body(e, direction)
			if !isolated {
				continue
			}
			name := c.chain(direction, body)
			for _, address := range e.addresses {
				key := direction + family(address)
				jumps[key] = append(jumps[key], fmt.Sprintf("%s : jump %s", address, name))
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "table %s\ndelete table %s\ntable %s {\n", table, table, table)
	for i, body := range c.chains {
		fmt.Fprintf(&out, "  chain %s {\n%s    %s  }\n", c.order[i], body, refuse)
	}
	vmap := func(direction, side string) string {
		var text string
		for _, f := range []string{"ip", "ip6"} {
			if list := jumps[direction+f]; len(list) > 0 {
				slices.Sort(list)
				text += fmt.Sprintf("    %s %s vmap { %s }\n", f, side, strings.Join(list, ", "))
			}
		}
		return text
	}
	// Replies, and what a policy does not speak of: neighbours, routers, multicast groups of the link.
	passed := "    ct state established,related accept\n" +
		"    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, nd-redirect," +
		" mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept\n"
	unknown := genuine(local) + w.unknown("saddr", all, w.nodes)
	fmt.Fprintf(&out, "  chain forward {\n    type filter hook forward priority filter + 10; policy accept;\n%s%s%s%s%s%s  }\n",
		passed, unknown, itself(local), w.unknown("daddr", local, map[string]*nodeObject{node: w.nodes[node]}),
		vmap(egress, "saddr"), vmap(ingress, "daddr"))
	// To the node itself. From the node itself nothing is held back: kubelet must reach what it probes.
	fmt.Fprintf(&out, "  chain input {\n    type filter hook input priority filter + 10; policy accept;\n%s%s%s  }\n}\n",
		passed, unknown, vmap(egress, "saddr"))
	return out.String()
}

// itself: no policy comes between a pod and itself, also where a Service leads back to it.
func itself(local []endpoint) string {
	pairs := map[string][]string{}
	for _, e := range local {
		for _, address := range e.addresses {
			pairs[family(address)] = append(pairs[family(address)], fmt.Sprintf("%s . %s", address, address))
		}
	}
	var text string
	for _, f := range []string{"ip", "ip6"} {
		if list := pairs[f]; len(list) > 0 {
			slices.Sort(list)
			text += fmt.Sprintf("    %s saddr . %s daddr { %s } accept\n", f, f, strings.Join(list, ", "))
		}
	}
	return text
}

// genuine refuses what leaves a pod of this node under another address than one of theirs, link-local ones included: no
// policy would be found for it.
func genuine(local []endpoint) string {
	var text string
	for _, f := range []string{"ip", "ip6"} {
		protocol := map[string]string{"ip": "ipv4", "ip6": "ipv6"}[f]
		match := fmt.Sprintf("iifname %q meta nfproto %s ", bridge, protocol)
		if list := addressesOf(local, f); len(list) > 0 {
			match += fmt.Sprintf("%s saddr != { %s } ", f, strings.Join(list, ", "))
		}
		text += "    " + match + refuse
	}
	return text + fmt.Sprintf("    iifname %q ip6 daddr fe80::/10 ", bridge) + refuse
}

// unknown refuses the addresses of pod ranges that no pod is known to have: nobody's policies would hold for them.
func (w *world) unknown(side string, known []endpoint, nodes map[string]*nodeObject) string {
	ranges := map[string][]netip.Prefix{}
	for _, node := range nodes {
		if node == nil {
			continue
		}
		for _, cidr := range node.Spec.PodCIDRs {
			ranges[family(cidr.Addr())] = append(ranges[family(cidr.Addr())], cidr.Masked())
		}
	}
	var text string
	for _, f := range []string{"ip", "ip6"} {
		if len(ranges[f]) == 0 {
			continue
		}
		text += fmt.Sprintf("    %s %s %s", f, side, prefixes(ranges[f]))
		if list := addressesOf(known, f); len(list) > 0 {
			text += fmt.Sprintf(" %s %s != { %s }", f, side, strings.Join(list, ", "))
		}
		text += " " + refuse
	}
	return text
}

// compiler collects the chains of one node; pods that may do the same share one.
type compiler struct {
	*world
	all           []endpoint
	names         map[string]string
	chains, order []string
}

func (c *compiler) chain(direction, body string) string {
	key := direction + "\n" + body
	if name, ok := c.names[key]; ok {
		return name
	}
	name := fmt.Sprintf("%s-%d", strings.ToLower(direction), len(c.order))
	c.names[key] = name
	c.chains, c.order = append(c.chains, body), append(c.order, name)
	return name
}

// body is what a pod may do in one direction, if any policy isolates it there: the sum of all its policies.
func (c *compiler) body(e endpoint, direction string) (string, bool) {
	isolated := false
	var lines []string
	for _, p := range c.policies {
		if p.Metadata.Namespace != e.Metadata.Namespace || !p.isolates(direction) || !p.Spec.PodSelector.matches(e.Metadata.Labels) {
			continue
		}
		isolated = true
		rules := p.Spec.Ingress
		if direction == egress {
			rules = p.Spec.Egress
		}
		for _, rule := range rules {
			for _, match := range c.matches(e, p.Metadata.Namespace, direction, rule) {
				lines = append(lines, "    "+match+"return\n")
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), ""), isolated
}

// matches are the nftables expressions of one rule, each with a blank behind it; the empty one is everything.
func (c *compiler) matches(e endpoint, namespace, direction string, rule policyRule) []string {
	peers, side := rule.From, "saddr"
	if direction == egress {
		peers, side = rule.To, "daddr"
	}
	var all []string
	if len(peers) == 0 { // anybody, in the cluster and outside
		return c.withPorts(e, direction, side, rule.Ports, []string{""}, c.all)
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			all = append(all, c.withPorts(e, direction, side, rule.Ports, []string{block(side, peer.IPBlock.CIDR, peer.IPBlock.Except)}, nil)...)
			continue
		}
		var selected []endpoint
		for _, other := range c.all {
			if c.selects(peer, namespace, other) {
				selected = append(selected, other)
			}
		}
		all = append(all, c.withPorts(e, direction, side, rule.Ports, addressMatches(side, selected), selected)...)
	}
	return all
}

func (c *compiler) selects(peer policyPeer, namespace string, e endpoint) bool {
	if peer.NamespaceSelector != nil {
		ns := c.namespaces[e.Metadata.Namespace]
		if ns == nil || !peer.NamespaceSelector.matches(ns.Metadata.Labels) {
			return false
		}
	} else if e.Metadata.Namespace != namespace {
		return false
	}
	return peer.PodSelector == nil || peer.PodSelector.matches(e.Metadata.Labels)
}

// withPorts combines the peers' matches with each port. A port's name means what the pod that receives calls so: for
// ingress the pod itself, for egress each of the peers, and nobody where the peer is a range.
func (c *compiler) withPorts(e endpoint, direction, side string, ports []policyPort, matches []string, peers []endpoint) []string {
	if len(ports) == 0 {
		return matches
	}
	var all []string
	for _, port := range ports {
		protocol := orTCP(port.Protocol)
		lower := strings.ToLower(protocol)
		switch {
		case port.Port == nil:
			for _, match := range matches {
				all = append(all, fmt.Sprintf("%smeta l4proto %s ", match, lower))
			}
		case port.Port.name == "":
			number := fmt.Sprint(port.Port.number)
			if port.EndPort != nil {
				number += fmt.Sprintf("-%d", *port.EndPort)
			}
			for _, match := range matches {
				all = append(all, fmt.Sprintf("%s%s dport %s ", match, lower, number))
			}
		case direction == ingress:
			if number, ok := e.port(port.Port.name, protocol); ok {
				for _, match := range matches {
					all = append(all, fmt.Sprintf("%s%s dport %d ", match, lower, number))
				}
			}
		default:
			byNumber := map[uint16][]endpoint{}
			for _, peer := range peers {
				if number, ok := peer.port(port.Port.name, protocol); ok {
					byNumber[number] = append(byNumber[number], peer)
				}
			}
			for number, group := range byNumber {
				for _, match := range addressMatches(side, group) {
					all = append(all, fmt.Sprintf("%s%s dport %d ", match, lower, number))
				}
			}
		}
	}
	return all
}

// addressMatches is one expression a family, none where nobody has an address of it.
func addressMatches(side string, of []endpoint) []string {
	var all []string
	for _, f := range []string{"ip", "ip6"} {
		if list := addressesOf(of, f); len(list) > 0 {
			all = append(all, fmt.Sprintf("%s %s { %s } ", f, side, strings.Join(list, ", ")))
		}
	}
	return all
}

func addressesOf(of []endpoint, f string) []string {
	var list []string
	for _, e := range of {
		for _, address := range e.addresses {
			if family(address) == f {
				list = append(list, address.String())
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func block(side string, cidr netip.Prefix, except []netip.Prefix) string {
	f := family(cidr.Addr())
	match := fmt.Sprintf("%s %s %s ", f, side, cidr.Masked())
	if cidr.Bits() == 0 {
		match = map[string]string{"ip": "meta nfproto ipv4 ", "ip6": "meta nfproto ipv6 "}[f]
	}
	if len(except) > 0 {
		match += fmt.Sprintf("%s %s != %s ", f, side, prefixes(except))
	}
	return match
}

// prefixes is an nftables set, without what another of them covers: nftables takes no ranges that overlap.
func prefixes(nets []netip.Prefix) string {
	nets = slices.Clone(nets)
	for i := range nets {
		nets[i] = nets[i].Masked()
	}
	slices.SortFunc(nets, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	var kept []netip.Prefix
	for _, net := range nets {
		if !slices.ContainsFunc(kept, func(k netip.Prefix) bool { return k.Contains(net.Addr()) }) {
			kept = append(kept, net)
		}
	}
	var texts []string
	for _, net := range kept {
		texts = append(texts, net.String())
	}
	slices.Sort(texts)
	return "{ " + strings.Join(texts, ", ") + " }"
}

func family(address netip.Addr) string {
	if address.Is4() {
		return "ip"
	}
	return "ip6"
}
