package main

import (
	"errors"
	"net/http"
	"time"
)

var aroundChecks = []check{
	{"the health of the service and of Redis", healthy},
	{"the service is ready", ready},
	{"the service is alive", alive},
	{"a request id comes back", requestID},
	{"a request without an id is given one", newRequestID},
}

var outageChecks = []check{
	{"without Redis the health is 503 with the same fields", unhealthy},
	{"without Redis the service is not ready, and says why", notReady},
	{"without Redis the service is alive", alive},
}

func healthy(s *service) error {
	return s.health(http.StatusOK, "healthy")
}

func unhealthy(s *service) error {
	return s.health(http.StatusServiceUnavailable, "unhealthy")
}

func (s *service) health(status int, word string) error {
	h, err := ask[healthResponse](s, http.MethodGet, "/health", nil, status)
	if err != nil {
		return err
	}
	if _, err := time.Parse(time.RFC3339, h.Timestamp); err != nil {
		return err
	}
	return errors.Join(expect("status", h.Status, word), expect("redis", h.Services["redis"], word))
}

func ready(s *service) error {
	r, err := get[readyResponse](s, "/ready")
	return errors.Join(err, expect("status", r.Status, "ready"))
}

func notReady(s *service) error {
	r, err := ask[readyResponse](s, http.MethodGet, "/ready", nil, http.StatusServiceUnavailable)
	return errors.Join(err, expect("status", r.Status, "not ready"), expect("reason", r.Reason, "redis unavailable"))
}

func alive(s *service) error {
	r, err := get[readyResponse](s, "/live")
	return errors.Join(err, expect("status", r.Status, "alive"))
}

func requestID(s *service) error {
	request, err := http.NewRequest(http.MethodGet, s.url+base+"/tasks/nobody", nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Request-ID", "my-request_1.2")
	a, err := s.send(request)
	return errors.Join(err, expect("X-Request-ID", a.header.Get("X-Request-ID"), "my-request_1.2"))
}

func newRequestID(s *service) error {
	a, err := s.call(http.MethodGet, "/live", nil)
	if err == nil && a.header.Get("X-Request-ID") == "" {
		err = errors.New("there is no X-Request-ID")
	}
	return err
}
