package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// world is everything that a run with one number of resources consists of.
type world struct {
	options

	n        int
	begun    time.Time
	profiled bool
	dir      string
	sim      *simulator
	cluster  *cluster
	board    *board
	managers []*manager

	// want is the generation at which each resource is to be Ready, and policy
	// what it asks for.
	want   []int64
	policy []string
	// edited is how many resources were edited one by one so far.
	edited int
}

// simulator is the process that stands for ECS.
type simulator struct {
	*child
	url string
	// taken is how many of its calls were fetched.
	taken int
}

func (w *world) say(format string, args ...any) {
	fmt.Printf("bench: N=%-6d %6.1fs  %s\n", w.n, time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
}

// setUp starts everything but the manager. What has been started is to be torn
// down in any case.
func (w *world) setUp(ctx context.Context) (tearDown func() error, err error) {
	var undo []func() error
	tearDown = func() error {
		var errs []error
		for i := len(undo) - 1; i >= 0; i-- {
			errs = append(errs, undo[i]())
		}
		return errors.Join(errs...)
	}
	w.dir = filepath.Join(w.options.dir, fmt.Sprint(w.n))
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return tearDown, err
	}
	self, err := os.Executable()
	if err != nil {
		return tearDown, err
	}
	process, err := startChild(ctx, w.dir, simulatorCommand, self, nil,
		simulatorCommand, "--latency", w.latency.String(), "--groups", fmt.Sprint(w.n))
	if err != nil {
		return tearDown, err
	}
	undo = append(undo, func() error { process.stop(); return nil })
	w.sim = &simulator{child: process}
	if err := process.until(ctx, func() error {
		text, err := os.ReadFile(process.log)
		if err == nil && !strings.HasSuffix(string(text), "\n") {
			err = errors.New("no address yet")
		}
		w.sim.url = strings.TrimSpace(string(text))
		return err
	}); err != nil {
		return tearDown, err
	}
	w.say("the simulator runs, each of its calls takes %v; starting etcd and kube-apiserver", w.latency)
	if w.cluster, err = startCluster(ctx, w.dir, w.root); err != nil {
		return tearDown, err
	}
	undo = append(undo, w.cluster.stop)
	w.want, w.policy = make([]int64, w.n), make([]string, w.n)
	w.board, err = w.cluster.watch(ctx, w.n)
	undo = append(undo, func() error {
		for _, m := range w.managers {
			m.stop()
		}
		return nil
	})
	return tearDown, err
}

// count is the number of calls that were made since the last take.
func (s *simulator) count(ctx context.Context) (int, error) {
	var answer struct{ Count int }
	_, err := get(ctx, s.url+"/_bench/calls", &answer)
	return answer.Count - s.taken, err
}

// groupsRead is the number of groups that were read since the last take.
func (s *simulator) groupsRead(ctx context.Context) (int, error) {
	var answer struct{ Groups int }
	_, err := get(ctx, s.url+"/_bench/calls", &answer)
	return answer.Groups, err
}

// take fetches the calls that were made since it was called last.
func (s *simulator) take(ctx context.Context) ([]call, error) {
	var answer struct{ Calls []call }
	_, err := get(ctx, fmt.Sprintf("%s/_bench/calls?from=%d", s.url, s.taken), &answer)
	s.taken += len(answer.Calls)
	return answer.Calls, err
}

// effect is when the manager last changed a group after a moment.
func (s *simulator) effect(ctx context.Context, i int, after time.Time) (time.Time, error) {
	var effects []ecssim.Effect
	if _, err := get(ctx, s.url+"/_sim/effects/"+region+"/"+groupName(i), &effects); err != nil {
		return time.Time{}, err
	}
	for _, e := range effects {
		if e.ByAPI && e.Time.After(after) {
			return e.Time, nil
		}
	}
	return time.Time{}, fmt.Errorf("the edit of %s never reached the cloud", groupName(i))
}

// untilReady waits until every resource is Ready at the generation that is wanted.
func (w *world) untilReady(ctx context.Context, what string) error {
	told := time.Now()
	last, err := w.sim.count(ctx)
	if err != nil {
		return err
	}
	for {
		behind, err := w.board.behind(w.want)
		if behind == 0 || err != nil {
			return err
		}
		if since := time.Since(told); since > 5*time.Second {
			calls, err := w.sim.count(ctx)
			if err != nil {
				return err
			}
			w.say("%s: %d of %d Ready, %.0f calls/s", what, w.n-behind, w.n, float64(calls-last)/since.Seconds())
			told, last = time.Now(), calls
		}
		if err := w.alive(ctx); err != nil {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// alive tells of a manager that has ended by itself.
func (w *world) alive(context.Context) error {
	m := w.managers[len(w.managers)-1]
	select {
	case <-m.done:
		return m.failed(fmt.Errorf("ended by itself: %v", m.cmd.ProcessState))
	default:
		return nil
	}
}

// watchFor lets time pass, and says now and then how many calls are made.
func (w *world) watchFor(ctx context.Context, what string, d time.Duration) error {
	end := time.Now().Add(d)
	for left := d; left > 0; left = time.Until(end) {
		before, err := w.sim.count(ctx)
		if err != nil {
			return err
		}
		step := min(left, 20*time.Second)
		if err := errors.Join(pause(ctx, step), w.alive(ctx)); err != nil {
			return err
		}
		after, err := w.sim.count(ctx)
		if err != nil {
			return err
		}
		w.say("%s: %.0f calls/s, %v left", what, float64(after-before)/step.Seconds(), time.Until(end).Round(time.Second))
	}
	return nil
}

// parallel does something to many resources, a few at a time, and no more of them per
// second than pace: requests at full speed would take the processors from the API
// server that the manager needs.
func parallel(ctx context.Context, picks []int, pace float64, do func(context.Context, int) error) error {
	const hands = 16
	begun := time.Now()
	work, done := make(chan int), make(chan struct{}, hands)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for range hands {
		go func() {
			var err error
			for i := range work {
				if err == nil {
					if err = do(ctx, i); err != nil {
						cancel(err)
					}
				}
			}
			done <- struct{}{}
		}()
	}
	for n, i := range picks {
		due := begun.Add(time.Duration(float64(n) / pace * float64(time.Second)))
		if pause(ctx, time.Until(due)) != nil {
			break
		}
		select {
		case work <- i:
		case <-ctx.Done():
		}
	}
	close(work)
	for range hands {
		<-done
	}
	return context.Cause(ctx)
}

func init() {
	// Many small requests to few servers.
	if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		transport.Proxy = nil
		transport.MaxIdleConnsPerHost = 32
	}
}
