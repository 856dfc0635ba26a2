// The lab's own tool: the "internet" (echo servers, DNS, observers) and the clients that talk to it.
//
// It is written in Go with the standard library only, on purpose: it is the witness in every test, so it must not
// share a line of code with the proxy and the operator that it judges.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// errQuiet ends the program with status 1 where the output has already said why.
var errQuiet = errors.New("already reported")

var commands = map[string]func(args []string) error{
	"internet":    internet,
	"observer":    observer,
	"receiver":    receiver,
	"fetch":       fetch,
	"loop":        loop,
	"connect-raw": connectRaw,
	"reach":       reach,
	"resolve":     resolve,
	"forward":     forward,
	"sleep":       sleep,

	"network-policies": networkPolicies,
}

const usage = `lab-tool COMMAND [FLAGS] ... ("COMMAND -h" lists the flags)
  internet                    echo servers, DNS and the control API of the lab's internet, in one process
  observer                    answers the caller's address, or a lie
  receiver                    takes webhooks: demands a client certificate, verifies signatures
  fetch URL                   one request; exit status 0 only for 2xx
  loop URL                    many requests, one JSON line each
  connect-raw HOST:PORT       sends given bytes, prints what comes back
  reach HOST:PORT...          tries TCP connections, and prints which are open
  resolve NAME                prints the addresses of a name
  forward LISTEN NETNS ADDR   listens here, connects inside a network namespace
  sleep                       waits for SIGTERM
  network-policies            enforces the cluster's NetworkPolicies on every node, by nftables
`

func main() {
	if filepath.Base(os.Args[0]) == cniName {
		os.Exit(cniMain())
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	err := commands[os.Args[1]](os.Args[2:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errQuiet):
		os.Exit(1)
	case err != nil:
		fmt.Fprintf(os.Stderr, "lab-tool %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// parse reads the flags and demands exactly the named positional arguments after them; of the last, if it ends in
// "...", at least one.
func parse(flags *flag.FlagSet, args []string, positional ...string) ([]string, error) {
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	more := len(positional) > 0 && strings.HasSuffix(positional[len(positional)-1], "...")
	if flags.NArg() < len(positional) || flags.NArg() > len(positional) && !more {
		return nil, fmt.Errorf("wants the arguments %v after the flags, got %q", positional, flags.Args())
	}
	return flags.Args(), nil
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// sleep waits for a signal; a bare `select {}` would be a deadlock to the Go runtime.
func sleep([]string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	return nil
}
