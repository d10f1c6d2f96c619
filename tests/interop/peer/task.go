package main

import (
	"errors"
	"math"
	"time"

	"github.com/hibiken/asynq"
)

// task is one line for the verb "enqueue". A field that is absent leaves asynq's own default.
type task struct {
	Type      string            `json:"type"`
	Payload   []byte            `json:"payload"`    // base64; absent or null is a nil payload, "" an empty one
	Queue     *string           `json:"queue"`      // default "default"
	MaxRetry  *int              `json:"max_retry"`  // default 25
	Timeout   *span             `json:"timeout"`    // default 30m when there is no deadline either
	Deadline  *int64            `json:"deadline"`   // Unix seconds
	ProcessAt *float64          `json:"process_at"` // Unix seconds
	ProcessIn *span             `json:"process_in"`
	Unique    *span             `json:"unique"` // how long the lock lives, at least 1s
	TaskID    *string           `json:"task_id"`
	Retention *span             `json:"retention"`
	Group     *string           `json:"group"`
	Headers   map[string]string `json:"headers"`
}

// stored is the answer for a task that went in.
type stored struct {
	ID    string `json:"id"`
	Queue string `json:"queue"`
	State string `json:"state"`
}

// refused is the answer for one that did not: "duplicate", "conflict" or the error's text.
type refused struct {
	Error string `json:"error"`
}

func (t *task) options() []asynq.Option {
	var opts []asynq.Option
	if t.Queue != nil {
		opts = append(opts, asynq.Queue(*t.Queue))
	}
	if t.MaxRetry != nil {
		opts = append(opts, asynq.MaxRetry(*t.MaxRetry))
	}
	if t.Timeout != nil {
		opts = append(opts, asynq.Timeout(time.Duration(*t.Timeout)))
	}
	if t.Deadline != nil {
		opts = append(opts, asynq.Deadline(time.Unix(*t.Deadline, 0)))
	}
	if t.ProcessAt != nil {
		whole, part := math.Modf(*t.ProcessAt)
		opts = append(opts, asynq.ProcessAt(time.Unix(int64(whole), int64(part*float64(time.Second)))))
	}
	if t.ProcessIn != nil {
		opts = append(opts, asynq.ProcessIn(time.Duration(*t.ProcessIn)))
	}
	if t.Unique != nil {
		opts = append(opts, asynq.Unique(time.Duration(*t.Unique)))
	}
	if t.TaskID != nil {
		opts = append(opts, asynq.TaskID(*t.TaskID))
	}
	if t.Retention != nil {
		opts = append(opts, asynq.Retention(time.Duration(*t.Retention)))
	}
	if t.Group != nil {
		opts = append(opts, asynq.Group(*t.Group))
	}
	return opts
}

func enqueue(args []string) error {
	o := newOptions("enqueue")
	conn, err := o.parse(args, 0)
	if err != nil {
		return err
	}
	client := asynq.NewClient(conn)
	defer quietly(client)
	return answer(func(line []byte) any {
		var t task
		if err := decode(line, &t); err != nil {
			return refused{err.Error()}
		}
		return t.enqueue(client)
	})
}

// enqueue returns what the client answers: stored or refused.
func (t *task) enqueue(client *asynq.Client) any {
	info, err := client.Enqueue(asynq.NewTaskWithHeaders(t.Type, t.Payload, t.Headers), t.options()...)
	switch {
	case errors.Is(err, asynq.ErrDuplicateTask):
		return refused{"duplicate"}
	case errors.Is(err, asynq.ErrTaskIDConflict):
		return refused{"conflict"}
	case err != nil:
		return refused{err.Error()}
	}
	return stored{info.ID, info.Queue, info.State.String()}
}
