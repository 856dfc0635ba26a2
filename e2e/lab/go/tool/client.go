package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// client is how fetch and loop make requests.
type client struct {
	only4, only6, insecure, tunnel bool
	ordinary                       bool
	proxy, ca, sni, method, data   string
	proxyBearer                    string
	cert, key                      string
	headers, proxyHeaders          list
	timeout                        time.Duration
}

func (c *client) flags(f *flag.FlagSet) {
	f.BoolVar(&c.only4, "4", false, "connect over IPv4 only")
	f.BoolVar(&c.only6, "6", false, "connect over IPv6 only")
	f.StringVar(&c.proxy, "proxy", "", "proxy URL; 'none' ignores HTTP_PROXY and HTTPS_PROXY, which are used otherwise")
	f.BoolVar(&c.tunnel, "tunnel", false, "CONNECT through the proxy for http:// as well")
	f.BoolVar(&c.ordinary, "ordinary", false, "leave the proxy to net/http, as most Go programs do; of a refused CONNECT it tells the reason phrase alone")
	f.StringVar(&c.ca, "ca", "", "PEM file of the CAs to trust")
	f.StringVar(&c.cert, "cert", "", "PEM file of a client certificate, for whoever asks, proxy or destination")
	f.StringVar(&c.key, "key", "", "PEM file of its key")
	f.BoolVar(&c.insecure, "insecure", false, "do not verify certificates")
	f.StringVar(&c.sni, "sni", "", "server name to send in TLS instead of the URL's")
	f.StringVar(&c.method, "method", "", "request method (GET, or POST with --data)")
	f.StringVar(&c.data, "data", "", "request body")
	f.Var(&c.headers, "header", "'Name: value' (repeatable)")
	f.Var(&c.proxyHeaders, "proxy-header", "'Name: value' for the CONNECT request (repeatable)")
	f.StringVar(&c.proxyBearer, "proxy-bearer", "", "file with a token for the proxy, read for each request")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "for the whole request")
}

// refusal is a proxy's answer to CONNECT that is not 2xx.
type refusal struct {
	status  string
	code    int
	headers http.Header
	body    string
}

func (r *refusal) Error() string { return "the proxy refused CONNECT: " + r.status }

func (c *client) dial(ctx context.Context, _, address string) (net.Conn, error) {
	network := "tcp"
	if c.only4 {
		network = "tcp4"
	} else if c.only6 {
		network = "tcp6"
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (c *client) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: c.insecure, ServerName: c.sni}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", c.ca)
		}
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func (c *client) proxyFor(r *http.Request) (*url.URL, error) {
	switch c.proxy {
	case "none":
		return nil, nil
	case "":
		return http.ProxyFromEnvironment(r)
	default:
		return url.Parse(c.proxy)
	}
}

// transport makes the way for one URL: direct, absolute-form through the proxy, or a tunnel through the proxy. The
// tunnel is made here and not by net/http, which would drop the status and the headers of a refused CONNECT; unless
// the request is to be what an ordinary program makes.
func (c *client) transport(r *http.Request) (*http.Transport, error) {
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	proxy, err := c.proxyFor(r)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{DialContext: c.dial, TLSClientConfig: config}
	switch {
	case proxy == nil:
	case !c.ordinary && (r.URL.Scheme == "https" || c.tunnel):
		t.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			return c.connect(ctx, proxy, address)
		}
	default:
		t.Proxy = http.ProxyURL(proxy)
	}
	return t, nil
}

