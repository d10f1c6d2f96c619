package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// lines writes JSON values to stdout, one a line, from any goroutine. Nothing is held back: a reader on the other end
// of the pipe sees each line at once.
type lines struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func newLines(w io.Writer) *lines {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return &lines{encoder: encoder}
}

func (l *lines) write(value any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.encoder.Encode(value)
}

// answer calls reply for each line of stdin that is not blank and writes what it returns as one line. A line has no
// length limit. It ends at EOF.
func answer(reply func(line []byte) any) error {
	in, out := bufio.NewReaderSize(os.Stdin, 1<<16), newLines(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if err := out.write(reply(line)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// decode reads one JSON object; an unknown name is an error, so that a misspelt option never passes as a default.
func decode(line []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// span is a duration written the Go way: "30s", "1h0m0s", "250ms".
type span time.Duration

// UnmarshalJSON reads the quoted form.
func (s *span) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("a duration must be text such as \"30s\": %w", err)
	}
	d, err := time.ParseDuration(text)
	*s = span(d)
	return err
}

// unix returns a time in Unix seconds, and 0 for the zero time ("never").
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// present returns bytes that encode as base64 text: "" and never null, since the wire does not tell nil from empty.
func present(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// named returns headers that encode as an object, {} when there are none.
func named(headers map[string]string) map[string]string {
	if headers == nil {
		return map[string]string{}
	}
	return headers
}
