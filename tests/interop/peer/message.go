package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
)

// sample is one case of messages.json: a task, its options, and the state in which its message is read. Samples that
// must run first carry a type that says what the handler does with them (see behaviours).
type sample struct {
	name    string
	kind    string
	payload []byte
	headers map[string]string
	opts    []asynq.Option
	state   asynq.TaskState
}

// goldenQueue is where samples go that a server runs; the others stay in queues that no server looks at.
const goldenQueue = "golden-run"

// year2100 is a due time far enough away.
var year2100 = time.Unix(4102444800, 0)

func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

var samples = []sample{
	{name: "minimal", kind: "email:send", payload: []byte("hello"), state: asynq.TaskStatePending},
	{
		name: "all_options", kind: "report:build", payload: []byte(`{"year":2026}`),
		headers: map[string]string{"trace-id": "4bf92f3577b34da6"},
		opts: []asynq.Option{
			asynq.Queue("critical"), asynq.MaxRetry(7), asynq.Timeout(90 * time.Second), asynq.Deadline(year2100),
			asynq.Unique(time.Hour), asynq.Retention(2 * time.Hour), asynq.Group("reports"), asynq.ProcessAt(year2100),
		},
		state: asynq.TaskStateScheduled,
	},
	{
		name: "unicode", kind: "größe:測試:🚀", payload: []byte("Zażółć gęślą jaźń — 日本語 🎉"),
		headers: map[string]string{"schlüssel": "wért 値"}, opts: []asynq.Option{asynq.Queue("очередь")},
		state: asynq.TaskStatePending,
	},
	{name: "empty_payload", kind: "tick", payload: []byte{}, state: asynq.TaskStatePending},
	{
		name: "empty_payload_unique", kind: "tick", payload: []byte{}, opts: []asynq.Option{asynq.Unique(time.Hour)},
		state: asynq.TaskStatePending,
	},
	{name: "nil_payload_unique", kind: "tick", opts: []asynq.Option{asynq.Unique(time.Hour)}, state: asynq.TaskStatePending},
	{name: "payload_unique", kind: "tick", payload: []byte("tock"), opts: []asynq.Option{asynq.Unique(time.Hour)}, state: asynq.TaskStatePending},
	{name: "binary_payload", kind: "blob", payload: everyByte(), state: asynq.TaskStatePending},
	{name: "headers", kind: "email:send", headers: map[string]string{"a": "1", "b": "", "": "no name", "d": "4"}, state: asynq.TaskStatePending},
	{name: "group", kind: "notify", payload: []byte("n"), opts: []asynq.Option{asynq.Group("user:42")}, state: asynq.TaskStateAggregating},
	{name: "no_retry", kind: "email:send", opts: []asynq.Option{asynq.MaxRetry(0)}, state: asynq.TaskStatePending},
	{name: "timeout_only", kind: "email:send", opts: []asynq.Option{asynq.Timeout(45 * time.Second)}, state: asynq.TaskStatePending},
	{name: "deadline_only", kind: "email:send", opts: []asynq.Option{asynq.Deadline(year2100)}, state: asynq.TaskStatePending},
	{
		name: "max_values", kind: "email:send", payload: []byte("m"),
		opts: []asynq.Option{
			asynq.MaxRetry(math.MaxInt32), asynq.Timeout(math.MaxInt64), asynq.Deadline(time.Unix(math.MaxInt64, 0)),
			asynq.Retention(math.MaxInt64),
		},
		state: asynq.TaskStatePending,
	},
	{
		name: "negative_values", kind: "email:send",
		opts:  []asynq.Option{asynq.Timeout(-time.Second), asynq.Deadline(time.Unix(-1, 0)), asynq.Retention(-time.Second)},
		state: asynq.TaskStatePending,
	},
	{
		name: "retried", kind: "fail", payload: []byte("no route to host: ⚠"), opts: []asynq.Option{asynq.Queue(goldenQueue)},
		state: asynq.TaskStateRetry,
	},
	{name: "archived", kind: "skip", payload: []byte("bad address"), opts: []asynq.Option{asynq.Queue(goldenQueue)}, state: asynq.TaskStateArchived},
	{
		name: "completed", kind: "echo", payload: []byte("done"),
		opts:  []asynq.Option{asynq.Queue(goldenQueue), asynq.Retention(24 * time.Hour)},
		state: asynq.TaskStateCompleted,
	},
}

// messages enqueues every sample, lets a server run those that must run, and reads each message in its final state.
func messages(r *recorder) ([]record, error) {
	client := asynq.NewClient(r.conn)
	defer quietly(client)
	for _, s := range samples {
		opts := append([]asynq.Option{asynq.TaskID("golden-" + s.name)}, s.opts...)
		if _, err := client.Enqueue(asynq.NewTaskWithHeaders(s.kind, s.payload, s.headers), opts...); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	server := asynq.NewServer(r.conn, asynq.Config{
		Queues:         map[string]int{goldenQueue: 1},
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
		LogLevel:       asynq.FatalLevel,
	})
	if err := server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error { return behave(ctx, t) })); err != nil {
		return nil, err
	}
	defer server.Shutdown()
	records := make([]record, 0, len(samples))
	for _, s := range samples {
		one, err := r.message(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		records = append(records, one)
	}
	return records, nil
}

// message reads one sample's message. Its fields come from asynq's inspector; the lock's key, which the inspector does
// not show, comes from the task's hash.
func (r *recorder) message(s sample) (record, error) {
	id, queue := "golden-"+s.name, "default"
	for _, o := range s.opts {
		if o.Type() == asynq.QueueOpt {
			queue = o.Value().(string)
		}
	}
	var info *asynq.TaskInfo
	err := await("state "+s.state.String(), func() (bool, error) {
		var err error
		info, err = r.inspector.GetTaskInfo(queue, id)
		return err == nil && info.State == s.state, err
	})
	if err != nil {
		return record{}, err
	}
	key := "asynq:{" + queue + "}:t:" + id
	hash, err := r.redis.HGetAll(r.ctx, key).Result()
	if err != nil {
		return record{}, err
	}
	return record{s.name, key, []byte(hash["msg"]), fields{
		"type": info.Type, "payload": present(info.Payload), "id": info.ID, "queue": info.Queue, "retry": info.MaxRetry,
		"retried": info.Retried, "error_msg": info.LastErr, "timeout": seconds(info.Timeout), "deadline": unix(info.Deadline),
		"unique_key": hash["unique_key"], "last_failed_at": unix(info.LastFailedAt), "retention": seconds(info.Retention),
		"completed_at": unix(info.CompletedAt), "group_key": info.Group, "headers": named(info.Headers),
	}}, nil
}
