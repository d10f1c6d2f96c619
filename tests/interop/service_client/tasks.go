package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

var taskChecks = []check{
	{"a task with a type and a payload is created and is pending", createdPlainly},
	{"a task with all options is created, and read with them", createdWithAll},
	{"values that Go has for nothing said are as if they were not sent", createdWithZeroes},
	{"durations of zero are as if they were not sent", createdWithNoTime},
	{"a payload may be any JSON object, and numbers and texts in it stay", createdWithMetadata},
	{"a task that runs is active, and its end is seen", runs},
	{"a task that fails has its last error and its next time", fails},
	{"a task that is not there is 404", notThere},
	{"tasks are listed by queue and state, page by page", listed},
	{"a list without tasks is an empty array", listedEmpty},
	{"every state can be listed", listedByState},
	{"a list with values that Go has for nothing said has the defaults", listedWithZeroes},
	{"a state that is none is 400", listedWrongly},
	{"a task is deleted", deleted},
	{"a task that is not there cannot be deleted", notDeleted},
	{"a running task cannot be deleted", runningNotDeleted},
	{"a waiting task is cancelled", cancelledWaiting},
	{"a running task is cancelled, and stops", cancelledRunning},
	{"a task that is not there cannot be cancelled", notCancelled},
	{"a task id that cannot be one is 400", wrongID},
	{"a queue that cannot be one is 400", wrongQueue},
}

func createdPlainly(s *service) error {
	created, err := s.create(createRequest{Type: "demo", Payload: demo("plain", 0)})
	if err != nil {
		return err
	}
	if created.TaskID == "" {
		return errors.New("the task has no id")
	}
	return errors.Join(expect("queue", created.Queue, "default"), expect("status", created.Status, "pending"))
}

func createdWithAll(s *service) error {
	at := inAnHour()
	created, err := s.create(createRequest{
		Type: "demo", Payload: demo("all "+at, 2), Queue: "low", MaxRetries: 5, Timeout: "1m30s", ProcessAt: at, Unique: "2s",
		Metadata: map[string]string{"user": "7"},
	})
	if err != nil {
		return err
	}
	if err := errors.Join(expect("queue", created.Queue, "low"), expect("status", created.Status, "scheduled")); err != nil {
		return err
	}
	t, err := get[taskResponse](s, base+"/tasks/"+created.TaskID+"?queue=low")
	if err != nil {
		return err
	}
	due, err := time.Parse(time.RFC3339, t.NextProcessAt)
	if err != nil {
		return err
	}
	want, _ := time.Parse(time.RFC3339, at)
	return errors.Join(
		expect("id", t.ID, created.TaskID), expect("queue", t.Queue, "low"), expect("type", t.Type, "demo"),
		expect("state", t.State, "scheduled"), expect("max_retry", t.MaxRetry, 5), expect("retried", t.Retried, 0),
		expect("last_err", t.LastErr, ""), expect("next_process_at", due.Unix(), want.Unix()),
	)
}

func createdWithZeroes(s *service) error {
	body := `{"type": "demo", "payload": {"message": "zeroes", "count": 0}, "queue": "", "timeout": "", "process_at": "",
		"unique": "", "metadata": null}`
	created, err := ask[createResponse](s, http.MethodPost, base+"/tasks", body, http.StatusCreated)
	if err != nil {
		return err
	}
	return errors.Join(expect("queue", created.Queue, "default"), expect("status", created.Status, "pending"))
}

func createdWithNoTime(s *service) error {
	_, err := s.create(createRequest{Type: "demo", Payload: demo("no time", 0), Timeout: "0s", Unique: "0s"})
	return err
}

func createdWithMetadata(s *service) error {
	_, err := s.create(createRequest{
		Type: "demo", Payload: demo("quote \" backslash \\ snowman \u2603 newline \n", 0), Metadata: map[string]string{"": "", "ä": "ö"},
	})
	return err
}

func runs(s *service) error {
	created, err := s.create(createRequest{Type: "demo", Payload: demo("runs", 2)})
	if err != nil {
		return err
	}
	if err := s.reaches(created.TaskID, "active"); err != nil {
		return err
	}
	return waitUntil("the task ends", func() (bool, error) {
		a, err := s.call(http.MethodGet, base+"/tasks/"+created.TaskID, nil)
		if err != nil || a.status == http.StatusNotFound {
			return err == nil, err
		}
		t, err := read[taskResponse](a, http.StatusOK)
		return t.State == "completed", err
	})
}

