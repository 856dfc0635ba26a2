package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// receipt is what the receiver answers and prints for a webhook that it accepts.
type receipt struct {
	TimeMs  int64  `json:"time_ms"`
	Server  string `json:"server"`
	Source  string `json:"source"`
	Subject string `json:"subject"` // of the client certificate
	Secret  string `json:"secret"`  // the file whose key the signature is by
	ID      string `json:"id"`
	Error   string `json:"error,omitempty"`
}

// secret is a key of Standard Webhooks, by the name of the file that it stands in.
type secret struct {
	name string
	key  []byte
}

// receiver takes webhooks as a customer with a strict security team does: TLS, a client certificate, and a signature of
// Standard Webhooks over the bytes as they arrived. It prints a line for each request, refused ones included.
func receiver(args []string) error {
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	directory := flags.String("dir", ".", "directory of NAME.crt and NAME.key")
	clientCA := flags.String("client-ca", "", "PEM file of the CAs of client certificates, which are demanded")
	var listeners, files list
	flags.Var(&listeners, "tls", "NAME=HOST:PORT, served with NAME's certificate (repeatable)")
	flags.Var(&files, "webhook-secret", "file with a secret that may sign (repeatable)")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	pem, err := os.ReadFile(*clientCA)
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", *clientCA)
	}
	secrets, err := readSecrets(files)
	if err != nil {
		return err
	}
	out := &jsonLog{file: os.Stdout}
	failed := make(chan error)
	for _, listener := range listeners {
		name, address, _ := strings.Cut(listener, "=")
		pair, err := tls.LoadX509KeyPair(filepath.Join(*directory, name+".crt"), filepath.Join(*directory, name+".key"))
		if err != nil {
			return err
		}
		bound, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		server := &http.Server{
			Handler:           receive(name, secrets, out),
			TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients},
			ReadHeaderTimeout: time.Minute,
			ErrorLog:          log.New(io.Discard, "", 0), // failed handshakes are what tests are about
		}
		go func() { failed <- server.ServeTLS(bound, "", "") }()
	}
	fmt.Println("ready") // all listeners are bound
	return <-failed
}

func readSecrets(files []string) ([]secret, error) {
	var secrets []secret
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(string(text)), "whsec_"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		secrets = append(secrets, secret{filepath.Base(file), key})
	}
	return secrets, nil
}

func receive(name string, secrets []secret, out *jsonLog) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, source, _ := peer(r.RemoteAddr)
		line := receipt{TimeMs: nowMs(), Server: name, Source: source, ID: r.Header.Get("webhook-id")}
		line.Subject = r.TLS.PeerCertificates[0].Subject.CommonName
		body, err := io.ReadAll(r.Body)
		if err == nil {
			line.Secret, err = signedBy(secrets, r.Header, body, time.Now())
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			line.Error = err.Error()
			w.WriteHeader(http.StatusUnauthorized)
		}
		out.write(line)
		json.NewEncoder(w).Encode(line)
	})
}

// signedBy says which secret made one of the signatures.
func signedBy(secrets []secret, header http.Header, body []byte, now time.Time) (string, error) {
	seconds, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return "", fmt.Errorf("webhook-timestamp: %w", err)
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return "", errors.New("webhook-timestamp is five minutes off")
	}
	id := header.Get("webhook-id")
	if id == "" {
		return "", errors.New("no webhook-id")
	}
	for _, candidate := range strings.Fields(header.Get("webhook-signature")) {
		version, text, _ := strings.Cut(candidate, ",")
		given, err := base64.StdEncoding.DecodeString(text)
		if version != "v1" || err != nil {
			continue
		}
		for _, secret := range secrets {
			mac := hmac.New(sha256.New, secret.key)
			fmt.Fprintf(mac, "%s.%d.%s", id, seconds, body)
			if hmac.Equal(mac.Sum(nil), given) {
				return secret.name, nil
			}
		}
	}
	return "", errors.New("no signature by a known secret")
}
