package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

var progressChecks = []check{
	{"a task without progress has none", noProgress},
	{"the newest entry of a task's progress", newestProgress},
	{"the last entry of a task's progress", lastProgress},
	{"the history of a task's progress", history},
	{"the history from an entry on", historyFrom},
	{"the history of a task that is not there is empty", noHistory},
	{"how much progress there is", infoOfSome},
	{"how much progress there is of a task that is not there", infoOfNone},
}

func progressPath(id, rest string) string {
	return base + "/tasks/" + id + "/progress" + rest
}

// progressing creates a task that has published some percentages; it returns the ids of the entries.
func (s *service) progressing(percentages ...int) (id string, entries []string, err error) {
	id, err = s.waiting("")
	for _, percentage := range percentages {
		if err != nil {
			return id, entries, err
		}
		var entry string
		entry, err = s.publish(id, percentage, "")
		entries = append(entries, entry)
	}
	return id, entries, err
}

// published fails if it is not what `publish` has published.
func (p progress) published(id string, percentage int32) error {
	when := time.UnixMilli(p.TimestampMs)
	if time.Since(when).Abs() > time.Minute {
		return fmt.Errorf("the timestamp is %s", when)
	}
	return errors.Join(
		expect("task_id", p.TaskID, id), expect("percentage", p.Percentage, percentage), expect("stage", p.Stage, "working"),
		expect("message", p.Message, "step"), expect("metadata", p.Metadata["worker"], "go"),
	)
}

func noProgress(s *service) error {
	id, err := s.waiting("")
	if err != nil {
		return err
	}
	return errors.Join(
		s.refused(http.MethodGet, progressPath(id, ""), nil, http.StatusNotFound, "PROGRESS_NOT_FOUND"),
		s.refused(http.MethodGet, progressPath("nobody", ""), nil, http.StatusNotFound, "PROGRESS_NOT_FOUND"),
	)
}

func newestProgress(s *service) error {
	id, entries, err := s.progressing(10, 50)
	if err != nil {
		return err
	}
	p, err := get[latestProgress](s, progressPath(id, ""))
	return errors.Join(
		err, p.Progress.published(id, 50), expect("is_final", p.IsFinal, false), expect("status", p.Status, ""),
		expect("stream_id", p.StreamID, entries[1]),
	)
}

func lastProgress(s *service) error {
	id, _, err := s.progressing(10)
	if err != nil {
		return err
	}
	entry, err := s.publish(id, 100, "completed")
	if err != nil {
		return err
	}
	p, err := get[latestProgress](s, progressPath(id, ""))
	return errors.Join(
		err, p.Progress.published(id, 100), expect("is_final", p.IsFinal, true), expect("status", p.Status, "completed"),
		expect("stream_id", p.StreamID, entry),
	)
}

func history(s *service) error {
	id, entries, err := s.progressing(10, 20)
	if err != nil {
		return err
	}
	last, err := s.publish(id, 100, "failed")
	if err != nil {
		return err
	}
	h, err := get[progressHistory](s, progressPath(id, "/history"))
	if err != nil {
		return err
	}
	if err := errors.Join(expect("task_id", h.TaskID, id), expect("count", h.Count, 3), expect("entries", len(h.History), 3)); err != nil {
		return err
	}
	for i, want := range []int32{10, 20, 100} {
		entry, final, status := append(entries, last)[i], i == 2, []string{"", "", "failed"}[i]
		got := h.History[i]
		if err := errors.Join(
			got.Progress.published(id, want), expect("stream_id", got.StreamID, entry), expect("is_final", got.IsFinal, final),
			expect("status", got.Status, status),
		); err != nil {
			return err
		}
	}
	return nil
}

func historyFrom(s *service) error {
	id, entries, err := s.progressing(10, 20, 30)
	if err != nil {
		return err
	}
	for start, want := range map[string]int{"-": 3, entries[1]: 2, entries[2]: 1} {
		h, err := get[progressHistory](s, progressPath(id, "/history?start_id="+start))
		if err = errors.Join(err, expect("count from "+start, h.Count, want)); err != nil {
			return err
		}
	}
	return nil
}

