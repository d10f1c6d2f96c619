package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// entrySample is one case of scheduler.json: an entry of a scheduler.
type entrySample struct {
	name    string
	spec    string
	kind    string
	payload []byte
	opts    []asynq.Option
}

// entrySamples has one entry that runs each second; it also gives the events of event.json.
var entrySamples = []entrySample{
	{"running", "@every 1s", "tick", nil, []asynq.Option{asynq.Queue("golden-tick")}},
	{"never_run", "0 0 29 2 *", "größe:🚀", everyByte(), nil},
	{"options", "CRON_TZ=Europe/Warsaw 30 9 * * 1-5", "report:build", []byte(`{"year":2026}`), []asynq.Option{
		asynq.Queue("critical"), asynq.MaxRetry(3), asynq.Timeout(30 * time.Minute), asynq.Deadline(year2100.UTC()),
		asynq.Unique(90 * time.Second), asynq.ProcessIn(250 * time.Millisecond), asynq.ProcessAt(year2100.UTC()),
		asynq.Retention(time.Hour), asynq.TaskID("nightly"), asynq.Group(`say "hi"`),
	}},
}

// plan is a running scheduler with the entry samples; ids are its entries' ids, in the samples' order.
type plan struct {
	scheduler *asynq.Scheduler
	ids       []string
}

func (r *recorder) plan() (*plan, error) {
	p := &plan{scheduler: asynq.NewScheduler(r.conn, &asynq.SchedulerOpts{HeartbeatInterval: time.Second, LogLevel: asynq.FatalLevel})}
	for _, s := range entrySamples {
		id, err := p.scheduler.Register(s.spec, asynq.NewTask(s.kind, s.payload), s.opts...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		p.ids = append(p.ids, id)
	}
	return p, p.scheduler.Start()
}

func schedules(r *recorder) ([]record, error) {
	p, err := r.plan()
	if err != nil {
		return nil, err
	}
	defer p.scheduler.Shutdown()
	var records []record
	err = await("the scheduler's heartbeat", func() (bool, error) {
		records, err = r.entries(p.ids)
		return records != nil, err
	})
	return records, err
}

// entries reads the scheduler's list, or nothing while the first entry has not run. The list is replaced each second:
// it counts only if it is the same before and after asynq's inspector was asked.
func (r *recorder) entries(ids []string) ([]record, error) {
	keys, err := r.redis.ZRange(r.ctx, "asynq:schedulers", 0, -1).Result()
	if err != nil || len(keys) != 1 {
		return nil, err
	}
	before, err := r.redis.LRange(r.ctx, keys[0], 0, -1).Result()
	if err != nil {
		return nil, err
	}
	entries, err := r.inspector.SchedulerEntries()
	if err != nil {
		return nil, err
	}
	after, err := r.redis.LRange(r.ctx, keys[0], 0, -1).Result()
	if err != nil || !slices.Equal(before, after) || len(before) != len(ids) || len(entries) != len(ids) {
		return nil, err
	}
	records := make([]record, len(ids))
	for n, e := range entries {
		place := slices.Index(ids, e.ID)
		if place == 0 && e.Prev.IsZero() {
			return nil, nil
		}
		s := entrySamples[place]
		records[place] = record{s.name, keys[0], []byte(before[n]), fields{
			"id": e.ID, "spec": e.Spec, "task_type": e.Task.Type(), "task_payload": present(e.Task.Payload()),
			"enqueue_options":   texts(s.opts),
			"next_enqueue_time": instant(e.Next), "prev_enqueue_time": instant(e.Prev),
		}}
	}
	return records, nil
}

// wantedEvents is how many cases event.json has.
const wantedEvents = 2

func events(r *recorder) ([]record, error) {
	p, err := r.plan()
	if err != nil {
		return nil, err
	}
	defer p.scheduler.Shutdown()
	var list []*asynq.SchedulerEnqueueEvent
	err = await("the scheduler's events", func() (bool, error) {
		list, err = r.inspector.ListSchedulerEnqueueEvents(p.ids[0])
		return len(list) >= wantedEvents, err
	})
	if err != nil {
		return nil, err
	}
	key := "asynq:scheduler_history:" + p.ids[0]
	members, err := r.redis.ZRange(r.ctx, key, 0, -1).Result()
	if err != nil {
		return nil, err
	}
	slices.Reverse(list) // the inspector shows the newest first
	records := make([]record, 0, wantedEvents)
	for n, e := range list[:wantedEvents] {
		if !strings.Contains(members[n], e.TaskID) {
			return nil, fmt.Errorf("event %d is not about task %s", n+1, e.TaskID)
		}
		records = append(records, record{fmt.Sprintf("event_%d", n+1), key, []byte(members[n]), fields{
			"task_id": e.TaskID, "enqueue_time": instant(e.EnqueuedAt),
		}})
	}
	return records, nil
}
