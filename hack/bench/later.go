package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// latencies are those of single edits, in seconds: until the cloud has changed,
// and until the resource was Ready.
type latencies struct {
	Cloud, Ready []float64
}

func (l latencies) p50() float64 { return quantile(l.Cloud, 0.50) }
func (l latencies) p99() float64 { return quantile(l.Cloud, 0.99) }

// edits are single edits that are made one after the other, without waiting for
// their effect.
type edits struct {
	picks []int
	begun []time.Time
}

// makeEdits edits resources at the rate of the options until they are done, or
// over says that it is enough.
func (w *world) makeEdits(ctx context.Context, over func() bool) (*edits, error) {
	e := &edits{}
	most := min(w.edits, w.n/4)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	ticks := time.NewTicker(time.Duration(float64(time.Second) / w.editRate))
	defer ticks.Stop()
	for len(e.picks) < most && !over() {
		// Neighbours in the list are neighbours in nothing else.
		i := w.edited % w.n
		w.edited++
		e.picks, e.begun = append(e.picks, i), append(e.begun, time.Now())
		wait.Go(func() {
			if err := w.flip(ctx, i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
		select {
		case <-ctx.Done():
			wait.Wait()
			return e, ctx.Err()
		case <-ticks.C:
		}
	}
	wait.Wait()
	return e, errors.Join(errs...)
}

// settle waits for the edits' effects and returns how long they took.
func (w *world) settle(ctx context.Context, e *edits) (l latencies, err error) {
	if err := w.untilReady(ctx, "edits"); err != nil {
		return l, err
	}
	for k, i := range e.picks {
		at, err := w.sim.effect(ctx, i, e.begun[k])
		if err != nil {
			return l, err
		}
		l.Cloud = append(l.Cloud, at.Sub(e.begun[k]).Seconds())
		w.board.mu.Lock()
		l.Ready = append(l.Ready, w.board.readyAt[i].Sub(e.begun[k]).Seconds())
		w.board.mu.Unlock()
	}
	return l, nil
}

func never() bool { return false }

func (w *world) idleEdits(ctx context.Context, r *run) error {
	w.say("edits on an idle manager")
	e, err := w.makeEdits(ctx, never)
	if err != nil {
		return err
	}
	r.Idle, err = w.settle(ctx, e)
	w.say("edits on an idle manager: to the cloud p50 %.0f ms, p99 %.0f ms", 1000*r.Idle.p50(), 1000*r.Idle.p99())
	return err
}

func (w *world) busyEdits(ctx context.Context, r *run) error {
	w.say("edits on a manager busy with resyncs")
	e, err := w.makeEdits(ctx, never)
	if err != nil {
		return err
	}
	r.Busy, err = w.settle(ctx, e)
	w.say("edits on a busy manager: to the cloud p50 %.0f ms, p99 %.0f ms", 1000*r.Busy.p50(), 1000*r.Busy.p99())
	return err
}

// coldStart replaces the manager by one that knows nothing, and edits resources
// while it gets to know them.
func (w *world) coldStart(ctx context.Context, r *run) error {
	w.managers[0].Stop()
	w.say("cold start over %d resources", w.n)
	if _, err := w.sim.take(ctx); err != nil {
		return err
	}
	changes := w.board.changesSeen()
	before, err := w.cluster.Scrape(ctx)
	if err != nil {
		return err
	}
	m, err := w.startManager(ctx, "manager-2", w.interval(w.n))
	if err != nil {
		return err
	}
	var failed error
	e, err := w.makeEdits(ctx, func() bool {
		groups, err := w.sim.groupsRead(ctx)
		failed = err
		return err != nil || groups >= w.n
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	for groups := 0; groups < w.n; {
		if err := errors.Join(w.alive(), rig.Pause(ctx, 20*time.Millisecond)); err != nil {
			return err
		}
		if groups, err = w.sim.groupsRead(ctx); err != nil {
			return err
		}
	}
	used, err := w.count(ctx, m)
	if err != nil {
		return err
	}
	r.Cold.Used = used.used
	r.Cold.Used.APICPU -= before.Sum(rig.CPUSeconds, nil)
	calls, err := w.sim.take(ctx)
	if err != nil {
		return err
	}
	c := &r.Cold
	c.Reads, c.Modifies = count(calls, readAction), count(calls, writeAction)
	first, last := time.UnixMicro(calls[0].At), time.UnixMicro(calls[len(calls)-1].At)
	c.FirstCall, c.Took = first.Sub(m.Begun), last.Sub(m.Begun)
	c.ReadsPerSecond = perSecond(calls, readAction, first, last)
	if c.Edits, err = w.settle(ctx, e); err != nil {
		return err
	}
	if err := w.explain(ctx, c, m, e, changes); err != nil {
		return err
	}
	w.say("cold start: %d calls in %.1f s; edits meanwhile: to the cloud p50 %.0f ms, p99 %.0f ms", len(calls), c.Took.Seconds(), 1000*c.Edits.p50(), 1000*c.Edits.p99())
	return nil
}

// explain compares what a new manager has written with what edits call for. A
// resource that is edited changes once more than the manager writes to it.
func (w *world) explain(ctx context.Context, c *coldStart, m *manager, e *edits, before []int) error {
	// Events are written a moment later.
	if err := rig.Pause(ctx, time.Second); err != nil {
		return err
	}
	written, err := w.count(ctx, m)
	if err != nil {
		return err
	}
	byHand, explained := map[int]int{}, 0
	for _, i := range e.picks {
		byHand[i]++
	}
	changes := w.board.changesSeen()
	for i, edits := range byHand {
		explained += changes[i] - before[i] - edits
	}
	c.Unexplained = max(0, written.Writes-float64(explained+len(e.picks)))
	return nil
}

// steadyState watches the manager while nobody changes anything.
func (w *world) steadyState(ctx context.Context, r *run) error {
	s, m := &r.Steady, w.managers[len(w.managers)-1]
	s.Interval = w.interval(w.n)
	// The looks need two of them to reach their places after a start.
	w.say("steady state: a resync interval of %v, of which two pass before it is measured", s.Interval)
	if err := w.watchFor(ctx, "settling", 2*s.Interval); err != nil {
		return err
	}
	if _, err := w.sim.take(ctx); err != nil {
		return err
	}
	before, err := w.count(ctx, m)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := w.watchFor(ctx, "steady state", time.Duration(w.observed)*s.Interval); err != nil {
		return err
	}
	after, err := w.count(ctx, m)
	if err != nil {
		return err
	}
	after = after.minus(before)
	s.Watched, s.Used, s.API = time.Since(begun), after.used, after.writes
	calls, err := w.sim.take(ctx)
	if err != nil {
		return err
	}
	s.Reads, s.Modifies = count(calls, readAction), count(calls, writeAction)
	s.ReadsPerSecond = perSecond(calls, readAction, begun, begun.Add(s.Watched))
	s.Spread = spreadOf(s.ReadsPerSecond)
	return nil
}