func noHistory(s *service) error {
	h, err := get[progressHistory](s, progressPath("nobody", "/history"))
	return errors.Join(err, expect("task_id", h.TaskID, "nobody"), expect("count", h.Count, 0))
}

func infoOfSome(s *service) error {
	id, entries, err := s.progressing(10, 20)
	if err != nil {
		return err
	}
	info, err := get[progressInfo](s, progressPath(id, "/info"))
	return errors.Join(err, expect("info", info, progressInfo{id, true, 2, entries[0], entries[1]}))
}

func infoOfNone(s *service) error {
	info, err := get[progressInfo](s, progressPath("nobody", "/info"))
	return errors.Join(err, expect("info", info, progressInfo{TaskID: "nobody"}))
}

var streamChecks = []check{
	{"progress is followed from its first entry to its end", followed("completed")},
	{"the end of a task that has failed", followed("failed")},
	{"the end of a task that was cancelled", followed("cancelled")},
	{"a stream with history begins with it", followedWithHistory},
	{"a stream from the beginning", followedFrom("0", 10, 20, 30)},
	{"a stream from the very beginning", followedFrom("0-0", 10, 20, 30)},
	{"a stream from an entry on", followedFrom("", 20, 30)},
	{"a stream of what is new", followedFrom("$", 30)},
	{"a stream that breaks tells an error", broken},
	{"several tasks are followed in one stream", severalFollowed},
	{"no task cannot be followed", wrongIDs("")},
	{"eleven tasks cannot be followed", wrongIDs("?task_ids=1,2,3,4,5,6,7,8,9,10,11")},
}

// noticed publishes an entry again and again until the viewer has seen it: before, it may not follow yet.
func (s *service) noticed(v *viewer, id string, percentage int) (event, error) {
	for range 50 {
		if _, err := s.publish(id, percentage, ""); err != nil {
			return event{}, err
		}
		select {
		case e, ok := <-v.events:
			if !ok {
				return event{}, errors.Join(errors.New("the stream has ended"), v.end)
			}
			return e, nil
		case <-time.After(200 * time.Millisecond):
		}
	}
	return event{}, errors.New("no event came")
}

// after reads progress, passing over that of an earlier percentage.
func after(v *viewer, name string, passed int32) (progress, error) {
	for {
		p, err := wants[progress](v, name)
		if err != nil || p.Percentage != passed {
			return p, err
		}
	}
}

func followed(status string) func(s *service) error {
	return func(s *service) error {
		id, err := s.waiting("")
		if err != nil {
			return err
		}
		v := s.view(progressPath(id, "/stream"))
		defer v.cancel()
		first, err := s.noticed(v, id, 1)
		if err != nil {
			return err
		}
		p, err := decode[progress](first.data)
		if err = errors.Join(err, expect("event", first.name, "progress"), p.published(id, 1)); err != nil {
			return err
		}
		if _, err := s.publish(id, 60, ""); err != nil {
			return err
		}
		if p, err = after(v, "progress", 1); err != nil {
			return err
		}
		if err := p.published(id, 60); err != nil {
			return err
		}
		return s.toTheEnd(v, id, status)
	}
}

// toTheEnd publishes the last entry, and reads what is told of it.
func (s *service) toTheEnd(v *viewer, id, status string) error {
	if _, err := s.publish(id, 100, status); err != nil {
		return err
	}
	p, err := wants[progress](v, "progress")
	if err = errors.Join(err, p.published(id, 100)); err != nil {
		return err
	}
	done, err := wants[doneEvent](v, "done")
	if err = errors.Join(err, expect("done", done, doneEvent{id, status})); err != nil {
		return err
	}
	return v.ends()
}

