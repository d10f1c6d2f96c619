package main

import (
	"fmt"
	"sort"
	"time"

	"github.com/hibiken/asynq"
)

// question is one line for the verb "inspect"; which fields count depends on the op.
type question struct {
	Op      string `json:"op"`
	Queue   string `json:"queue"`
	ID      string `json:"id"`
	State   string `json:"state"`
	Group   string `json:"group"`
	Page    int    `json:"page"` // from 1; 0: 1
	Size    int    `json:"size"` // 0: 30
	Days    int    `json:"days"`
	Force   bool   `json:"force"`
	Payload []byte `json:"payload"`
	Task    *task  `json:"task"` // to enqueue
}

// answered and failed are the two forms of a reply.
type answered struct {
	OK    bool `json:"ok"`
	Value any  `json:"value"`
}

type failed struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// ops maps each op to what answers it. An op without a value answers null.
var ops = map[string]func(i *asynq.Inspector, q question) (any, error){
	"queues": func(i *asynq.Inspector, _ question) (any, error) {
		names, err := i.Queues()
		sort.Strings(names)
		return append([]string{}, names...), err
	},
	"queue_info": func(i *asynq.Inspector, q question) (any, error) {
		info, err := i.GetQueueInfo(q.Queue)
		return shown(info, err, queueValue)
	},
	"task": func(i *asynq.Inspector, q question) (any, error) {
		info, err := i.GetTaskInfo(q.Queue, q.ID)
		return shown(info, err, taskValue)
	},
	"list":         list,
	"delete_task":  func(i *asynq.Inspector, q question) (any, error) { return nil, i.DeleteTask(q.Queue, q.ID) },
	"run_task":     func(i *asynq.Inspector, q question) (any, error) { return nil, i.RunTask(q.Queue, q.ID) },
	"archive_task": func(i *asynq.Inspector, q question) (any, error) { return nil, i.ArchiveTask(q.Queue, q.ID) },
	"cancel":       func(i *asynq.Inspector, q question) (any, error) { return nil, i.CancelProcessing(q.ID) },
	"pause":        func(i *asynq.Inspector, q question) (any, error) { return nil, i.PauseQueue(q.Queue) },
	"unpause":      func(i *asynq.Inspector, q question) (any, error) { return nil, i.UnpauseQueue(q.Queue) },
	"servers": func(i *asynq.Inspector, _ question) (any, error) {
		servers, err := i.Servers()
		return each(servers, err, serverValue)
	},
	"history": func(i *asynq.Inspector, q question) (any, error) {
		days, err := i.History(q.Queue, q.Days)
		return each(days, err, dayValue)
	},
	"delete_queue": func(i *asynq.Inspector, q question) (any, error) { return nil, i.DeleteQueue(q.Queue, q.Force) },
	"scheduler_entries": func(i *asynq.Inspector, _ question) (any, error) {
		entries, err := i.SchedulerEntries()
		return each(entries, err, entryValue)
	},
	"scheduler_events": func(i *asynq.Inspector, q question) (any, error) {
		events, err := i.ListSchedulerEnqueueEvents(q.ID, page(q)...)
		return each(events, err, eventValue)
	},
	"groups": func(i *asynq.Inspector, q question) (any, error) {
		groups, err := i.Groups(q.Queue)
		return each(groups, err, groupValue)
	},
	"run_all":     all(runners),
	"archive_all": all(archivers),
	"delete_all":  all(deleters),
	"update_payload": func(i *asynq.Inspector, q question) (any, error) {
		return nil, i.UpdateTaskPayload(q.Queue, q.ID, q.Payload)
	},
}

func inspect(args []string) error {
	o := newOptions("inspect")
	conn, err := o.parse(args, 0)
	if err != nil {
		return err
	}
	inspector, client := asynq.NewInspector(conn), asynq.NewClient(conn)
	defer quietly(inspector)
	defer func() { quietly(client) }()
	return answer(func(line []byte) any {
		var q question
		if err := decode(line, &q); err != nil {
			return failed{Error: err.Error()}
		}
		switch q.Op {
		case "enqueue":
			return put(client, q.Task)
		case "new_client": // asynq's remembers which queues it has listed, also after somebody has emptied the database
			quietly(client)
			client = asynq.NewClient(conn)
			return answered{OK: true}
		}
		op, ok := ops[q.Op]
		if !ok {
			return failed{Error: fmt.Sprintf("no op %q", q.Op)}
		}
		value, err := op(inspector, q)
		if err != nil {
			return failed{Error: err.Error()}
		}
		return answered{OK: true, Value: value}
	})
}

