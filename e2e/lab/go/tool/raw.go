package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// connectRaw sends exactly the given bytes and prints whatever comes until the peer closes or the time is over.
func connectRaw(args []string) error {
	flags := flag.NewFlagSet("connect-raw", flag.ContinueOnError)
	data := flags.String("data", "", `what to send, with Go escapes: 'GET / HTTP/1.0\r\n\r\n'`)
	stdin := flags.Bool("stdin", false, "send standard input after --data")
	halfClose := flags.Bool("half-close", false, "close the sending side after the last byte")
	timeout := flags.Duration("timeout", 5*time.Second, "for connecting, then for the answer")
	rest, err := parse(flags, args, "HOST:PORT")
	if err != nil {
		return err
	}
	bytes, err := strconv.Unquote(`"` + *data + `"`)
	if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	conn, err := net.DialTimeout("tcp", rest[0], *timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(*timeout))
	if _, err := io.WriteString(conn, bytes); err != nil {
		return err
	}
	if *stdin {
		if _, err := io.Copy(conn, os.Stdin); err != nil {
			return err
		}
	}
	if *halfClose {
		conn.(*net.TCPConn).CloseWrite()
	}
	_, err = io.Copy(os.Stdout, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) { // an open, quiet connection is a fine outcome
		return nil
	}
	return err
}

// resolve prints a name's addresses, one per line.
func resolve(args []string) error {
	flags := flag.NewFlagSet("resolve", flag.ContinueOnError)
	server := flags.String("server", "", "ADDR of a DNS server (default: resolv.conf)")
	only4 := flags.Bool("4", false, "IPv4 only")
	only6 := flags.Bool("6", false, "IPv6 only")
	rest, err := parse(flags, args, "NAME")
	if err != nil {
		return err
	}
	resolver := &net.Resolver{PreferGo: true}
	if *server != "" {
		resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(*server, "53"))
		}
	}
	family := "ip"
	if *only4 {
		family = "ip4"
	} else if *only6 {
		family = "ip6"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	addresses, err := resolver.LookupNetIP(ctx, family, rest[0])
	for _, address := range addresses {
		fmt.Println(address.Unmap())
	}
	return err
}
