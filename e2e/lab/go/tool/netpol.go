package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	netpolLook    = 200 * time.Millisecond // how often a node that came back is looked for
	netpolApply   = 10 * time.Second       // one load of rules
	announceWait  = 8 * time.Second        // for the pod to be known, and its rules to be in force
	announceRetry = 20 * time.Millisecond
)

// enforcer turns the cluster's NetworkPolicies into one nftables table in each node's network namespace. One process
// does it for all nodes: it watches, renders, and loads what has changed.
type enforcer struct {
	netns string // directory with one file a node

	mu     sync.Mutex
	world  world
	listed map[string]bool   // kinds that are known
	turn   int               // counts what was told, so that whoever told it can wait for it
	done   int               // the last turn that every living node has
	texts  map[string]string // by node, as of that turn
	loaded map[string]load   // by node
	begun  time.Time

	wake chan struct{}
}

// load is what a node's kernel holds.
type load struct {
	namespace uint64 // the inode of its network namespace: one that came back is another
	text      string
	err       error
}

var netpolKinds = []string{"nodes", "namespaces", "pods", "networkpolicies"}

func networkPolicies(args []string) error {
	flags := flag.NewFlagSet("network-policies", flag.ContinueOnError)
	server := flags.String("server", "https://127.0.0.1:16443", "the API server")
	pki := flags.String("pki", "", "directory with ca.crt, admin.crt and admin.key")
	netns := flags.String("netns", "", "directory with one network namespace a node, by the node's name")
	socket := flags.String("socket", "", "where pods are announced and health is told")
	ask := flags.Bool("status", false, "ask the one that listens on -socket whether all is in force, and end")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	if *ask {
		return netpolStatus(*socket)
	}
	api, err := connectAPI(*server, *pki)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		return err
	}
	e := &enforcer{netns: *netns, listed: map[string]bool{}, loaded: map[string]load{}, begun: time.Now(), wake: make(chan struct{}, 1)}
	e.world.announced = map[string]announcement{}
	ctx := context.Background()
	follow(ctx, e, api, "nodes", "/api/v1/nodes", &e.world.nodes, func(o *nodeObject) *objectMeta { return &o.Metadata })
	follow(ctx, e, api, "namespaces", "/api/v1/namespaces", &e.world.namespaces, func(o *namespaceObject) *objectMeta { return &o.Metadata })
	follow(ctx, e, api, "pods", "/api/v1/pods", &e.world.pods, func(o *podObject) *objectMeta { return &o.Metadata })
	follow(ctx, e, api, "networkpolicies", "/apis/networking.k8s.io/v1/networkpolicies", &e.world.policies, func(o *policyObject) *objectMeta { return &o.Metadata })
	mux := http.NewServeMux()
	mux.HandleFunc("POST /announce", e.announce)
	mux.HandleFunc("GET /status", e.status)
	go func() { log.Fatal(http.Serve(listener, mux)) }()
	e.run()
	return nil
}

func connectAPI(server, pki string) (apiServer, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return apiServer{}, err
	}
	authority, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return apiServer{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return apiServer{}, fmt.Errorf("no certificate in %s/ca.crt", pki)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}}
	return apiServer{server, &http.Client{Transport: transport}}, nil
}

// follow keeps one of the world's maps. Nodes and namespaces are looked up by name, pods and policies by UID.
func follow[T any](ctx context.Context, e *enforcer, api apiServer, kind, path string, into *map[string]*T, meta func(*T) *objectMeta) {
	key := func(o *T) string {
		if kind == "pods" || kind == "networkpolicies" {
			return meta(o).UID
		}
		return meta(o).Name
	}
	w := watcher[T]{server: api, path: path, meta: meta}
	w.replace = func(all map[string]*T) {
		e.tell(func() {
			*into = map[string]*T{}
			for _, object := range all {
				(*into)[key(object)] = object
			}
			e.listed[kind] = true
			e.forget()
		})
	}
	w.change = func(uid string, object *T) {
		e.tell(func() {
			if object != nil {
				(*into)[key(object)] = object
				return
			}
			maps.DeleteFunc(*into, func(_ string, o *T) bool { return meta(o).UID == uid })
			e.forget()
		})
	}
	go w.run(ctx)
}

// forget drops the announcements of pods that are gone.
func (e *enforcer) forget() {
	if e.listed["pods"] {
		maps.DeleteFunc(e.world.announced, func(uid string, _ announcement) bool { return e.world.pods[uid] == nil })
	}
}

// tell changes the world and wakes whoever loads rules; the number is the turn to wait for.
func (e *enforcer) tell(change func()) int {
	e.mu.Lock()
	change()
	e.turn++
	turn := e.turn
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return turn
}

func (e *enforcer) run() {
	look := time.Tick(netpolLook)
	for {
		select {
		case <-e.wake:
		case <-look:
		}
		if e.complete() {
			e.load()
		}
	}
}

