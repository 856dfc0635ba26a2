package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
)

// internet is everything outside the cluster except the observers: echo servers, DNS, and a control API through which
// the lab's commands change DNS answers. One process, state in memory, JSON-lines logs.
func internet(args []string) error {
	flags := flag.NewFlagSet("internet", flag.ContinueOnError)
	logDir := flags.String("log-dir", ".", "directory of echo.jsonl and dns.jsonl")
	cert := flags.String("cert", "", "certificate of the TLS listeners")
	key := flags.String("key", "", "key of the TLS listeners")
	control := flags.String("control", "127.0.0.1:9053", "address of the control API")
	dnsAddresses := flags.String("dns", "", "ADDR,ADDR of the DNS server")
	var servers, records list
	flags.Var(&servers, "echo", "NAME=ADDR,ADDR of an echo server (repeatable)")
	flags.Var(&records, "record", "NAME=ADDR,ADDR in the DNS (repeatable; NAME may be *.PARENT)")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	echoLog, err := openLog(filepath.Join(*logDir, "echo.jsonl"))
	if err != nil {
		return err
	}
	dnsLog, err := openLog(filepath.Join(*logDir, "dns.jsonl"))
	if err != nil {
		return err
	}

	failed := make(chan error)
	for _, server := range servers {
		name, addresses, _ := strings.Cut(server, "=")
		w := &witness{name: name, log: echoLog, handler: echoHandler(name), cert: &pair}
		for _, address := range strings.Split(addresses, ",") {
			at := func(port string) string { return net.JoinHostPort(address, port) }
			if err := w.listenAll(failed, []string{at("80"), at("8080")}, []string{at("443"), at("8443")}); err != nil {
				return err
			}
		}
	}
	zone := &names{defaults: map[string]*answers{}, overrides: map[string]*answers{}, log: dnsLog}
	for _, record := range records {
		name, set, _ := strings.Cut(record, "=")
		if zone.defaults[name], err = newAnswers(5, set); err != nil {
			return err
		}
	}
	for _, address := range strings.Split(*dnsAddresses, ",") {
		if err := zone.serve(net.JoinHostPort(address, "53"), failed); err != nil {
			return err
		}
	}
	go func() { failed <- http.ListenAndServe(*control, zone.control()) }()
	return <-failed
}

// control is the API behind `lab dns`: POST /set?name=N&ttl=T&set=A,B[&set=C...] and POST /clear[?name=N].
func (n *names) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /set", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		name := canonical(query.Get("name"))
		ttl, err := strconv.ParseUint(query.Get("ttl"), 10, 31)
		if err == nil && (name == "" || len(query["set"]) == 0) {
			err = fmt.Errorf("name and set are required")
		}
		var fresh *answers
		if err == nil {
			fresh, err = newAnswers(uint32(ttl), query["set"]...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.overrides[name] = fresh
	})
	mux.HandleFunc("POST /clear", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if r.URL.Query().Has("name") {
			delete(n.overrides, canonical(r.URL.Query().Get("name")))
		} else {
			clear(n.overrides)
		}
	})
	return mux
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
