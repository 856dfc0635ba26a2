package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"strings"
)

// observer answers each caller with the caller's own address: what a team hosts outside its cluster to learn its
// egress IPs. With --lie it answers the given addresses instead, by the family of the caller; a family without a
// lie is answered honestly.
func observer(args []string) error {
	flags := flag.NewFlagSet("observer", flag.ContinueOnError)
	name := flags.String("name", "observer", "name in the log")
	logFile := flags.String("log", "/dev/stdout", "where sightings are appended, JSON lines")
	lie := flags.String("lie", "", "ADDR[,ADDR] to answer instead of the truth")
	cert := flags.String("cert", "", "certificate for --tls")
	key := flags.String("key", "", "key for --tls")
	var plain, overTLS list
	flags.Var(&plain, "http", "HOST:PORT for HTTP (repeatable)")
	flags.Var(&overTLS, "tls", "HOST:PORT for TLS (repeatable)")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	lies := map[string]string{}
	for _, address := range strings.FieldsFunc(*lie, func(r rune) bool { return r == ',' }) {
		family, _, _ := peer("[" + address + "]:0")
		lies[family] = address
	}
	sightings, err := openLog(*logFile)
	if err != nil {
		return err
	}
	w := &witness{name: *name, log: sightings}
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		family, source, _ := peer(r.RemoteAddr)
		if lie, ok := lies[family]; ok {
			source = lie
		}
		rw.Header().Set("Content-Type", "text/plain")
		fmt.Fprintln(rw, source)
	})
	if len(overTLS) > 0 {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return err
		}
		w.cert = &pair
	}
	failed := make(chan error)
	if err := w.listenAll(failed, plain, overTLS); err != nil {
		return err
	}
	return <-failed
}
