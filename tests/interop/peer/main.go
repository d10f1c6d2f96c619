// Command peer is a second, independent program on the same wire format: a small client, worker, inspector and
// load generator on the published asynq module, driven by tests and benchmarks over JSON lines.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/hibiken/asynq"
)

const usage = `usage: peer VERB --redis URL [flags]

verbs:
  enqueue        tasks from stdin, one JSON object a line
  work           run a server until SIGTERM, --until or --seconds
  schedule       run a scheduler; its entries from stdin, one JSON object a line
  inspect        questions from stdin, one JSON object a line
  golden DIR     write the golden files (needs an empty database)
  bench drain | enqueue | latency

"peer VERB --help" lists the flags of a verb.
`

// verbs maps each verb to what runs it; the arguments are those after the verb.
var verbs = map[string]func(args []string) error{
	"enqueue":  enqueue,
	"work":     work,
	"schedule": schedule,
	"inspect":  inspect,
	"golden":   golden,
	"bench":    bench,
}

// errUsage marks a wrong command line, which exits with 2 instead of 1.
var errUsage = errors.New("wrong usage")

func main() {
	err := run(os.Args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("%w: no verb", errUsage)
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(os.Stderr, usage)
		return nil
	}
	verb, ok := verbs[args[0]]
	if !ok {
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("%w: no verb %q", errUsage, args[0])
	}
	return verb(args[1:])
}

// options are a verb's flags; every verb has --redis.
type options struct {
	*flag.FlagSet
	url string
}

func newOptions(verb string) *options {
	o := &options{FlagSet: flag.NewFlagSet("peer "+verb, flag.ContinueOnError)}
	o.StringVar(&o.url, "redis", "redis://127.0.0.1:6379/0", "redis://HOST:PORT/DB or redis-socket:///PATH?db=DB")
	return o
}

// parse reads the flags and returns where Redis is; at most extra arguments may follow the flags.
func (o *options) parse(args []string, extra int) (asynq.RedisConnOpt, error) {
	if err := o.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.NArg() > extra {
		return nil, fmt.Errorf("%w: unexpected argument %q", errUsage, o.Arg(extra))
	}
	conn, err := asynq.ParseRedisURI(o.url)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return conn, nil
}

// quietly closes what an exiting verb no longer needs; an error there changes nothing any more.
func quietly(c io.Closer) { _ = c.Close() }
