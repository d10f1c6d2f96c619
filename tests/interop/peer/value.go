package main

import (
	"time"

	"github.com/hibiken/asynq"
)

// fields is an object of a reply. encoding/json writes its names in alphabetical order, so the output is stable.
// Times are Unix seconds, 0 for "never"; durations are seconds; bytes are base64.
type fields map[string]any

func queueValue(q *asynq.QueueInfo) any {
	return fields{
		"queue": q.Queue, "memory_usage": q.MemoryUsage, "latency": q.Latency.Seconds(), "size": q.Size, "groups": q.Groups,
		"pending": q.Pending, "active": q.Active, "scheduled": q.Scheduled, "retry": q.Retry, "archived": q.Archived,
		"completed": q.Completed, "aggregating": q.Aggregating, "processed": q.Processed, "failed": q.Failed,
		"processed_total": q.ProcessedTotal, "failed_total": q.FailedTotal, "paused": q.Paused,
		"timestamp": unix(q.Timestamp),
	}
}

func taskValue(t *asynq.TaskInfo) any {
	return fields{
		"id": t.ID, "queue": t.Queue, "type": t.Type, "payload": present(t.Payload), "headers": named(t.Headers),
		"state": t.State.String(), "max_retry": t.MaxRetry, "retried": t.Retried, "last_err": t.LastErr,
		"last_failed_at": unix(t.LastFailedAt), "timeout": seconds(t.Timeout), "deadline": unix(t.Deadline),
		"group": t.Group, "next_process_at": unix(t.NextProcessAt), "is_orphaned": t.IsOrphaned,
		"retention": seconds(t.Retention), "completed_at": unix(t.CompletedAt), "result": present(t.Result),
	}
}

func serverValue(s *asynq.ServerInfo) any {
	workers := make([]any, 0, len(s.ActiveWorkers))
	for _, w := range s.ActiveWorkers {
		workers = append(workers, fields{
			"task_id": w.TaskID, "task_type": w.TaskType, "task_payload": present(w.TaskPayload), "queue": w.Queue,
			"started": unix(w.Started), "deadline": unix(w.Deadline),
		})
	}
	return fields{
		"id": s.ID, "host": s.Host, "pid": s.PID, "concurrency": s.Concurrency, "queues": s.Queues,
		"strict_priority": s.StrictPriority, "started": unix(s.Started), "status": s.Status, "active_workers": workers,
	}
}

func dayValue(d *asynq.DailyStats) any {
	return fields{
		"queue": d.Queue, "date": d.Date.UTC().Format(time.DateOnly), "processed": d.Processed, "failed": d.Failed,
	}
}

func entryValue(e *asynq.SchedulerEntry) any {
	return fields{
		"id": e.ID, "spec": e.Spec, "task_type": e.Task.Type(), "task_payload": present(e.Task.Payload()),
		"options": texts(e.Opts), "next": unix(e.Next), "prev": unix(e.Prev),
	}
}

func eventValue(e *asynq.SchedulerEnqueueEvent) any {
	return fields{"task_id": e.TaskID, "enqueued_at": unix(e.EnqueuedAt)}
}

func groupValue(g *asynq.GroupInfo) any { return fields{"group": g.Group, "size": g.Size} }

// texts are options as asynq writes them, such as MaxRetry(3).
func texts(opts []asynq.Option) []string {
	out := make([]string, 0, len(opts))
	for _, o := range opts {
		out = append(out, o.String())
	}
	return out
}