// put answers the op "enqueue".
func put(client *asynq.Client, t *task) any {
	if t == nil {
		return failed{Error: "no task to enqueue"}
	}
	switch result := t.enqueue(client).(type) {
	case refused:
		return failed{Error: result.Error}
	default:
		return answered{OK: true, Value: result}
	}
}

type lister func(i *asynq.Inspector, queue string, opts ...asynq.ListOption) ([]*asynq.TaskInfo, error)

var listers = map[string]lister{
	"active":    (*asynq.Inspector).ListActiveTasks,
	"pending":   (*asynq.Inspector).ListPendingTasks,
	"scheduled": (*asynq.Inspector).ListScheduledTasks,
	"retry":     (*asynq.Inspector).ListRetryTasks,
	"archived":  (*asynq.Inspector).ListArchivedTasks,
	"completed": (*asynq.Inspector).ListCompletedTasks,
}

func list(i *asynq.Inspector, q question) (any, error) {
	if q.State == "aggregating" {
		tasks, err := i.ListAggregatingTasks(q.Queue, q.Group, page(q)...)
		return each(tasks, err, taskValue)
	}
	lister, ok := listers[q.State]
	if !ok {
		return nil, fmt.Errorf("no state %q to list", q.State)
	}
	tasks, err := lister(i, q.Queue, page(q)...)
	return each(tasks, err, taskValue)
}

func page(q question) []asynq.ListOption {
	opts := []asynq.ListOption{}
	if q.Page > 0 {
		opts = append(opts, asynq.Page(q.Page))
	}
	if q.Size > 0 {
		opts = append(opts, asynq.PageSize(q.Size))
	}
	return opts
}

// bulk is one operation on all tasks in a state; aggregating is its form for a group.
type bulk struct {
	states      map[string]func(i *asynq.Inspector, queue string) (int, error)
	aggregating func(i *asynq.Inspector, queue, group string) (int, error)
}

var (
	runners = bulk{map[string]func(*asynq.Inspector, string) (int, error){
		"scheduled": (*asynq.Inspector).RunAllScheduledTasks,
		"retry":     (*asynq.Inspector).RunAllRetryTasks,
		"archived":  (*asynq.Inspector).RunAllArchivedTasks,
	}, (*asynq.Inspector).RunAllAggregatingTasks}
	archivers = bulk{map[string]func(*asynq.Inspector, string) (int, error){
		"pending":   (*asynq.Inspector).ArchiveAllPendingTasks,
		"scheduled": (*asynq.Inspector).ArchiveAllScheduledTasks,
		"retry":     (*asynq.Inspector).ArchiveAllRetryTasks,
	}, (*asynq.Inspector).ArchiveAllAggregatingTasks}
	deleters = bulk{map[string]func(*asynq.Inspector, string) (int, error){
		"pending":   (*asynq.Inspector).DeleteAllPendingTasks,
		"scheduled": (*asynq.Inspector).DeleteAllScheduledTasks,
		"retry":     (*asynq.Inspector).DeleteAllRetryTasks,
		"archived":  (*asynq.Inspector).DeleteAllArchivedTasks,
		"completed": (*asynq.Inspector).DeleteAllCompletedTasks,
	}, (*asynq.Inspector).DeleteAllAggregatingTasks}
)

// all answers with how many tasks the operation moved.
func all(b bulk) func(i *asynq.Inspector, q question) (any, error) {
	return func(i *asynq.Inspector, q question) (any, error) {
		if q.State == "aggregating" {
			return b.aggregating(i, q.Queue, q.Group)
		}
		move, ok := b.states[q.State]
		if !ok {
			return nil, fmt.Errorf("not possible for all tasks in state %q", q.State)
		}
		return move(i, q.Queue)
	}
}

// shown turns what asynq returned into a value for a line, unless it is an error.
func shown[T any](item *T, err error, value func(*T) any) (any, error) {
	if err != nil {
		return nil, err
	}
	return value(item), nil
}

// each does the same for a list; no items are [] and never null.
func each[T any](items []*T, err error, value func(*T) any) (any, error) {
	if err != nil {
		return nil, err
	}
	values := make([]any, 0, len(items))
	for _, item := range items {
		values = append(values, value(item))
	}
	return values, nil
}

// seconds is a duration in whole seconds.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
