package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// What the service takes and gives. A field with "omitempty" may be missing from an answer, each other one must be there.

type createRequest struct {
	Type       string            `json:"type"`
	Payload    any               `json:"payload"`
	Queue      string            `json:"queue,omitempty"`
	MaxRetries int               `json:"max_retries,omitempty"`
	Timeout    string            `json:"timeout,omitempty"`
	ProcessAt  string            `json:"process_at,omitempty"`
	Unique     string            `json:"unique,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

type createResponse struct {
	TaskID string `json:"task_id"`
	Queue  string `json:"queue"`
	Status string `json:"status"`
}

type taskResponse struct {
	ID            string `json:"id"`
	Queue         string `json:"queue"`
	Type          string `json:"type"`
	State         string `json:"state"`
	MaxRetry      int    `json:"max_retry"`
	Retried       int    `json:"retried"`
	LastErr       string `json:"last_err,omitempty"`
	NextProcessAt string `json:"next_process_at,omitempty"`
}

type listedTask struct {
	ID    string `json:"id"`
	Queue string `json:"queue"`
	Type  string `json:"type"`
	State string `json:"state"`
}

type queueStats struct {
	Queue     string `json:"queue"`
	Pending   int    `json:"pending"`
	Active    int    `json:"active"`
	Scheduled int    `json:"scheduled"`
	Retry     int    `json:"retry"`
	Archived  int    `json:"archived"`
	Completed int    `json:"completed"`
}

type messageResponse struct {
	Message string `json:"message"`
}

type errorResponse struct {
	Error   string `json:"error"`
	Code    string `json:"code"`
	Details any    `json:"details,omitempty"`
}

type progress struct {
	TaskID      string            `json:"task_id"`
	Percentage  int32             `json:"percentage"`
	Stage       string            `json:"stage"`
	Message     string            `json:"message"`
	TimestampMs int64             `json:"timestamp_ms"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

type latestProgress struct {
	Progress progress `json:"progress"`
	IsFinal  bool     `json:"is_final"`
	Status   string   `json:"status"`
	StreamID string   `json:"stream_id"`
}

type historyItem struct {
	StreamID string   `json:"stream_id"`
	Progress progress `json:"progress"`
	IsFinal  bool     `json:"is_final"`
	Status   string   `json:"status,omitempty"`
}

type progressHistory struct {
	TaskID  string        `json:"task_id"`
	Count   int           `json:"count"`
	History []historyItem `json:"history"`
}

type progressInfo struct {
	TaskID      string `json:"task_id"`
	HasProgress bool   `json:"has_progress"`
	Length      int64  `json:"length"`
	FirstEntry  string `json:"first_entry"`
	LastEntry   string `json:"last_entry"`
}

type doneEvent struct {
	TaskID string `json:"task_id"`
	Status string `json:"status"`
}

type streamError struct {
	Message string `json:"message"`
}

type taggedProgress struct {
	TaskID   string   `json:"task_id"`
	Progress progress `json:"progress"`
	IsFinal  bool     `json:"is_final,omitempty"`
	Status   string   `json:"status,omitempty"`
}

type healthResponse struct {
	Status    string            `json:"status"`
	Timestamp string            `json:"timestamp"`
	Services  map[string]string `json:"services"`
}

type readyResponse struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// decode reads JSON into a value of the given type; it fails if a field is missing, null, or of another type.
func decode[T any](data []byte) (T, error) {
	var value T
	if err := whole(reflect.TypeFor[T](), data, "$"); err != nil {
		return value, fmt.Errorf("%w in %.300s", err, data)
	}
	if err := json.Unmarshal(data, &value); err != nil {
		return value, fmt.Errorf("%w in %.300s", err, data)
	}
	return value, nil
}

// whole tells what is missing or null.
func whole(t reflect.Type, data []byte, path string) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) && t.Kind() != reflect.Interface {
		return fmt.Errorf("%s is null, not %s", path, t)
	}
	switch t.Kind() {
	case reflect.Slice:
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for i, item := range items {
			if err := whole(t.Elem(), item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		var items map[string]json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for key, item := range items {
			if err := whole(t.Elem(), item, path+"."+key); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return wholeStruct(t, data, path)
	}
	return nil
}

func wholeStruct(t reflect.Type, data []byte, path string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		found, ok := fields[name]
		if !ok {
			if options != "omitempty" {
				return fmt.Errorf("%s has no field %q", path, name)
			}
			continue
		}
		if err := whole(t.Field(i).Type, found, path+"."+name); err != nil {
			return err
		}
	}
	return nil
}
