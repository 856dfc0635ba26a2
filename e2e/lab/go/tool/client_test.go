package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// The lab has no forward proxy of its own, so the client's way through one is tested here.

// testProxy tunnels CONNECT, answers absolute-form requests itself, and refuses hosts that start with "no.".
func testProxy(t *testing.T, requests chan<- string) string {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Method + " " + r.RequestURI + " " + r.Header.Get("Proxy-Authorization")
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		switch {
		case strings.HasPrefix(r.Host, "no."):
			fmt.Fprint(conn, "HTTP/1.1 403 Egress denied by a/b: not allowed\r\nX-Reason: floor\r\nContent-Length: 4\r\n\r\nwhy\n")
		case r.Method == http.MethodConnect:
			upstream, err := net.Dial("tcp", r.Host)
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			go io.Copy(upstream, buffered)
			io.Copy(conn, upstream)
		default:
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nforwarded")
		}
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

func TestThroughAProxy(t *testing.T) {
	requests := make(chan string, 1)
	address := testProxy(t, requests)
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "direct") })
	plain, secure := httptest.NewServer(answer), httptest.NewTLSServer(answer)
	defer plain.Close()
	defer secure.Close()

	for name, row := range map[string]struct {
		url, user string
		tunnel    bool
		request   string
		status    int
		reason    string
		body      string
		refused   bool
	}{
		"https tunnels":            {secure.URL, "", false, "CONNECT " + secure.Listener.Addr().String() + " ", 200, "OK", "direct", false},
		"http is in absolute form": {plain.URL + "/x", "", false, "GET " + plain.URL + "/x ", 200, "OK", "forwarded", false},
		"http may tunnel":          {plain.URL, "", true, "CONNECT " + plain.Listener.Addr().String() + " ", 200, "OK", "direct", false},
		"credentials":              {secure.URL, "u:p@", false, "CONNECT " + secure.Listener.Addr().String() + " Basic dTpw", 200, "OK", "direct", false},
		"a refused CONNECT": {"https://no.test", "", false, "CONNECT no.test:443 ", 403,
			"Egress denied by a/b: not allowed", "why\n", true},
		"a refused request": {"http://no.test/", "", false, "GET http://no.test/ ", 403,
			"Egress denied by a/b: not allowed", "why\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := client{proxy: strings.Replace(address, "//", "//"+row.user, 1), insecure: true, tunnel: row.tunnel, timeout: 5 * time.Second}
			r := c.do(row.url, nil)
			if got := <-requests; got != row.request {
				t.Errorf("the proxy saw %q, not %q", got, row.request)
			}
			if r.Status != row.status || r.Reason != row.reason || r.Body != row.body || r.Refused != row.refused {
				t.Errorf("got %+v", r)
			}
			if row.status == 403 && r.Headers.Get("X-Reason") != "floor" {
				t.Errorf("the refusal's headers are lost: %v", r.Headers)
			}
		})
	}
}

// Clients that take turns keep a connection each, and no other.
func TestClientsKeepAConnectionEach(t *testing.T) {
	var lock sync.Mutex
	connections := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		connections[r.RemoteAddr]++
	}))
	defer server.Close()
	if err := loop([]string{"--proxy", "none", "-keep", "-clients", "3", "-count", "9", "-gap", "1ms", server.URL}); err != nil {
		t.Fatal(err)
	}
	if len(connections) != 3 {
		t.Errorf("%d connections for 3 clients: %v", len(connections), connections)
	}
	for address, count := range connections {
		if count != 3 {
			t.Errorf("%d requests over %s", count, address)
		}
	}
}
