package ecssim

import (
	"bytes"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"
)

// serveFault answers a call that a fault strikes, or does not.
func (s *Server) serveFault(w http.ResponseWriter, c *call, f *Fault) {
	switch f.Kind {
	case HangBefore, HangInside, HangAfter:
		s.serveHang(w, c, f)
		return
	case ResetBefore:
		reset(w)
		return
	case ResetAfter:
		_, _ = s.perform(c)
		reset(w)
		return
	}
	var (
		answer  object
		refusal *apiError
	)
	if f.Effect {
		answer, refusal = s.perform(c)
	}
	switch f.Kind {
	case Throttle:
		s.write(w, c, nil, f.refusal(http.StatusBadRequest, "Throttling.User", "Request was denied due to user flow control."))
	case Error:
		s.write(w, c, nil, f.refusal(http.StatusInternalServerError, "InternalError", "The request processing has failed due to some unknown error."))
	default:
		s.breakAnswer(w, c, f, answer, refusal)
	}
}

func (s *Server) serveHang(w http.ResponseWriter, c *call, f *Fault) {
	if f.Kind == HangBefore && !s.hang(c, f.Delay, true) {
		return
	}
	if f.Kind == HangInside {
		c.inside = func() { s.hang(c, f.Delay, false) }
	}
	answer, refusal := s.perform(c)
	if f.Kind == HangAfter && !s.hang(c, f.Delay, true) {
		return
	}
	s.write(w, c, answer, refusal)
}

// hang waits until the time is up, Release is called or, if it may, the client
// leaves. It tells whether the client is still there.
func (s *Server) hang(c *call, limit time.Duration, untilClientLeaves bool) bool {
	s.mu.Lock()
	release := s.release
	s.mu.Unlock()
	var timeUp <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeUp = timer.C
	}
	var left <-chan struct{}
	if untilClientLeaves {
		left = c.request.Context().Done()
	}
	select {
	case <-release:
	case <-timeUp:
	case <-left:
	}
	return c.request.Context().Err() == nil
}

// refusal is the fault's own error, or else the given one.
func (f *Fault) refusal(status int, code, message string) *apiError {
	e := refuse(status, code, "%s", message)
	if f.Status != 0 {
		e.status = f.Status
	}
	if f.Code != "" {
		e.code = f.Code
	}
	if f.Message != "" {
		e.message = f.Message
	}
	e.header = f.Header
	return e
}

// reset ends the connection with a TCP reset where there is one.
func reset(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// breakAnswer sends what no client should take for an answer of ECS.
func (s *Server) breakAnswer(w http.ResponseWriter, c *call, f *Fault, answer object, refusal *apiError) {
	status, header, body := s.render(c, answer, refusal)
	status, body, announced := f.damage(status, header, body)
	s.mu.Lock()
	c.log.Status = status
	s.mu.Unlock()
	maps.Copy(header, f.Header)
	for name, value := range header {
		w.Header().Set(name, value)
	}
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(announced))
	}
	w.WriteHeader(status)
	_, err := w.Write(body)
	switch f.Kind {
	case Giant:
		filler := bytes.Repeat([]byte("x"), 64<<10)
		for sent := len(body); sent < announced && err == nil; sent += len(filler) {
			_, err = w.Write(filler[:min(len(filler), announced-sent)])
		}
	case Truncated:
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// damage turns an answer into a broken one; announced is the length that its
// header tells.
func (f *Fault) damage(status int, header map[string]string, body []byte) (_ int, _ []byte, announced int) {
	announced = -1
	switch f.Kind {
	case HTML:
		status, header["Content-Type"] = http.StatusBadGateway, "text/html"
		body = []byte("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n")
	case Truncated:
		announced = len(body)
		body = body[:len(body)/2]
	case BrokenJSON:
		body = body[:len(body)/2]
	case Giant:
		if announced = f.Size; announced <= 0 {
			announced = defaultGiant
		}
		start := `{"RequestId":"`
		body = []byte(start[:min(len(start), announced)])
	case Empty:
		body = nil
	case NoContent:
		status, body = http.StatusNoContent, nil
	case WrongJSON:
		header["Content-Type"], body = "application/json;charset=utf-8", []byte("{}")
	}
	if f.Status != 0 {
		status = f.Status
	}
	if announced < 0 {
		announced = len(body)
	}
	return status, body, announced
}
