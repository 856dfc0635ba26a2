package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// fetch makes one request for each URL and prints status line and body, or with --body the body alone, or with --json
// everything, in a line for each.
func fetch(args []string) error {
	var c client
	flags := flag.NewFlagSet("fetch", flag.ContinueOnError)
	c.flags(flags)
	include := flags.Bool("include", false, "print the headers too")
	bodyOnly := flags.Bool("body", false, "print the body only")
	asJSON := flags.Bool("json", false, "print one JSON object for each URL")
	urls, err := parse(flags, args, "URL...")
	if err != nil {
		return err
	}
	failed := false
	for _, url := range urls {
		r := c.do(url, nil)
		switch {
		case *asJSON:
			if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
				return err
			}
		case *bodyOnly:
			fmt.Print(r.Body)
		case r.Status != 0:
			fmt.Println(r.Status, r.Reason)
			if *include {
				r.Headers.Write(os.Stdout)
				fmt.Println()
			}
			fmt.Print(r.Body)
		}
		if r.Error != "" && !*asJSON {
			fmt.Fprintln(os.Stderr, "lab-tool fetch:", r.Error)
		}
		failed = failed || r.Error != "" || r.Status/100 != 2
	}
	if failed {
		return errQuiet
	}
	return nil
}

// loop makes requests at a fixed gap and prints a JSON line for each; failures do not end it. Each request has a
// connection of its own, unless --keep. With --clients they are those of so many clients in turn, each with a kept
// connection of its own, as the pods of an application have.
func loop(args []string) error {
	var c client
	flags := flag.NewFlagSet("loop", flag.ContinueOnError)
	c.flags(flags)
	count := flags.Int("count", 10, "how many requests")
	seconds := flags.Float64("seconds", 0, "go on for so long instead of counting")
	gap := flags.Duration("gap", 100*time.Millisecond, "pause after each request")
	keep := flags.Bool("keep", false, "over kept connections")
	clients := flags.Int("clients", 1, "with --keep: how many clients take turns, each with its own connection")
	rate := flags.Float64("rate", 0, "so many a second instead of the gap, whether those before have ended or not")
	untilEOF := flags.Bool("until-eof", false, "go on until standard input ends instead of counting")
	rest, err := parse(flags, args, "URL")
	if err != nil {
		return err
	}
	kept := []*http.Transport{nil}
	if *keep {
		request, err := http.NewRequest(http.MethodGet, rest[0], nil)
		if err != nil {
			return err
		}
		kept = make([]*http.Transport, max(*clients, 1))
		for i := range kept {
			if kept[i], err = c.transport(request); err != nil {
				return err
			}
		}
	}
	start := time.Now()
	end := start.Add(time.Duration(*seconds * float64(time.Second)))
	more := func(i int) bool { return *seconds > 0 && time.Now().Before(end) || *seconds == 0 && i < *count }
	if *untilEOF {
		ended := make(chan struct{})
		go func() {
			io.Copy(io.Discard, os.Stdin)
			close(ended)
		}()
		more = func(int) bool {
			select {
			case <-ended:
				return false
			default:
				return true
			}
		}
	}
	one := func(i int) result {
		r := c.do(rest[0], kept[i%len(kept)])
		r.Headers = nil
		return r
	}
	if *rate > 0 {
		return paced(one, more, start, time.Duration(float64(time.Second) / *rate))
	}
	out := json.NewEncoder(os.Stdout)
	for i := 0; more(i); i++ {
		if err := out.Encode(one(i)); err != nil {
			return err
		}
		time.Sleep(*gap)
	}
	return nil
}

// paced starts a request every interval, so that a stall of the other side does not thin out the load that it is judged
// by. Lines are written ten times a second: one write for each would cost more than the request.
func paced(one func(int) result, more func(int) bool, start time.Time, interval time.Duration) error {
	results := make(chan result, 1000)
	written := make(chan error, 1)
	go func() {
		buffer := bufio.NewWriter(os.Stdout)
		out := json.NewEncoder(buffer)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case r, ok := <-results:
				if !ok {
					written <- buffer.Flush()
					return
				}
				out.Encode(r) // an error stays in the buffer, for Flush to return
			case <-tick.C:
				if err := buffer.Flush(); err != nil {
					os.Exit(1) // nobody listens any more
				}
			}
		}
	}()
	var running sync.WaitGroup
	for i := 0; more(i); i++ {
		time.Sleep(time.Until(start.Add(time.Duration(i) * interval)))
		running.Go(func() { results <- one(i) })
	}
	running.Wait()
	close(results)
	return <-written
}
