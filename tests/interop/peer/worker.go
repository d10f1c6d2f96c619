package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

// weights is a flag such as "critical=6,default=3"; a name alone has weight 1.
type weights map[string]int

// String shows the flag's value.
func (w weights) String() string { return fmt.Sprint(map[string]int(w)) }

// Set reads the flag's value and replaces the default.
func (w weights) Set(text string) error {
	clear(w)
	for _, part := range strings.Split(text, ",") {
		name, number, found := strings.Cut(part, "=")
		weight := 1
		if found {
			var err error
			if weight, err = strconv.Atoi(number); err != nil {
				return err
			}
		}
		if name == "" || weight < 1 {
			return fmt.Errorf("%q is not NAME=WEIGHT with a weight of at least 1", part)
		}
		w[name] = weight
	}
	return nil
}

// limits say when the verb "work" ends by itself.
type limits struct {
	until   int64
	seconds float64
}

func work(args []string) error {
	o := newOptions("work")
	queues, level := weights{"default": 1}, asynq.WarnLevel
	var (
		config asynq.Config
		limit  limits
		delay  time.Duration
		groups bool
	)
	o.Var(queues, "queues", "queues and weights, NAME=WEIGHT,...")
	o.Var(&level, "log-level", "level of asynq's own log on stderr")
	o.IntVar(&config.Concurrency, "concurrency", 10, "how many tasks run at once")
	o.BoolVar(&config.StrictPriority, "strict", false, "always take from the heaviest queue that has tasks")
	o.DurationVar(&config.TaskCheckInterval, "task-check-interval", time.Second, "pause between looks at empty queues")
	o.DurationVar(&config.DelayedTaskCheckInterval, "delayed-check-interval", 5*time.Second, "pause between looks for due tasks")
	o.DurationVar(&config.ShutdownTimeout, "shutdown-timeout", 8*time.Second, "how long running tasks may take to end")
	o.DurationVar(&delay, "retry-delay", -1, "fixed wait before a retry; negative: asynq's own backoff")
	o.BoolVar(&groups, "aggregate", false, "make one task of type \"aggregated\" of a group: the payloads, a line each")
	o.DurationVar(&config.GroupGracePeriod, "group-grace", time.Minute, "how long no task must have come into a group; at least 1s")
	o.DurationVar(&config.GroupMaxDelay, "group-max-delay", 0, "how long a group's oldest task waits at most; 0: no limit")
	o.IntVar(&config.GroupMaxSize, "group-max-size", 0, "how many tasks are enough; 0: no limit")
	o.Int64Var(&limit.until, "until", 0, "stop after this many tasks have ended; 0: never")
	o.Float64Var(&limit.seconds, "seconds", 0, "stop after this many seconds; 0: never")
	conn, err := o.parse(args, 0)
	if err != nil {
		return err
	}
	config.Queues, config.LogLevel, config.IsFailure = queues, level, isFailure
	if delay >= 0 {
		config.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return delay }
	}
	if groups {
		config.GroupAggregator = asynq.GroupAggregatorFunc(joined)
	}
	return serve(conn, config, limit)
}

// joined makes one task of a group's tasks: their payloads, a line each.
func joined(_ string, tasks []*asynq.Task) *asynq.Task {
	payloads := make([][]byte, len(tasks))
	for i, t := range tasks {
		payloads[i] = t.Payload()
	}
	return asynq.NewTask("aggregated", bytes.Join(payloads, []byte("\n")), asynq.Retention(time.Hour))
}

// serve runs a server until a signal or a limit ends it. Its running tasks are settled when it returns.
func serve(conn asynq.RedisConnOpt, config asynq.Config, limit limits) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	out := newLines(os.Stdout)
	tasks := newReporter(out, limit.until)
	server := asynq.NewServer(conn, config)
	if err := server.Ping(); err != nil {
		return err
	}
	if err := server.Start(tasks); err != nil {
		return err
	}
	err := announced(conn)
	if err == nil {
		err = out.write(map[string]string{"event": "ready"})
	}
	close(tasks.ready)
	if err != nil {
		server.Shutdown()
		return err
	}
	var over <-chan time.Time
	if limit.seconds > 0 {
		over = time.After(time.Duration(limit.seconds * float64(time.Second)))
	}
	select {
	case <-stop:
	case <-over:
	case <-tasks.done:
	}
	server.Shutdown()
	return nil
}

// announced waits until the server of this process is listed in Redis: it writes its first heartbeat in the background.
func announced(conn asynq.RedisConnOpt) error {
	inspector := asynq.NewInspector(conn)
	defer quietly(inspector)
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		servers, err := inspector.Servers()
		if err != nil {
			return err
		}
		for _, s := range servers {
			if s.Host == host && s.PID == os.Getpid() {
				return nil
			}
		}
	}
	return errors.New("the server wrote no heartbeat within 5 seconds")
}
