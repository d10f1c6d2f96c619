package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// serverSample is one case of server.json: a server's settings and the state in which its heartbeat is read.
type serverSample struct {
	name   string
	config asynq.Config
	status string
	busy   int // tasks that run while the heartbeat is read
}

var serverSamples = []serverSample{
	{"plain", asynq.Config{Concurrency: 1, Queues: map[string]int{"golden-a": 1}}, "active", 0},
	{"weighted_busy", asynq.Config{Concurrency: 300, Queues: map[string]int{"golden-a": 6, "golden-b": 3, "größe": 1}}, "active", 2},
	{"strict_stopped", asynq.Config{Concurrency: 10, StrictPriority: true, Queues: map[string]int{"golden-a": 2}}, "stopped", 0},
}

// busy is a handler that lasts until its server shuts down or release is closed.
func busy(release <-chan struct{}) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
}

// running starts a server and returns what ends it and lets its tasks succeed.
func (r *recorder) running(config asynq.Config) (server *asynq.Server, end func(), err error) {
	config.LogLevel, config.TaskCheckInterval = asynq.FatalLevel, 10*time.Millisecond
	release := make(chan struct{})
	server = asynq.NewServer(r.conn, config)
	if err := server.Start(busy(release)); err != nil {
		return nil, nil, err
	}
	return server, func() {
		close(release)
		server.Shutdown()
	}, nil
}

func servers(r *recorder) ([]record, error) {
	records := make([]record, 0, len(serverSamples))
	for _, s := range serverSamples {
		one, err := r.server(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		records = append(records, one)
	}
	return records, nil
}

func (r *recorder) server(s serverSample) (record, error) {
	client := asynq.NewClient(r.conn)
	defer quietly(client)
	for n := range s.busy {
		if _, err := client.Enqueue(asynq.NewTask("hold", nil), asynq.Queue("golden-a"), asynq.TaskID(fmt.Sprint("golden-hold-", n))); err != nil {
			return record{}, err
		}
	}
	server, end, err := r.running(s.config)
	if err != nil {
		return record{}, err
	}
	defer end()
	if s.status == "stopped" {
		server.Stop()
	}
	var info *asynq.ServerInfo
	err = await("the heartbeat", func() (bool, error) {
		all, err := r.inspector.Servers()
		if err != nil || len(all) != 1 {
			return false, err
		}
		info = all[0]
		return info.Status == s.status && len(info.ActiveWorkers) == s.busy, nil
	})
	if err != nil {
		return record{}, err
	}
	key := processKey("servers", info)
	data, err := r.redis.Get(r.ctx, key).Bytes()
	return record{s.name, key, data, fields{
		"host": info.Host, "pid": info.PID, "server_id": info.ID, "concurrency": info.Concurrency, "queues": info.Queues,
		"strict_priority": info.StrictPriority, "status": info.Status, "start_time": instant(info.Started),
		"active_worker_count": len(info.ActiveWorkers),
	}}, err
}

func processKey(kind string, s *asynq.ServerInfo) string {
	return fmt.Sprintf("asynq:%s:{%s:%d:%s}", kind, s.Host, s.PID, s.ID)
}

// workerSamples are the cases of worker.json: tasks that run while the heartbeat is read.
var workerSamples = []struct {
	name    string
	kind    string
	payload []byte
	opts    []asynq.Option
}{
	{"timeout", "email:send", []byte("hello"), nil},
	{"deadline", "größe:🚀", everyByte(), []asynq.Option{asynq.Deadline(year2100)}},
	{"both", "report:build", nil, []asynq.Option{asynq.Timeout(time.Minute), asynq.Deadline(year2100)}},
}

const workerQueue = "golden-work"

func workers(r *recorder) ([]record, error) {
	client := asynq.NewClient(r.conn)
	defer quietly(client)
	for _, s := range workerSamples {
		opts := append([]asynq.Option{asynq.TaskID("golden-" + s.name), asynq.Queue(workerQueue)}, s.opts...)
		if _, err := client.Enqueue(asynq.NewTask(s.kind, s.payload), opts...); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	_, end, err := r.running(asynq.Config{Concurrency: 10, Queues: map[string]int{workerQueue: 1}})
	if err != nil {
		return nil, err
	}
	defer end()
	var server *asynq.ServerInfo
	err = await("the workers", func() (bool, error) {
		all, err := r.inspector.Servers()
		if err != nil || len(all) != 1 {
			return false, err
		}
		server = all[0]
		return len(server.ActiveWorkers) == len(workerSamples), nil
	})
	if err != nil {
		return nil, err
	}
	return r.workers(server)
}

func (r *recorder) workers(server *asynq.ServerInfo) ([]record, error) {
	key := processKey("workers", server)
	hash, err := r.redis.HGetAll(r.ctx, key).Result()
	if err != nil {
		return nil, err
	}
	records := make([]record, 0, len(server.ActiveWorkers))
	for _, w := range server.ActiveWorkers {
		records = append(records, record{strings.TrimPrefix(w.TaskID, "golden-"), key, []byte(hash[w.TaskID]), fields{
			"host": server.Host, "pid": server.PID, "server_id": server.ID, "task_id": w.TaskID, "task_type": w.TaskType,
			"task_payload": present(w.TaskPayload), "queue": w.Queue, "start_time": instant(w.Started),
			"deadline": instant(w.Deadline),
		}})
	}
	sort.Slice(records, func(a, b int) bool { return records[a].Name < records[b].Name })
	return records, nil
}
