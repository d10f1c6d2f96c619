// Command serviceclient is a client of the TaskFlow service in Go, as somebody who has only read that service's JSON would
// write it: its structs have that service's fields and types, and what does not fit them fails. It goes through the whole
// contract and reports each check, so that the same program can be run against any service that claims to keep it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const usage = `usage: serviceclient VERB --url URL [--redis URL]

verbs:
  all      every check that needs a running system: an API, and a worker that serves the type "demo"
  outage   what the API says while its Redis is away
`

// report is what is printed of a check, one JSON object a line.
type report struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	run   func(s *service) error
}

// check is one thing that a client relies on.
type check struct {
	name string
	run  func(s *service) error
}

func main() {
	failed, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "serviceclient:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// run does the checks of a verb, and tells whether any has failed.
func run(args []string) (bool, error) {
	if len(args) == 0 {
		return false, errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	url := flags.String("url", "http://127.0.0.1:8080", "where the API is")
	redisURL := flags.String("redis", "redis://127.0.0.1:6379", "where its Redis is, to publish progress as a worker does")
	only := flags.String("only", "", "do only the check of this name")
	if err := flags.Parse(args[1:]); err != nil {
		return false, err
	}
	var checks []check
	switch args[0] {
	case "all":
		for _, some := range [][]check{taskChecks, createErrorChecks, progressChecks, streamChecks, queueChecks, aroundChecks} {
			checks = append(checks, some...)
		}
	case "outage":
		checks = outageChecks
	default:
		return false, errors.New(usage)
	}
	options, err := redis.ParseURL(*redisURL)
	if err != nil {
		return false, err
	}
	s := &service{url: *url, redis: redis.NewClient(options)}
	defer s.redis.Close()
	out := json.NewEncoder(os.Stdout)
	failed := false
	for _, r := range s.all(checks, *only) {
		failed = failed || !r.OK
		if err := out.Encode(r); err != nil {
			return failed, err
		}
	}
	return failed, nil
}

// atOnce is how many checks are done at a time.
const atOnce = 8

// all does checks, or only that of a name; the reports are in their order.
func (s *service) all(checks []check, only string) []report {
	reports := make([]report, 0, len(checks))
	for _, c := range checks {
		if only == "" || only == c.name {
			reports = append(reports, report{Check: c.name, run: c.run})
		}
	}
	places := make(chan struct{}, atOnce)
	var done sync.WaitGroup
	for i := range reports {
		places <- struct{}{}
		done.Add(1)
		go func() {
			defer func() { <-places; done.Done() }()
			if err := reports[i].run(s); err != nil {
				reports[i].Error = err.Error()
			}
			reports[i].OK = reports[i].Error == ""
		}()
	}
	done.Wait()
	return reports
}

// patience is how long a check waits for something to happen.
const patience = 15 * time.Second

// waitUntil asks again and again until it is true.
func waitUntil(what string, is func() (bool, error)) error {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		found, err := is()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if found {
			return nil
		}
	}
	return fmt.Errorf("%s: not within %s", what, patience)
}