// connect opens a tunnel to address through the proxy.
func (c *client) connect(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	conn, err := c.dial(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if proxy.Scheme == "https" {
		config, err := c.tlsConfig()
		if err != nil {
			return nil, err
		}
		config.ServerName = proxy.Hostname()
		conn = tls.Client(conn, config)
	}
	head := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(proxy.User.Username() + ":" + password))
		head += "Proxy-Authorization: Basic " + credentials + "\r\n"
	}
	if bearer, err := c.bearer(); err != nil {
		conn.Close()
		return nil, err
	} else if bearer != "" {
		head += "Proxy-Authorization: " + bearer + "\r\n"
	}
	for _, header := range c.proxyHeaders {
		head += header + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("reading the proxy's answer to CONNECT: %w", err)
	}
	if response.StatusCode/100 != 2 {
		defer conn.Close()
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		return nil, &refusal{response.Status, response.StatusCode, response.Header, string(body)}
	}
	conn.SetDeadline(time.Time{})
	return &tunnelled{conn, reader}, nil
}

// bearer is what Proxy-Authorization says of the token in the file, "" without one.
func (c *client) bearer() (string, error) {
	if c.proxyBearer == "" {
		return "", nil
	}
	token, err := os.ReadFile(c.proxyBearer)
	return "Bearer " + strings.TrimSpace(string(token)), err
}

// tunnelled is a connection whose first bytes may already sit in the reader that parsed the proxy's answer.
type tunnelled struct {
	net.Conn
	reader *bufio.Reader
}

func (t *tunnelled) Read(p []byte) (int, error) { return t.reader.Read(p) }

// result is one request's outcome, as fetch --json and loop print it.
type result struct {
	TimeMs     int64       `json:"time_ms"`
	DurationMs int64       `json:"duration_ms"`
	URL        string      `json:"url"`
	Status     int         `json:"status"` // 0: no answer
	Reason     string      `json:"reason"`
	Refused    bool        `json:"connect_refused,omitempty"` // status, reason, headers, body are the proxy's answer to CONNECT
	Headers    http.Header `json:"headers,omitempty"`
	Body       string      `json:"body"` // the first MiB
	BodyBytes  int64       `json:"body_bytes"`
	Error      string      `json:"error"`
}

func (r *result) answered(status string, code int, headers http.Header) {
	_, r.Reason, _ = strings.Cut(status, " ")
	r.Status, r.Headers = code, headers
}

func (c *client) request(ctx context.Context, target string) (*http.Request, error) {
	method := c.method
	if method == "" && c.data != "" {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(c.data))
	if err != nil {
		return nil, err
	}
	for _, header := range c.headers {
		name, value, ok := strings.Cut(header, ":")
		if !ok {
			return nil, fmt.Errorf("header %q has no colon", header)
		}
		if value = strings.TrimSpace(value); strings.EqualFold(name, "Host") {
			request.Host = value
		} else {
			request.Header.Add(name, value)
		}
	}
	if request.URL.Scheme == "http" && !c.tunnel {
		bearer, err := c.bearer()
		if err != nil {
			return nil, err
		}
		if bearer != "" {
			request.Header.Set("Proxy-Authorization", bearer)
		}
	}
	return request, nil
}

// do makes one request; with kept it goes over that transport, else over a connection of its own. Redirects are not
// followed.
func (c *client) do(target string, kept *http.Transport) (r result) {
	start := time.Now()
	r = result{TimeMs: start.UnixMilli(), URL: target}
	err := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
		defer cancel()
		request, err := c.request(ctx, target)
		if err != nil {
			return err
		}
		transport := kept
		if transport == nil {
			if transport, err = c.transport(request); err != nil {
				return err
			}
			defer transport.CloseIdleConnections()
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		r.answered(response.Status, response.StatusCode, response.Header)
		head, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		r.Body, r.BodyBytes = string(head), int64(len(head))
		if err == nil {
			var rest int64
			rest, err = io.Copy(io.Discard, response.Body)
			r.BodyBytes += rest
		}
		return err
	}()
	r.DurationMs = time.Since(start).Milliseconds()
	var refused *refusal
	if errors.As(err, &refused) {
		r.answered(refused.status, refused.code, refused.headers)
		r.Refused, r.Body, r.BodyBytes = true, refused.body, int64(len(refused.body))
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}
