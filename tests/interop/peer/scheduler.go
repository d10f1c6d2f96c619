package main

import (
	"time"

	"github.com/hibiken/asynq"
)

// entry is one line for the verb "schedule": a task, and when to enqueue it.
type entry struct {
	task
	Spec string `json:"spec"`
}

// registered answers it.
type registered struct {
	ID string `json:"id"`
}

// schedule runs a scheduler, which takes the entries from stdin and ends with it.
func schedule(args []string) error {
	o := newOptions("schedule")
	level := asynq.WarnLevel
	o.Var(&level, "log-level", "level of asynq's own log on stderr")
	conn, err := o.parse(args, 0)
	if err != nil {
		return err
	}
	scheduler := asynq.NewScheduler(conn, &asynq.SchedulerOpts{HeartbeatInterval: time.Second, LogLevel: level})
	if err := scheduler.Start(); err != nil {
		return err
	}
	defer scheduler.Shutdown()
	return answer(func(line []byte) any {
		var e entry
		if err := decode(line, &e); err != nil {
			return refused{err.Error()}
		}
		id, err := scheduler.Register(e.Spec, asynq.NewTaskWithHeaders(e.Type, e.Payload, e.Headers), e.options()...)
		if err != nil {
			return refused{err.Error()}
		}
		return registered{id}
	})
}
