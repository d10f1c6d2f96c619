package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

const (
	noop        = "noop"
	fillers     = 8 // goroutines that enqueue for --fill
	payloadSize = 40
)

var payload = []byte(strings.Repeat("x", payloadSize))

// rate is what "bench drain" and "bench enqueue" print.
type rate struct {
	Tasks   int     `json:"tasks"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"` // tasks per second
}

func newRate(tasks int, took time.Duration) rate {
	return rate{tasks, took.Seconds(), float64(tasks) / took.Seconds()}
}

// wait is what "bench latency" prints.
type wait struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
}

// load is what the benchmarks' flags set.
type load struct {
	queue       string
	tasks       int
	samples     int
	goroutines  int
	concurrency int
	interval    time.Duration
	pause       time.Duration
	jitter      time.Duration
	fill        bool
}

var benches = map[string]func(conn asynq.RedisConnOpt, l load) (any, error){
	"drain":   drain,
	"enqueue": flood,
	"latency": latency,
}

func bench(args []string) error {
	if len(args) == 0 || benches[args[0]] == nil {
		return fmt.Errorf("%w: bench needs one of drain, enqueue, latency", errUsage)
	}
	var l load
	o := newOptions("bench " + args[0])
	o.StringVar(&l.queue, "queue", "default", "queue to use")
	switch args[0] {
	case "drain":
		o.IntVar(&l.tasks, "tasks", 10_000, "how many tasks to drain")
		o.BoolVar(&l.fill, "fill", false, "enqueue the tasks first (not measured)")
	case "enqueue":
		o.IntVar(&l.tasks, "tasks", 10_000, "how many tasks to enqueue")
		o.IntVar(&l.goroutines, "goroutines", 1, "how many enqueue at the same time")
	case "latency":
		o.IntVar(&l.samples, "samples", 100, "how many tasks to time")
		o.DurationVar(&l.pause, "pause", 20*time.Millisecond, "shortest wait between a pick-up and the next task")
		o.DurationVar(&l.jitter, "jitter", 40*time.Millisecond, "random wait on top of --pause, from 0 to this")
	}
	if args[0] != "enqueue" {
		o.IntVar(&l.concurrency, "concurrency", 10, "how many tasks run at once")
		o.DurationVar(&l.interval, "check-interval", time.Second, "pause between looks at empty queues")
	}
	conn, err := o.parse(args[1:], 0)
	if err != nil {
		return err
	}
	if err := l.check(args[0]); err != nil {
		return err
	}
	result, err := benches[args[0]](conn, l)
	if err != nil {
		return err
	}
	return newLines(os.Stdout).write(result)
}

func (l load) check(name string) error {
	switch name {
	case "drain":
		if l.tasks < 1 || l.concurrency < 1 {
			return fmt.Errorf("%w: --tasks and --concurrency must be at least 1", errUsage)
		}
	case "enqueue":
		if l.tasks < 1 || l.goroutines < 1 {
			return fmt.Errorf("%w: --tasks and --goroutines must be at least 1", errUsage)
		}
	case "latency":
		if l.samples < 1 || l.concurrency < 1 || l.jitter <= 0 {
			return fmt.Errorf("%w: --samples and --concurrency must be at least 1, --jitter above 0", errUsage)
		}
	}
	return nil
}

func (l load) server(conn asynq.RedisConnOpt) *asynq.Server {
	return asynq.NewServer(conn, asynq.Config{
		Concurrency:       l.concurrency,
		Queues:            map[string]int{l.queue: 1},
		TaskCheckInterval: l.interval,
		LogLevel:          asynq.FatalLevel, // nothing is logged, so that logging costs nothing
	})
}

// fill enqueues the tasks from several goroutines over one client and returns how long it took.
func fill(conn asynq.RedisConnOpt, l load, goroutines int) (time.Duration, error) {
	client := asynq.NewClient(conn)
	defer quietly(client)
	if err := client.Ping(); err != nil {
		return 0, err
	}
	var (
		taken  atomic.Int64
		group  sync.WaitGroup
		errs   = make(chan error, goroutines)
		queue  = asynq.Queue(l.queue)
		before = time.Now()
	)
	for range goroutines {
		group.Add(1)
		go func() {
			defer group.Done()
			for taken.Add(1) <= int64(l.tasks) {
				if _, err := client.Enqueue(asynq.NewTask(noop, payload), queue); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	group.Wait()
	took := time.Since(before)
	close(errs)
	return took, <-errs
}

func flood(conn asynq.RedisConnOpt, l load) (any, error) {
	took, err := fill(conn, l, l.goroutines)
	return newRate(l.tasks, took), err
}

// drain measures from before the server starts to the end of the last task's handler, and returns when all tasks are
// settled.
func drain(conn asynq.RedisConnOpt, l load) (any, error) {
	if l.fill {
		if _, err := fill(conn, l, fillers); err != nil {
			return nil, err
		}
	}
	inspector := asynq.NewInspector(conn)
	defer quietly(inspector)
	info, err := inspector.GetQueueInfo(l.queue)
	if err != nil {
		return nil, err
	}
	if info.Pending != l.tasks {
		return nil, fmt.Errorf("queue %q has %d pending tasks, not the %d to drain", l.queue, info.Pending, l.tasks)
	}
	var handled atomic.Int64
	last := make(chan time.Time, 1)
	handler := asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if handled.Add(1) == int64(l.tasks) {
			last <- time.Now()
		}
		return nil
	})
	server := l.server(conn)
	before := time.Now()
	if err := server.Start(handler); err != nil {
		return nil, err
	}
	after := <-last
	server.Shutdown()
	return newRate(l.tasks, after.Sub(before)), nil
}

// latency measures, one task at a time, from before Enqueue to the start of the handler on an otherwise idle server.
func latency(conn asynq.RedisConnOpt, l load) (any, error) {
	started := make(chan time.Time)
	handler := asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		started <- time.Now()
		return nil
	})
	server := l.server(conn)
	if err := server.Start(handler); err != nil {
		return nil, err
	}
	defer server.Shutdown()
	client := asynq.NewClient(conn)
	defer quietly(client)
	task := asynq.NewTask(noop, payload, asynq.Queue(l.queue))
	// The first one opens connections and loads scripts; it is not counted.
	if _, err := client.Enqueue(task); err != nil {
		return nil, err
	}
	<-started
	waits := make([]time.Duration, 0, l.samples)
	for range l.samples {
		time.Sleep(l.pause + rand.N(l.jitter))
		before := time.Now()
		if _, err := client.Enqueue(task); err != nil {
			return nil, err
		}
		waits = append(waits, (<-started).Sub(before))
	}
	slices.Sort(waits)
	return wait{l.samples, percentile(waits, 50), percentile(waits, 99)}, nil
}

// percentile is the nearest-rank percentile of sorted waits, in milliseconds.
func percentile(sorted []time.Duration, percent int) float64 {
	rank := (len(sorted)*percent + 99) / 100
	return float64(sorted[rank-1]) / float64(time.Millisecond)
}
