package main

import (
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// reach opens a TCP connection to each target, all at once, and prints a JSON line each, in their order: who can talk to
// whom. It sends nothing.
func reach(args []string) error {
	flags := flag.NewFlagSet("reach", flag.ContinueOnError)
	timeout := flags.Duration("timeout", 3*time.Second, "for each connection")
	targets, err := parse(flags, args, "HOST:PORT...")
	if err != nil {
		return err
	}
	type line struct {
		Target  string `json:"target"`
		Verdict string `json:"verdict"`
		Error   string `json:"error,omitempty"`
	}
	lines := make([]line, len(targets))
	var group sync.WaitGroup
	for i, target := range targets {
		group.Go(func() {
			conn, err := net.DialTimeout("tcp", target, *timeout)
			lines[i] = line{Target: target, Verdict: verdict(err)}
			if err != nil {
				lines[i].Error = err.Error()
				return
			}
			conn.Close()
		})
	}
	group.Wait()
	out := json.NewEncoder(os.Stdout)
	for _, l := range lines {
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// verdict: "closed" came from the destination itself, "rejected" from what stands before it.
func verdict(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return "open"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return "closed"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES):
		return "rejected"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silent"
	default:
		return "failed"
	}
}
