package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
)

const base = "/api/v1"

// service is the service that is called, and the Redis in which its workers publish progress.
type service struct {
	url   string
	redis *redis.Client
}

// answer is what came back.
type answer struct {
	what   string
	status int
	header http.Header
	body   []byte
}

// call sends a request; what is not text already is sent as JSON.
func (s *service) call(method, path string, body any) (answer, error) {
	var data []byte
	switch b := body.(type) {
	case nil:
	case string:
		data = []byte(b)
	default:
		var err error
		if data, err = json.Marshal(b); err != nil {
			return answer{}, err
		}
	}
	request, err := http.NewRequest(method, s.url+path, bytes.NewReader(data))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	return s.send(request)
}

func (s *service) send(request *http.Request) (answer, error) {
	response, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	what := request.Method + " " + request.URL.RequestURI()
	return answer{what, response.StatusCode, response.Header, body}, err
}

// get asks for something and reads it.
func get[T any](s *service, path string) (T, error) {
	return ask[T](s, http.MethodGet, path, nil, http.StatusOK)
}

// ask sends a request, and reads the answer, which must have the status.
func ask[T any](s *service, method, path string, body any, status int) (T, error) {
	var none T
	a, err := s.call(method, path, body)
	if err != nil {
		return none, err
	}
	return read[T](a, status)
}

// read reads an answer, which must have the status.
func read[T any](a answer, status int) (T, error) {
	var none T
	if a.status != status {
		return none, fmt.Errorf("%s answered %d, not %d: %.300s", a.what, a.status, status, a.body)
	}
	value, err := decode[T](a.body)
	if err != nil {
		return none, fmt.Errorf("%s: %w", a.what, err)
	}
	return value, nil
}

// refused sends a request that must be answered with an error.
func (s *service) refused(method, path string, body any, status int, code string) error {
	e, err := ask[errorResponse](s, method, path, body, status)
	if err != nil {
		return err
	}
	if e.Code != code || e.Error == "" {
		return fmt.Errorf("%s %s: the error is %+v, not %s", method, path, e, code)
	}
	return nil
}

// create creates a task.
func (s *service) create(request createRequest) (createResponse, error) {
	return ask[createResponse](s, http.MethodPost, base+"/tasks", request, http.StatusCreated)
}

// waiting creates a task that waits for an hour.
func (s *service) waiting(queue string) (string, error) {
	created, err := s.create(createRequest{Type: "demo", Payload: demo("wait", 1), Queue: queue, ProcessAt: inAnHour()})
	return created.TaskID, err
}

// task reads a task of the default queue.
func (s *service) task(id string) (taskResponse, error) {
	return get[taskResponse](s, base+"/tasks/"+id)
}

// publish adds an entry to a task's progress, as a worker of the service does; with a status it is the last one.
func (s *service) publish(id string, percentage int, status string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	values := []any{
		"task_id", id, "percentage", percentage, "stage", "working", "message", "step",
		"timestamp_ms", time.Now().UnixMilli(), "metadata", `{"worker":"go"}`,
	}
	if status != "" {
		values = append(values, "is_final", "true", "status", status)
	}
	key := "progress:" + id
	entry, err := s.redis.XAdd(ctx, &redis.XAddArgs{Stream: key, MaxLen: 1000, Approx: true, Values: values}).Result()
	if err != nil {
		return "", err
	}
	return entry, s.redis.Expire(ctx, key, time.Hour).Err()
}

// demo is a payload of the type "demo": it takes count steps of half a second each.
func demo(message string, count int) map[string]any {
	return map[string]any{"message": message, "count": count}
}

func inAnHour() string {
	return time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
}

// expect fails if two values differ.
func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s is %v, not %v", what, got, want)
	}
	return nil
}
