package main

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
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
	Secret  string `json:"secret"`  // the files whose keys the signatures are by
	ID      string `json:"id"`
	Error   string `json:"error,omitempty"`
}

// secret is a key by the name of the file that it stands in.
type secret struct {
	name string
	key  []byte
}

// keys are what may sign, by scheme. The two older schemes have a field each: hexadecimal HMAC-SHA256 of the body in
// X-Hmac-Sha256, and base64 RSASSA-PKCS1-v1_5 with SHA-256 in X-Rsa-Sha256.
type keys struct {
	webhook, hmac []secret
	rsa           map[string]*rsa.PublicKey
}

// receiver takes webhooks as a customer with a strict security team does: TLS, a client certificate, and a signature
// over the bytes as they arrived. It prints a line for each request, refused ones included.
func receiver(args []string) error {
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	directory := flags.String("dir", ".", "directory of NAME.crt and NAME.key")
	clientCA := flags.String("client-ca", "", "PEM file of the CAs of client certificates, which are demanded")
	var listeners, oldListeners, webhookFiles, hmacFiles, rsaFiles list
	flags.Var(&listeners, "tls", "NAME=HOST:PORT, served with NAME's certificate (repeatable)")
	flags.Var(&oldListeners, "old-tls", "the same, by a server that stopped at TLS 1.1 (repeatable)")
	flags.Var(&webhookFiles, "webhook-secret", "file with a secret of Standard Webhooks that may sign (repeatable)")
	flags.Var(&hmacFiles, "hmac-secret", "file with a secret, as it is, that may sign in X-Hmac-Sha256 (repeatable)")
	flags.Var(&rsaFiles, "rsa-key", "PEM file with the public key of one that may sign in X-Rsa-Sha256 (repeatable)")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	authorities, err := os.ReadFile(*clientCA)
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(authorities) {
		return fmt.Errorf("no certificate in %s", *clientCA)
	}
	known, err := readKeys(webhookFiles, hmacFiles, rsaFiles)
	if err != nil {
		return err
	}
	out := &jsonLog{file: os.Stdout}
	failed := make(chan error)
	for i, listener := range append(listeners, oldListeners...) {
		name, address, _ := strings.Cut(listener, "=")
		pair, err := tls.LoadX509KeyPair(filepath.Join(*directory, name+".crt"), filepath.Join(*directory, name+".key"))
		if err != nil {
			return err
		}
		bound, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
		if i >= len(listeners) {
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}
		server := &http.Server{
			Handler:           receive(name, known, out),
			TLSConfig:         config,
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

func readKeys(webhookFiles, hmacFiles, rsaFiles []string) (k keys, err error) {
	if k.webhook, err = readSecrets(webhookFiles); err != nil {
		return k, err
	}
	for _, file := range hmacFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			return k, err
		}
		k.hmac = append(k.hmac, secret{filepath.Base(file), text})
	}
	k.rsa = map[string]*rsa.PublicKey{}
	for _, file := range rsaFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			return k, err
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return k, fmt.Errorf("%s is not PEM", file)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return k, fmt.Errorf("%s: %w", file, err)
		}
		key, ok := public.(*rsa.PublicKey)
		if !ok {
			return k, fmt.Errorf("%s is no RSA key", file)
		}
		k.rsa[filepath.Base(file)] = key
	}
	return k, nil
}

// signedBy says which keys signed, with spaces between. A request has the signature of one scheme.
func (k keys) signedBy(header http.Header, body []byte, now time.Time) (string, error) {
	inHex, inBase64 := header.Values("X-Hmac-Sha256"), header.Values("X-Rsa-Sha256")
	if len(inHex)+len(inBase64) == 0 {
		return signedBy(k.webhook, header, body, now)
	}
	if len(inHex)+len(inBase64) > 1 || header.Get("webhook-signature") != "" {
		return "", errors.New("more than one signature")
	}
	for _, text := range inHex {
		given, err := hex.DecodeString(text)
		if err != nil {
			return "", fmt.Errorf("X-Hmac-Sha256: %w", err)
		}
		for _, secret := range k.hmac {
			mac := hmac.New(sha256.New, secret.key)
			mac.Write(body)
			if hmac.Equal(mac.Sum(nil), given) {
				return secret.name, nil
			}
		}
	}
	for _, text := range inBase64 {
		given, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", fmt.Errorf("X-Rsa-Sha256: %w", err)
		}
		digest := sha256.Sum256(body)
		for name, key := range k.rsa {
			if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], given) == nil {
				return name, nil
			}
		}
	}
	return "", errors.New("no signature by a known key")
}

func receive(name string, known keys, out *jsonLog) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, source, _ := peer(r.RemoteAddr)
		line := receipt{TimeMs: nowMs(), Server: name, Source: source, ID: r.Header.Get("webhook-id")}
		line.Subject = r.TLS.PeerCertificates[0].Subject.CommonName
		body, err := io.ReadAll(r.Body)
		if err == nil {
			line.Secret, err = known.signedBy(r.Header, body, time.Now())
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

// signedBy says which secrets made the signatures of Standard Webhooks, in the order in which they stand there.
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
	var names []string
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
				names = append(names, secret.name)
			}
		}
	}
	if len(names) == 0 {
		return "", errors.New("no signature by a known secret")
	}
	return strings.Join(names, " "), nil
}
