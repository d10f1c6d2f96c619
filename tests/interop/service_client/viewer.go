package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// event is a server-sent event.
type event struct {
	name string
	data []byte
}

// viewer reads a stream of events. The service may send its headers only with the first event, so opening does not wait.
type viewer struct {
	events chan event
	end    error
	cancel context.CancelFunc
}

func (s *service) view(path string) *viewer {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	v := &viewer{events: make(chan event, 1000), cancel: cancel}
	go func() {
		defer close(v.events)
		v.end = v.follow(ctx, s.url+path)
	}()
	return v
}

func (v *viewer) follow(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s answered %d %s: %s", url, response.StatusCode, kind, body)
	}
	var e event
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "":
			if e.name != "" {
				v.events <- e
			}
			e = event{}
		case strings.HasPrefix(line, "event: "):
			e.name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			e.data = []byte(strings.TrimPrefix(line, "data: "))
		}
	}
	return lines.Err()
}

// next waits for an event.
func (v *viewer) next() (event, error) {
	select {
	case e, ok := <-v.events:
		if !ok {
			return event{}, errors.Join(errors.New("the stream has ended"), v.end)
		}
		return e, nil
	case <-time.After(patience):
		return event{}, errors.New("no event came")
	}
}

// ends waits for the end of the stream.
func (v *viewer) ends() error {
	select {
	case e, ok := <-v.events:
		if ok {
			return fmt.Errorf("an event %q %s came behind the end", e.name, e.data)
		}
		return v.end
	case <-time.After(patience):
		return errors.New("the stream does not end")
	}
}

// wants reads an event, which must have the name.
func wants[T any](v *viewer, name string) (T, error) {
	var none T
	e, err := v.next()
	if err != nil {
		return none, err
	}
	if e.name != name {
		return none, fmt.Errorf("an event %q %s came, not %q", e.name, e.data, name)
	}
	return decode[T](e.data)
}
