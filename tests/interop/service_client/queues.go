package main

import (
	"fmt"
	"time"
)

var queueChecks = []check{
	{"the state of a queue counts its tasks", statsOfOne},
	{"the state of all queues has each of them", statsOfAll},
	{"the state of all queues is given for an empty name too", statsOfNoName},
}

func statsOfOne(s *service) error {
	queue := fmt.Sprintf("stats%d", time.Now().UnixNano())
	for range 2 {
		if _, err := s.waiting(queue); err != nil {
			return err
		}
	}
	stats, err := get[[]queueStats](s, base+"/queues/stats?queue="+queue)
	if err != nil {
		return err
	}
	if len(stats) != 1 || stats[0] != (queueStats{Queue: queue, Scheduled: 2}) {
		return fmt.Errorf("%+v is not one queue with two scheduled tasks", stats)
	}
	return nil
}

func statsOfAll(s *service) error {
	return hasQueue(s, base+"/queues/stats")
}

func statsOfNoName(s *service) error {
	return hasQueue(s, base+"/queues/stats?queue=")
}

func hasQueue(s *service, path string) error {
	if _, err := s.waiting("low"); err != nil {
		return err
	}
	stats, err := get[[]queueStats](s, path)
	if err != nil {
		return err
	}
	for _, queue := range stats {
		if queue.Queue == "low" && queue.Scheduled > 0 {
			return nil
		}
	}
	return fmt.Errorf("%+v has no queue \"low\" with a scheduled task", stats)
}
