package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// behaviour is what a task does when its type begins with the prefix. A type that matches none just succeeds.
type behaviour struct {
	prefix string
	run    func(ctx context.Context, t *asynq.Task) error
}

var behaviours = []behaviour{
	{"echo", func(_ context.Context, t *asynq.Task) error {
		_, err := t.ResultWriter().Write(t.Payload())
		return err
	}},
	{"fail", func(_ context.Context, t *asynq.Task) error { return errors.New(string(t.Payload())) }},
	{"skip", func(_ context.Context, t *asynq.Task) error {
		return fmt.Errorf("%s: %w", t.Payload(), asynq.SkipRetry)
	}},
	{"revoke", func(_ context.Context, t *asynq.Task) error {
		return fmt.Errorf("%s: %w", t.Payload(), asynq.RevokeTask)
	}},
	{"excuse", func(_ context.Context, t *asynq.Task) error { return excused(t.Payload()) }},
	{"panic", func(_ context.Context, t *asynq.Task) error { panic(string(t.Payload())) }},
	{"sleep", sleep},
}

// excused is an error that is no failure: the task is tried again and keeps its retries.
type excused string

func (e excused) Error() string { return string(e) }

func isFailure(err error) bool { return !errors.As(err, new(excused)) }

// sleep waits the milliseconds written in the payload, or until the task's context ends (deadline, cancel, shutdown).
func sleep(ctx context.Context, t *asynq.Task) error {
	ms, err := strconv.ParseFloat(string(t.Payload()), 64)
	if err != nil {
		return fmt.Errorf("the payload of a sleep is its milliseconds: %w", err)
	}
	timer := time.NewTimer(time.Duration(ms * float64(time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func behave(ctx context.Context, t *asynq.Task) error {
	for _, b := range behaviours {
		if strings.HasPrefix(t.Type(), b.prefix) {
			return b.run(ctx, t)
		}
	}
	return nil
}

// event is one line about a task: "start" before its handler, "end" after it. asynq settles the task after "end".
type event struct {
	Event    string            `json:"event"`
	ID       string            `json:"id"`
	Type     string            `json:"type"`
	Queue    string            `json:"queue"`
	Payload  []byte            `json:"payload"`
	Headers  map[string]string `json:"headers"`
	Retried  int               `json:"retried"`
	MaxRetry int               `json:"max_retry"`
	Deadline float64           `json:"deadline"` // Unix seconds
	Error    *string           `json:"error"`    // null at start and after a success
}

// reporter runs tasks, writes their events, and closes done when the last wanted one has ended.
type reporter struct {
	out   *lines
	until int64 // 0: no end
	ended atomic.Int64
	ready chan struct{} // closed once "ready" is written; tasks wait for it, so that it is always the first line
	done  chan struct{}
}

func newReporter(out *lines, until int64) *reporter {
	return &reporter{out: out, until: until, ready: make(chan struct{}), done: make(chan struct{})}
}

// ProcessTask is asynq's handler method.
func (r *reporter) ProcessTask(ctx context.Context, t *asynq.Task) error {
	<-r.ready
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	maxRetry, _ := asynq.GetMaxRetry(ctx)
	deadline, _ := ctx.Deadline()
	e := event{
		Event: "start", ID: id, Type: t.Type(), Queue: queue, Payload: present(t.Payload()), Headers: named(t.Headers()),
		Retried: retried, MaxRetry: maxRetry, Deadline: float64(deadline.UnixMilli()) / 1000,
	}
	if err := r.out.write(e); err != nil {
		return fmt.Errorf("cannot report the start: %w", err)
	}
	outcome := behave(ctx, t)
	e.Event = "end"
	if outcome != nil {
		text := outcome.Error()
		e.Error = &text
	}
	if err := r.out.write(e); err != nil {
		return fmt.Errorf("cannot report the end: %w", err)
	}
	if r.ended.Add(1) == r.until {
		close(r.done)
	}
	return outcome
}
