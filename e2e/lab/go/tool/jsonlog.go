package main

import (
	"encoding/json"
	"log"
	"net"
	"os"
	"sync"
	"time"
)

// jsonLog appends one JSON object per line to a file. The first field of every line is time_ms, so that a shell can
// cut the log by time without parsing JSON.
type jsonLog struct {
	mu   sync.Mutex
	file *os.File
}

func openLog(path string) (*jsonLog, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return &jsonLog{file: file}, err
}

func (l *jsonLog) write(line any) {
	data, err := json.Marshal(line)
	if err != nil {
		log.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(append(data, '\n')); err != nil {
		log.Fatal(err) // a witness that cannot write must not look as if it had seen nothing
	}
}

func nowMs() int64 { return time.Now().UnixMilli() }

// peer splits a remote address into what the logs record.
func peer(remote string) (family, host, port string) {
	host, port, err := net.SplitHostPort(remote)
	if err != nil {
		return "", remote, ""
	}
	family = "ipv6"
	if ip := net.ParseIP(host); ip != nil && ip.To4() != nil {
		family, host = "ipv4", ip.To4().String()
	}
	return family, host, port
}