func fails(s *service) error {
	created, err := s.create(createRequest{Type: "demo", Payload: demo("fails", 100), Timeout: "1s"})
	if err != nil {
		return err
	}
	if err := s.reaches(created.TaskID, "retry"); err != nil {
		return err
	}
	t, err := s.task(created.TaskID)
	if err != nil {
		return err
	}
	if _, err := time.Parse(time.RFC3339, t.NextProcessAt); err != nil {
		return err
	}
	if t.LastErr == "" {
		return errors.New("there is no last error")
	}
	if err := expect("retried", t.Retried, 1); err != nil {
		return err
	}
	_, err = ask[messageResponse](s, http.MethodDelete, base+"/tasks/"+created.TaskID, nil, http.StatusOK)
	return err
}

// reaches waits until a task is in a state.
func (s *service) reaches(id, state string) error {
	return waitUntil("the task is "+state, func() (bool, error) {
		t, err := s.task(id)
		return t.State == state, err
	})
}

func notThere(s *service) error {
	if _, err := s.waiting(""); err != nil { // the service in Go knows no queue before its first task
		return err
	}
	return s.refused(http.MethodGet, base+"/tasks/nobody", nil, http.StatusNotFound, "TASK_NOT_FOUND")
}

func listed(s *service) error {
	queue := fmt.Sprintf("list%d", time.Now().UnixNano())
	ids := map[string]bool{}
	for range 3 {
		id, err := s.waiting(queue)
		if err != nil {
			return err
		}
		ids[id] = true
	}
	seen := map[string]bool{}
	for page, want := range []int{2, 1, 0} {
		tasks, err := get[[]listedTask](s, fmt.Sprintf("%s/tasks?queue=%s&status=scheduled&page=%d&size=2", base, queue, page))
		if err != nil {
			return err
		}
		if len(tasks) != want {
			return fmt.Errorf("page %d has %d tasks, not %d", page, len(tasks), want)
		}
		for _, t := range tasks {
			seen[t.ID] = ids[t.ID]
			if t.Queue != queue || t.Type != "demo" || t.State != "scheduled" {
				return fmt.Errorf("%+v is not as it was created", t)
			}
		}
	}
	return expect("tasks listed", len(seen), 3)
}

func listedEmpty(s *service) error {
	id, err := s.waiting("")
	if err != nil {
		return err
	}
	tasks, err := get[[]listedTask](s, base+"/tasks?status=archived&page=50")
	if err != nil {
		return err
	}
	_, err = ask[messageResponse](s, http.MethodDelete, base+"/tasks/"+id, nil, http.StatusOK)
	return errors.Join(err, expect("tasks", len(tasks), 0))
}

func listedByState(s *service) error {
	for _, state := range []string{"pending", "active", "scheduled", "retry", "archived", "completed"} {
		if _, err := get[[]listedTask](s, base+"/tasks?queue=default&status="+state); err != nil {
			return err
		}
	}
	return nil
}

func listedWithZeroes(s *service) error {
	if _, err := s.waiting(""); err != nil { // the service in Go knows no queue before its first task
		return err
	}
	_, err := get[[]listedTask](s, base+"/tasks?queue=&status=&page=0&size=0")
	return err
}

func listedWrongly(s *service) error {
	return s.refused(http.MethodGet, base+"/tasks?status=sleeping", nil, http.StatusBadRequest, "INVALID_TASK_STATE")
}

func deleted(s *service) error {
	id, err := s.waiting("")
	if err != nil {
		return err
	}
	m, err := ask[messageResponse](s, http.MethodDelete, base+"/tasks/"+id+"?queue=default", nil, http.StatusOK)
	if err != nil {
		return err
	}
	if err := expect("message", m.Message, "task deleted"); err != nil {
		return err
	}
	return s.refused(http.MethodGet, base+"/tasks/"+id+"?queue=", nil, http.StatusNotFound, "TASK_NOT_FOUND")
}

func notDeleted(s *service) error {
	if _, err := s.waiting(""); err != nil { // the service in Go knows no queue before its first task
		return err
	}
	return s.refused(http.MethodDelete, base+"/tasks/nobody", nil, http.StatusNotFound, "TASK_NOT_FOUND")
}

// running creates a task that runs for a minute, and waits until it does; it gives the function that stops it, too.
func (s *service) running() (string, func() error, error) {
	created, err := s.create(createRequest{Type: "demo", Payload: demo("long", 120)})
	if err != nil {
		return "", nil, err
	}
	stop := func() error {
		m, err := ask[messageResponse](s, http.MethodPost, base+"/tasks/"+created.TaskID+"/cancel", nil, http.StatusOK)
		if err != nil {
			return err
		}
		return expect("message", m.Message, "task cancelled")
	}
	return created.TaskID, stop, s.reaches(created.TaskID, "active")
}

