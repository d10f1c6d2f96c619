package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// record is one case of a golden file: the bytes asynq wrote to Redis, and what asynq itself says they mean.
type record struct {
	Name   string `json:"name"`
	Key    string `json:"key"`   // the Redis key that held the bytes
	Bytes  []byte `json:"bytes"` // base64
	Fields fields `json:"fields"`
}

// patience is how long one state of asynq may take to appear; its heartbeat comes every 5 seconds.
const patience = 15 * time.Second

// recorder holds what every kind of record needs. Its client reads keys; everything is written by asynq.
type recorder struct {
	conn      asynq.RedisConnOpt
	redis     redis.UniversalClient
	inspector *asynq.Inspector
	ctx       context.Context
}

// kinds are the golden files, by name, and what records them.
var kinds = []struct {
	file   string
	record func(r *recorder) ([]record, error)
}{
	{"messages.json", messages},
	{"server.json", servers},
	{"worker.json", workers},
	{"scheduler.json", schedules},
	{"event.json", events},
}

func golden(args []string) error {
	o := newOptions("golden")
	conn, err := o.parse(args, 1)
	if err != nil {
		return err
	}
	if o.NArg() != 1 {
		return fmt.Errorf("%w: golden needs the folder to write to", errUsage)
	}
	client, ok := conn.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return errors.New("no Redis client for this URL")
	}
	defer quietly(client)
	r := &recorder{conn: conn, redis: client, inspector: asynq.NewInspectorFromRedisClient(client), ctx: context.Background()}
	keys, err := client.DBSize(r.ctx).Result()
	if err != nil {
		return err
	}
	if keys != 0 {
		return fmt.Errorf("the database holds %d keys; golden files need an empty one", keys)
	}
	for _, kind := range kinds {
		records, err := kind.record(r)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.file, err)
		}
		if err := save(filepath.Join(o.Arg(0), kind.file), records); err != nil {
			return err
		}
	}
	return nil
}

func save(path string, records []record) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(records); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// await repeats ask until it says yes, fails, or patience ends.
func await(what string, ask func() (bool, error)) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if yes, err := ask(); yes || err != nil {
			return err
		}
	}
	return fmt.Errorf("%s did not happen within %s", what, patience)
}

// instant is a protobuf Timestamp, exact. Go's zero time ("never") is seconds -62135596800.
func instant(t time.Time) fields { return fields{"seconds": t.Unix(), "nanos": t.Nanosecond()} }
