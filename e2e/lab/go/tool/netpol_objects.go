package main

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// What of the Kubernetes objects decides about network policies; every other field is left out. The names and meanings
// are those of the API reference (core/v1 and networking.k8s.io/v1).

type objectMeta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	CreationTimestamp time.Time         `json:"creationTimestamp"`
	Labels            map[string]string `json:"labels"`
}

type nodeObject struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		PodCIDRs []netip.Prefix `json:"podCIDRs"`
	} `json:"spec"`
}

type namespaceObject struct {
	Metadata objectMeta `json:"metadata"`
}

type containerPort struct {
	Name          string `json:"name"`
	ContainerPort uint16 `json:"containerPort"`
	Protocol      string `json:"protocol"`
}

type container struct {
	Ports         []containerPort `json:"ports"`
	RestartPolicy string          `json:"restartPolicy"`
}

type podObject struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		NodeName       string      `json:"nodeName"`
		HostNetwork    bool        `json:"hostNetwork"`
		Containers     []container `json:"containers"`
		InitContainers []container `json:"initContainers"`
	} `json:"spec"`
	Status struct {
		Phase  string `json:"phase"`
		PodIPs []struct {
			IP string `json:"ip"`
		} `json:"podIPs"`
	} `json:"status"`
}

// addresses are what the status shows.
func (p *podObject) addresses() []netip.Addr {
	var all []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if address, err := netip.ParseAddr(ip.IP); err == nil {
			all = append(all, address.Unmap())
		}
	}
	return all
}

// ended: its processes are gone for good, and its addresses are another's.
func (p *podObject) ended() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// port finds a port by its name; those of sidecars (init containers that go on) count too.
func (p *podObject) port(name, protocol string) (uint16, bool) {
	all := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == "Always" {
			all = append(all, c)
		}
	}
	for _, c := range all {
		for _, port := range c.Ports {
			if port.Name == name && orTCP(port.Protocol) == protocol {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}

func orTCP(protocol string) string {
	if protocol == "" {
		return "TCP"
	}
	return protocol
}

type policyObject struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		PodSelector selector     `json:"podSelector"`
		PolicyTypes []string     `json:"policyTypes"`
		Ingress     []policyRule `json:"ingress"`
		Egress      []policyRule `json:"egress"`
	} `json:"spec"`
}

// isolates: without policyTypes every policy isolates for ingress, and one with rules for egress for that as well.
func (p *policyObject) isolates(direction string) bool {
	if len(p.Spec.PolicyTypes) > 0 {
		return slices.Contains(p.Spec.PolicyTypes, direction)
	}
	return direction == ingress || len(p.Spec.Egress) > 0
}

// policyRule is a rule of either direction; it has `from` or `to`, never both.
type policyRule struct {
	From  []policyPeer `json:"from"`
	To    []policyPeer `json:"to"`
	Ports []policyPort `json:"ports"`
}

type policyPeer struct {
	PodSelector       *selector `json:"podSelector"`
	NamespaceSelector *selector `json:"namespaceSelector"`
	IPBlock           *struct {
		CIDR   netip.Prefix   `json:"cidr"`
		Except []netip.Prefix `json:"except"`
	} `json:"ipBlock"`
}

type policyPort struct {
	Protocol string     `json:"protocol"`
	Port     *intOrName `json:"port"`
	EndPort  *uint16    `json:"endPort"`
}

// intOrName is a port by number or by name.
type intOrName struct {
	number uint16
	name   string
}

func (p *intOrName) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &p.number) == nil {
		return nil
	}
	return json.Unmarshal(data, &p.name)
}

type selector struct {
	MatchLabels      map[string]string `json:"matchLabels"`
	MatchExpressions []struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	} `json:"matchExpressions"`
}

// matches: an empty selector takes everything; an operator that is not known takes nothing.
func (s *selector) matches(labels map[string]string) bool {
	for key, value := range s.MatchLabels {
		if has, ok := labels[key]; !ok || has != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		has, ok := labels[e.Key]
		in := ok && slices.Contains(e.Values, has)
		switch e.Operator {
		case "In":
			ok = in
		case "NotIn":
			ok = !in
		case "Exists":
		case "DoesNotExist":
			ok = !ok
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}
