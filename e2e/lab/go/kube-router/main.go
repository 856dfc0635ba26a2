// kube-router's controller of NetworkPolicies (iptables and ipset) on one node, and nothing else of kube-router: a second
// opinion on what the lab's own enforcer lets through. It runs in the node's network namespace beside no other enforcer.
//
// What the newest release as a module does wrong for IPv6 is put right from outside: names and families of its sets, a
// set of one family written back by the other's handler, and neighbour discovery, without which a node loses its pods.
package main

import (
	"flag"
	"log"
	"slices"
	"strings"
	"sync"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/cloudnativelabs/kube-router/v2/pkg/utils"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// oneFamily keeps to the sets of its own family.
type oneFamily struct {
	*utils.IPSet
	name string // inet or inet6, as ipset calls them
}

func (f oneFamily) RefreshSet(name string, entries [][]string, kind string) {
	f.IPSet.RefreshSet(name, entries, kind)
	f.Get(name).Options = []string{kind, utils.OptionTimeout, "0", "family", f.name}
}

func (f oneFamily) Save() error {
	err := f.IPSet.Save()
	for name, set := range f.Sets() {
		if !slices.Contains(set.Options, f.name) {
			delete(f.Sets(), name)
		}
	}
	return err
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "of a user who may watch pods, namespaces and policies")
	node := flag.String("node", "", "the node's name")
	services := flag.String("services", "", "ranges of Services, with commas")
	flag.Parse()
	if err := run(*kubeconfig, *node, strings.Split(*services, ",")); err != nil {
		log.Fatal(err)
	}
}

func run(kubeconfig, node string, services []string) error {
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	config := options.NewKubeRouterConfig()
	config.EnableIPv4, config.EnableIPv6 = true, true
	config.HostnameOverride, config.ClusterIPCIDRs = node, services

	stop := make(chan struct{})
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	factory.Start(stop)
	factory.WaitForCacheSync(stop)

	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	for family, name := range map[v1.IPFamily]string{v1.IPv4Protocol: "inet", v1.IPv6Protocol: "inet6"} {
		plain, err := utils.NewIPSet(false)
		if err != nil {
			return err
		}
		sets[family] = oneFamily{plain, name}
	}
	for _, chain := range []string{"KUBE-ROUTER-INPUT", "KUBE-ROUTER-FORWARD", "KUBE-ROUTER-OUTPUT"} {
		_ = tables[v1.IPv6Protocol].NewChain("filter", chain) // it may be there
		for _, kind := range []string{"133", "134", "135", "136"} {
			if err := tables[v1.IPv6Protocol].AppendUnique("filter", chain, "-p", "icmpv6", "--icmpv6-type", kind, "-j", "ACCEPT"); err != nil {
				return err
			}
		}
	}
	var lock sync.Mutex
	controller, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &lock, tables, sets)
	if err != nil {
		return err
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		pods: controller.PodEventHandler, namespaces: controller.NamespaceEventHandler, policies: controller.NetworkPolicyEventHandler,
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats {
		}
	}()
	var group sync.WaitGroup
	group.Add(1)
	controller.Run(beats, stop, &group)
	return nil
}
