package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// echoHandler answers every request with the caller's address and a newline, so that the body alone is the answer to
// "from which address did I come?". A few paths serve other shapes of answer:
//
//	/echo            the request's body back
//	/headers         the request's headers as JSON
//	/bytes/N         N bytes
//	/stream/N        N bytes without saying so before
//	/late/SECONDS    nothing for so long, and then the usual answer
//	/slow/SECONDS    a dot every 100 ms for so long
//	/status/NNN      that status
func echoHandler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, source, port := peer(r.RemoteAddr)
		w.Header().Set("X-Source", source)
		w.Header().Set("X-Source-Port", port)
		w.Header().Set("X-Server", name)
		kind, value, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		number, err := strconv.Atoi(value)
		numeric := err == nil && number >= 0
		switch {
		case kind == "echo":
			w.Header().Set("Content-Type", "application/octet-stream")
			io.Copy(w, r.Body)
		case kind == "headers":
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(r.Header)
		case kind == "bytes" && numeric:
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", value)
			io.CopyN(w, zeros{}, int64(number))
		case kind == "stream" && numeric:
			w.Header().Set("Content-Type", "application/octet-stream")
			http.NewResponseController(w).Flush()
			io.CopyN(w, zeros{}, int64(number))
		case kind == "late" && numeric:
			select {
			case <-r.Context().Done():
			case <-time.After(time.Duration(number) * time.Second):
				fmt.Fprintln(w, source)
			}
		case kind == "slow" && numeric:
			drip(w, r, number)
		case kind == "status" && numeric && number >= 200 && number <= 599:
			w.WriteHeader(number)
			if number != 204 && number != 304 {
				fmt.Fprintln(w, source)
			}
		default:
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintln(w, source)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func drip(w http.ResponseWriter, r *http.Request, seconds int) {
	w.Header().Set("Content-Type", "text/plain")
	flusher := http.NewResponseController(w)
	for range seconds * 10 {
		if _, err := io.WriteString(w, "."); err != nil || flusher.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	io.WriteString(w, "\n")
}
