package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	simulatorclient "github.com/sgp-operator/sgp-operator/internal/ecssim/client"
)

// world is everything that a run with one number of resources consists of.
type world struct {
	options

	// name is what its lines begin with.
	name     string
	n        int
	begun    time.Time
	profiled bool
	rig      *rig.Rig
	sim      *simulator
	cluster  *rig.ControlPlane
	board    *board
	managers []*manager

	// want is the generation at which each resource is to be Ready, and policy
	// what it asks for.
	want   []int64
	policy []string
	// edited is how many resources were edited one by one so far.
	edited int
}

func (w *world) say(format string, args ...any) {
	fmt.Printf("bench: %s %6.1fs  %s\n", w.name, time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
}

// setUp starts everything but the manager.
func (w *world) setUp(ctx context.Context) (err error) {
	url, err := startSimulator(ctx, w.rig, w.latency, w.n, 0)
	if err != nil {
		return err
	}
	w.sim = &simulator{Client: simulatorclient.New(url)}
	w.say("the simulator runs, each of its calls takes %v; starting etcd and kube-apiserver", w.latency)
	if w.cluster, err = startCluster(ctx, w.rig, w.installed); err != nil {
		return err
	}
	w.want, w.policy = make([]int64, w.n), make([]string, w.n)
	w.board, err = watchAll(ctx, w.cluster.Client, w.n)
	return err
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
		if err := w.alive(); err != nil {
			return err
		}
		if err := rig.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// alive tells of a manager that has ended by itself.
func (w *world) alive() error {
	m := w.managers[len(w.managers)-1]
	if err := m.Ended(); err != nil {
		return m.Failed(err)
	}
	return nil
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
		if err := errors.Join(rig.Pause(ctx, step), w.alive()); err != nil {
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
		if rig.Pause(ctx, time.Until(due)) != nil {
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