func followedWithHistory(s *service) error {
	id, _, err := s.progressing(10, 20)
	if err != nil {
		return err
	}
	v := s.view(progressPath(id, "/stream?history=true"))
	defer v.cancel()
	for _, want := range []int32{10, 20} {
		p, err := wants[progress](v, "history")
		if err = errors.Join(err, p.published(id, want)); err != nil {
			return err
		}
	}
	if _, err := s.noticed(v, id, 30); err != nil {
		return err
	}
	if _, err := s.publish(id, 60, ""); err != nil {
		return err
	}
	p, err := after(v, "progress", 30)
	if err = errors.Join(err, p.published(id, 60)); err != nil {
		return err
	}
	return s.toTheEnd(v, id, "completed")
}

// followedFrom is the check that a stream from an entry on, "" being the first of two, has these percentages.
func followedFrom(start string, percentages ...int32) func(s *service) error {
	return func(s *service) error {
		id, entries, err := s.progressing(10, 20)
		if err != nil {
			return err
		}
		from := start
		if from == "" {
			from = entries[0]
		}
		v := s.view(progressPath(id, "/stream?start_id="+from))
		defer v.cancel()
		for _, want := range percentages {
			var p progress
			if want == 30 {
				var e event
				if e, err = s.noticed(v, id, 30); err == nil {
					p, err = decode[progress](e.data)
				}
			} else {
				p, err = wants[progress](v, "progress")
			}
			if err = errors.Join(err, p.published(id, want)); err != nil {
				return err
			}
		}
		return nil
	}
}

func broken(s *service) error {
	id, err := s.waiting("")
	if err != nil {
		return err
	}
	v := s.view(progressPath(id, "/stream"))
	defer v.cancel()
	if _, err := s.noticed(v, id, 1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.redis.Set(ctx, "progress:"+id, "no stream", time.Minute).Err(); err != nil {
		return err
	}
	for {
		e, err := v.next()
		if err != nil {
			return err
		}
		if e.name == "progress" {
			continue
		}
		broken, err := decode[streamError](e.data)
		if err == nil && broken.Message == "" {
			err = errors.New("the error has no message")
		}
		return errors.Join(err, expect("event", e.name, "error"), v.ends())
	}
}

func severalFollowed(s *service) error {
	var ids []string
	for range 2 {
		id, err := s.waiting("")
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	v := s.view(base + "/progress/stream?task_ids=" + strings.Join(ids, ","))
	defer v.cancel()
	if _, err := s.noticed(v, ids[0], 1); err != nil {
		return err
	}
	if _, err := s.noticed(v, ids[1], 2); err != nil {
		return err
	}
	for i, status := range []string{"completed", "cancelled"} {
		if _, err := s.publish(ids[i], 100, status); err != nil {
			return err
		}
		if err := endOf(v, ids[i], status); err != nil {
			return err
		}
	}
	return tail(v)
}

// endOf reads progress up to the last entry of a task.
func endOf(v *viewer, id, status string) error {
	for {
		e, err := v.next()
		if err != nil {
			return err
		}
		if e.name != "progress" {
			continue
		}
		p, err := decode[taggedProgress](e.data)
		if err = errors.Join(err, expect("task_id", p.Progress.TaskID, p.TaskID)); err != nil {
			return err
		}
		if p.IsFinal {
			return errors.Join(p.Progress.published(id, 100), expect("task_id", p.TaskID, id), expect("status", p.Status, status))
		}
	}
}

// tail reads to the end of the stream; events whose names a client does not know do not matter to it.
func tail(v *viewer) error {
	for {
		select {
		case e, ok := <-v.events:
			if !ok {
				return v.end
			}
			if e.name == "progress" || e.name == "error" {
				return fmt.Errorf("an event %q %s came behind the end", e.name, e.data)
			}
		case <-time.After(patience):
			return errors.New("the stream does not end")
		}
	}
}

// wrongIDs is the check that some tasks cannot be followed.
func wrongIDs(query string) func(s *service) error {
	return func(s *service) error {
		type refusal struct {
			Error string `json:"error"`
		}
		_, err := ask[refusal](s, http.MethodGet, base+"/progress/stream"+query, nil, http.StatusBadRequest)
		return err
	}
}