func runningNotDeleted(s *service) error {
	id, stop, err := s.running()
	if err != nil {
		return err
	}
	err = s.refused(http.MethodDelete, base+"/tasks/"+id, nil, http.StatusConflict, "TASK_ACTIVE")
	return errors.Join(err, stop())
}

func cancelledWaiting(s *service) error {
	id, err := s.waiting("")
	if err != nil {
		return err
	}
	m, err := ask[messageResponse](s, http.MethodPost, base+"/tasks/"+id+"/cancel", nil, http.StatusOK)
	return errors.Join(err, expect("message", m.Message, "task cancelled"))
}

func cancelledRunning(s *service) error {
	id, stop, err := s.running()
	if err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	return waitUntil("the task stops", func() (bool, error) {
		t, err := s.task(id)
		return t.State != "active", err
	})
}

func notCancelled(s *service) error {
	return s.refused(http.MethodPost, base+"/tasks/nobody/cancel", nil, http.StatusNotFound, "TASK_NOT_FOUND")
}

func wrongID(s *service) error {
	id := strings.Repeat("x", 300)
	return s.refused(http.MethodGet, base+"/tasks/"+id, nil, http.StatusBadRequest, "INVALID_TASK_ID")
}

func wrongQueue(s *service) error {
	return s.refused(http.MethodGet, base+"/tasks/nobody?queue=a%7Bb%7D", nil, http.StatusBadRequest, "INVALID_QUEUE")
}

var createErrorChecks = []check{
	refusedBody("a body that is no JSON", `{"type": `, "INVALID_REQUEST"),
	refusedBody("an empty body", ``, "INVALID_REQUEST"),
	refusedBody("a body that is no object", `[]`, "INVALID_REQUEST"),
	refusedBody("no type", `{"payload": {}}`, "INVALID_REQUEST"),
	refusedBody("no payload", `{"type": "demo"}`, "INVALID_REQUEST"),
	refusedBody("a type that is no text", `{"type": 1, "payload": {}}`, "INVALID_REQUEST"),
	refusedBody("a number of retries that is text", create(`"max_retries": "5"`), "INVALID_REQUEST"),
	refusedBody("a timeout that is a number", create(`"timeout": 30`), "INVALID_REQUEST"),
	refusedBody("metadata that are no texts", create(`"metadata": {"n": 1}`), "INVALID_REQUEST"),
	refusedBody("an unknown type", `{"type": "nobody:serves", "payload": {}}`, "INVALID_TASK_TYPE"),
	refusedBody("an empty type", `{"type": "", "payload": {}}`, "INVALID_REQUEST"),
	refusedBody("a timeout that is no duration", create(`"timeout": "soon"`), "INVALID_TIMEOUT"),
	refusedBody("a timeout without a unit", create(`"timeout": "30"`), "INVALID_TIMEOUT"),
	refusedBody("a time that is none", create(`"process_at": "tomorrow"`), "INVALID_PROCESS_AT"),
	refusedBody("a time without a zone", create(`"process_at": "2030-01-31T12:00:00"`), "INVALID_PROCESS_AT"),
	refusedBody("a unique time that is none", create(`"unique": "always"`), "INVALID_UNIQUE"),
	refusedBody("a payload that does not fit", `{"type": "demo", "payload": {"message": 1}}`, "INVALID_PAYLOAD"),
	refusedBody("a queue that cannot be one", create(`"queue": "a{b}"`), "INVALID_QUEUE"),
	{"the same task within its unique time is 409", duplicate},
}

// create is a body of a demo task with one more field.
func create(field string) string {
	return `{"type": "demo", "payload": {"message": "no", "count": 0}, ` + field + `}`
}

// refusedBody is the check that a task is not created.
func refusedBody(what, body, code string) check {
	return check{what + " is " + code, func(s *service) error {
		return s.refused(http.MethodPost, base+"/tasks", body, http.StatusBadRequest, code)
	}}
}

func duplicate(s *service) error {
	request := createRequest{
		Type: "demo", Payload: demo(fmt.Sprint("once ", time.Now()), 0), Unique: "1m", ProcessAt: inAnHour(),
	}
	if _, err := s.create(request); err != nil {
		return err
	}
	return s.refused(http.MethodPost, base+"/tasks", request, http.StatusConflict, "TASK_ALREADY_EXISTS")
}
