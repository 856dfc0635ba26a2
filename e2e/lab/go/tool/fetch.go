package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

// fetch makes one request and prints status line and body, or with --body the body alone, or with --json everything.
func fetch(args []string) error {
	var c client
	flags := flag.NewFlagSet("fetch", flag.ContinueOnError)
	c.flags(flags)
	include := flags.Bool("include", false, "print the headers too")
	bodyOnly := flags.Bool("body", false, "print the body only")
	asJSON := flags.Bool("json", false, "print one JSON object")
	rest, err := parse(flags, args, "URL")
	if err != nil {
		return err
	}
	r := c.do(rest[0], nil)
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
	if r.Error != "" || r.Status/100 != 2 {
		return errQuiet
	}
	return nil
}

// loop makes requests at a fixed gap and prints a JSON line for each; failures do not end it. Each request has a
// connection of its own, unless --keep.
func loop(args []string) error {
	var c client
	flags := flag.NewFlagSet("loop", flag.ContinueOnError)
	c.flags(flags)
	count := flags.Int("count", 10, "how many requests")
	seconds := flags.Float64("seconds", 0, "go on for so long instead of counting")
	gap := flags.Duration("gap", 100*time.Millisecond, "pause after each request")
	keep := flags.Bool("keep", false, "all over one kept connection")
	rest, err := parse(flags, args, "URL")
	if err != nil {
		return err
	}
	var kept *http.Transport
	if *keep {
		request, err := http.NewRequest(http.MethodGet, rest[0], nil)
		if err != nil {
			return err
		}
		if kept, err = c.transport(request); err != nil {
			return err
		}
	}
	end := time.Now().Add(time.Duration(*seconds * float64(time.Second)))
	out := json.NewEncoder(os.Stdout)
	for i := 0; *seconds > 0 && time.Now().Before(end) || *seconds == 0 && i < *count; i++ {
		r := c.do(rest[0], kept)
		r.Headers = nil
		if err := out.Encode(r); err != nil {
			return err
		}
		time.Sleep(*gap)
	}
	return nil
}