func (e *enforcer) complete() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.listed) == len(netpolKinds)
}

// load brings every living node up to date, all at once.
func (e *enforcer) load() {
	begun := time.Now()
	e.mu.Lock()
	turn := e.turn
	if turn != e.done {
		all := e.world.endpoints()
		e.texts = map[string]string{}
		for name := range e.world.nodes {
			e.texts[name] = e.world.rules(name, all)
		}
	}
	texts, inodes := maps.Clone(e.texts), map[string]uint64{}
	var stale []string
	for name, text := range texts {
		inode, err := inodeOf(filepath.Join(e.netns, name))
		if err != nil { // the node is down, and has nothing to hold back
			delete(e.loaded, name)
			continue
		}
		inodes[name] = inode
		if l := e.loaded[name]; l.err != nil || l.text != text || l.namespace != inode {
			stale = append(stale, name)
		}
	}
	e.mu.Unlock()

	results := make([]error, len(stale))
	var group sync.WaitGroup
	for i, name := range stale {
		group.Go(func() { results[i] = loadRules(filepath.Join(e.netns, name), texts[name]) })
	}
	group.Wait()

	e.mu.Lock()
	defer e.mu.Unlock()
	for i, name := range stale {
		if results[i] != nil {
			log.Printf("%s: %v", name, results[i])
		}
		e.loaded[name] = load{inodes[name], texts[name], results[i]}
	}
	e.done = turn
	if len(stale) > 0 {
		slices.Sort(stale)
		log.Printf("turn %d: loaded into %s in %d ms", turn, strings.Join(stale, " "), time.Since(begun).Milliseconds())
	}
}

func inodeOf(path string) (uint64, error) {
	var stat syscall.Stat_t
	err := syscall.Stat(path, &stat)
	return stat.Ino, err
}

func loadRules(netns, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), netpolApply)
	defer cancel()
	command := exec.CommandContext(ctx, "nsenter", "--net="+netns, "--", "nft", "-f", "-")
	command.Stdin = strings.NewReader(text)
	var words bytes.Buffer
	command.Stderr = &words
	if err := command.Run(); err != nil {
		return fmt.Errorf("nft: %w: %.500s", err, words.String())
	}
	return nil
}

// --- what nodes and people ask

// announced is what a node says of a pod that it is about to start.
type announced struct {
	UID       string       `json:"uid"`
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
}

// announce answers when the pod's rules are in force: the pod does not start before.
func (e *enforcer) announce(w http.ResponseWriter, r *http.Request) {
	var told announced
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for end := time.Now().Add(announceWait); time.Now().Before(end); time.Sleep(announceRetry) {
		uid, node := e.find(told)
		if uid == "" {
			continue
		}
		turn := e.tell(func() { e.world.announced[uid] = announcement{told.Addresses, time.Now()} })
		for time.Now().Before(end) {
			e.mu.Lock()
			done, l := e.done, e.loaded[node]
			e.mu.Unlock()
			if done >= turn {
				if l.text == "" || l.err != nil {
					http.Error(w, fmt.Sprintf("no rules on %s: %v", node, l.err), http.StatusInternalServerError)
				}
				return
			}
			time.Sleep(announceRetry / 4)
		}
	}
	http.Error(w, "the API server does not know of this pod, or its rules were not loaded in time", http.StatusGatewayTimeout)
}

func (e *enforcer) find(told announced) (uid, node string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for uid, p := range e.world.pods {
		if p.Metadata.Namespace == told.Namespace && p.Metadata.Name == told.Name && (told.UID == "" || told.UID == uid) {
			return uid, p.Spec.NodeName
		}
	}
	return "", ""
}

func (e *enforcer) status(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var good, bad []string
	for name, l := range e.loaded {
		if l.err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", name, l.err))
		} else {
			good = append(good, name)
		}
	}
	slices.Sort(good)
	slices.Sort(bad)
	if len(bad) > 0 || len(good) == 0 || e.done != e.turn {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "%d policies for %d pods, in force on %s\n", len(e.world.policies), len(e.world.pods), strings.Join(good, " "))
	if e.done != e.turn {
		fmt.Fprintln(w, "the last change is not yet loaded")
	}
	for _, line := range bad {
		fmt.Fprintln(w, line)
	}
}

// enforcerClient speaks to the enforcer over its socket, from whichever network namespace.
func enforcerClient(socket string, timeout time.Duration) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DialContext: dial}}
}

// netpolStatus waits a moment for what is under way.
func netpolStatus(socket string) error {
	var words bytes.Buffer
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		response, err := enforcerClient(socket, time.Second).Get("http://enforcer/status")
		if err != nil {
			return err
		}
		words.Reset()
		_, err = words.ReadFrom(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		if response.StatusCode == http.StatusOK {
			fmt.Print(words.String())
			return nil
		}
		if time.Now().After(end) {
			return errors.New(strings.TrimSpace(words.String()))
		}
	}
}
