package main

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// sighting is one line of the echo and observer logs.
type sighting struct {
	TimeMs     int64  `json:"time_ms"`
	Server     string `json:"server"`
	Proto      string `json:"proto"` // http or tls
	Family     string `json:"family"`
	Source     string `json:"source"`
	SourcePort int    `json:"source_port"`
	Host       string `json:"host"`
	SNI        string `json:"sni"`
	Method     string `json:"method"` // empty: a connection that closed without a request
	Path       string `json:"path"`
}

// witness serves a handler on listeners and records every request, and every connection that never made one: the
// proof that something did NOT get out needs to see bare connections too.
type witness struct {
	name    string
	log     *jsonLog
	handler http.Handler
	cert    *tls.Certificate
}

// serve answers on one listener; it returns only with an error.
func (w *witness) serve(listener net.Listener, proto string) error {
	var silent sync.Map // remote address -> SNI, of connections that have made no request yet
	record := func(remote string, s sighting) {
		var port string
		s.TimeMs, s.Server, s.Proto = nowMs(), w.name, proto
		s.Family, s.Source, port = peer(remote)
		s.SourcePort, _ = strconv.Atoi(port)
		w.log.write(s)
	}
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), // a failed handshake is in the log as a connection without a request
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			silent.Delete(r.RemoteAddr)
			s := sighting{Host: r.Host, Method: r.Method, Path: r.URL.RequestURI()}
			if r.TLS != nil {
				s.SNI = r.TLS.ServerName
			}
			record(r.RemoteAddr, s)
			w.handler.ServeHTTP(rw, r)
		}),
		ConnState: func(conn net.Conn, state http.ConnState) {
			remote := conn.RemoteAddr().String()
			switch state {
			case http.StateNew:
				silent.Store(remote, "")
			case http.StateClosed, http.StateHijacked:
				if sni, ok := silent.LoadAndDelete(remote); ok {
					record(remote, sighting{SNI: sni.(string)})
				}
			}
		},
		ReadHeaderTimeout: time.Minute,
	}
	if proto == "http" {
		return server.Serve(listener)
	}
	server.TLSConfig = &tls.Config{
		Certificates: []tls.Certificate{*w.cert},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			silent.Store(hello.Conn.RemoteAddr().String(), hello.ServerName)
			return nil, nil
		},
	}
	return server.ServeTLS(listener, "", "")
}

// listenAll serves every HOST:PORT of the lists and reports the first failure.
func (w *witness) listenAll(failed chan<- error, plain, overTLS []string) error {
	for proto, addresses := range map[string][]string{"http": plain, "tls": overTLS} {
		for _, address := range addresses {
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			go func() { failed <- w.serve(listener, proto) }()
		}
	}
	return nil
}
