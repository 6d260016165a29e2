package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// patience is how long a step may take before a line says that it goes on.
const patience = 3 * time.Second

// screen writes lines with the time since the start, one at a time.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
	last  time.Time
}

func newScreen(w io.Writer) *screen { return &screen{w: w, start: time.Now()} }

// plain writes a line without the time.
func (s *screen) plain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	// Nobody can be told that the terminal is gone.
	_, _ = fmt.Fprintf(s.w, format+"\n", args...)
}

// line writes a line that starts with the time.
func (s *screen) line(format string, args ...any) {
	s.plain("%6.1fs  %s", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// heading starts a part of the tour.
func (s *screen) heading(format string, args ...any) {
	s.plain("\n%s", fmt.Sprintf(format, args...))
}

// during says what begins, and that it goes on whenever nothing else was said
// for a while.
func (s *screen) during(what string, do func() error) error {
	s.line("%s", what)
	return s.patiently(what, do)
}

// patiently is during without the line at the beginning.
func (s *screen) patiently(what string, do func() error) error {
	done := make(chan struct{})
	var beat sync.WaitGroup
	began := time.Now()
	beat.Go(func() {
		tick := time.NewTicker(patience / 6)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if s.quietFor(patience) {
					s.line("  … %s (%.0f s)", what, time.Since(began).Seconds())
				}
			}
		}
	})
	err := do()
	close(done)
	beat.Wait()
	return err
}

func (s *screen) quietFor(d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.last) >= d
}
