package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// run is what was measured with one number of resources.
type run struct {
	N int
	// Kubernetes is the API server's version.
	Kubernetes string
	// Empty is the manager before there is any resource, and Full when it has
	// converged all of them. IdleCPU is its share of a core while it has none.
	Empty, Full rig.Footprint
	IdleCPU     float64
	// PeakRSS is the most that either manager ever had resident.
	PeakRSS      float64
	Create, Edit phase
	Cold         coldStart
	Steady       steady
	// Idle and Busy are edits on a manager with nothing else to do, and on one
	// with as many resyncs as the rate limit allows.
	Idle, Busy latencies
	// CPUProfile and Allocs are the heads of the profiles while resources converge.
	CPUProfile string `json:"-"`
	Allocs     string `json:"-"`
	Took       time.Duration
}

// phase is the time from a cause until every resource is Ready.
type phase struct {
	Resources, Changed int
	// Asked is how long the bench's own requests took, and Took the time until
	// all were Ready, from the first of them.
	Asked, Took            time.Duration
	Reads, Modifies, Fails int
	API                    writes
	Used                   used
	PeakRSS                float64
	// Span is the time from the first call to the last.
	Span           time.Duration
	ReadsPerSecond []int
	ChangesPerSec  []int
}

// coldStart is a manager's start over resources that are all as they should be.
type coldStart struct {
	Took, FirstCall time.Duration
	Reads, Modifies int
	// OtherWrites are the status writes to resources that nobody edited.
	OtherWrites int
	// Unexplained are the manager's writes of any kind, less those to resources that
	// were edited, and an event for each.
	Unexplained    float64
	Used           used
	ReadsPerSecond []int
	Edits          latencies
}

// steady is a time in which nobody changes anything.
type steady struct {
	Interval, Watched time.Duration
	Reads, Modifies   int
	API               writes
	Used              used
	ReadsPerSecond    []int
	Spread            spread
}

// measure takes a number of resources through their life.
func (w *world) measure(ctx context.Context) (*run, error) {
	return w.take(ctx, w.converge, w.massEdit, w.idleEdits, w.coldStart, w.steadyState, w.busyEdits)
}

// take takes the steps one after the other, in a new cluster.
func (w *world) take(ctx context.Context, steps ...func(context.Context, *run) error) (r *run, err error) {
	if w.rig, err = rig.New(ctx, "sgp-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.rig.Close()) }()
	if err := w.setUp(ctx); err != nil {
		return nil, err
	}
	r = &run{N: w.n}
	if r.Kubernetes, err = w.cluster.Version(); err != nil {
		return nil, err
	}
	for _, step := range steps {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
	}
	for _, m := range w.managers {
		m.Stop()
		r.PeakRSS = max(r.PeakRSS, m.PeakRSS())
	}
	r.Took = time.Since(w.begun)
	w.say("done")
	return r, nil
}

// converge creates the resources under the eyes of a manager. Half of the groups
// are as they should be.
func (w *world) converge(ctx context.Context, r *run) error {
	m, err := w.startManager(ctx, "manager-1", 10*time.Minute)
	if err != nil {
		return err
	}
	if r.Empty, err = m.Footprint(ctx); err != nil {
		return err
	}
	before, err := w.count(ctx, m)
	if err != nil {
		return err
	}
	const idle = 5 * time.Second
	if err := w.watchFor(ctx, "a manager without resources", idle); err != nil {
		return err
	}
	after, err := w.count(ctx, m)
	if err != nil {
		return err
	}
	r.IdleCPU = after.minus(before).CPU / idle.Seconds()

	for i := range w.policy {
		w.policy[i] = []string{ecssim.Accept, ecssim.Drop}[i%2]
		w.want[i] = 1
	}
	profiled := make(chan error, 1)
	go func() { profiled <- w.takeProfile(ctx, m, r) }()
	r.Create, err = w.phase(ctx, m, "create", upTo(w.n, 1), w.n/2, func(ctx context.Context, i int) error {
		return w.cluster.Client.Create(ctx, resource(i, w.policy[i]))
	})
	if err != nil {
		return err
	}
	if err := <-profiled; err != nil {
		return err
	}
	if w.profiled {
		if r.Allocs, err = m.profile(ctx, "allocs", "-sample_index=alloc_space"); err != nil {
			return err
		}
	}
	r.Full, err = m.Footprint(ctx)
	return err
}

func (w *world) takeProfile(ctx context.Context, m *manager, r *run) (err error) {
	if !w.profiled {
		return nil
	}
	for { // until there is something to see
		calls, err := w.sim.count(ctx)
		if err != nil {
			return err
		}
		if calls > 100 {
			break
		}
		if err := rig.Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	// As long as a run with so many resources is sure to last.
	length := min(30, max(2, float64(w.n)/w.bound()/2))
	r.CPUProfile, err = m.profile(ctx, fmt.Sprintf("profile?seconds=%.0f", length))
	return err
}

// massEdit turns every other resource round, as fast as the bench's pace allows.
func (w *world) massEdit(ctx context.Context, r *run) (err error) {
	r.Edit, err = w.phase(ctx, w.managers[0], "mass edit", upTo(w.n, 2), (w.n+1)/2, w.flip)
	return err
}

// flip has a resource ask for the other policy.
func (w *world) flip(ctx context.Context, i int) (err error) {
	if w.policy[i] == ecssim.Accept {
		w.policy[i] = ecssim.Drop
	} else {
		w.policy[i] = ecssim.Accept
	}
	w.want[i], err = w.edit(ctx, i, w.policy[i])
	return err
}

// phase does something to resources, and waits until all are Ready.
func (w *world) phase(ctx context.Context, m *manager, what string, picks []int, changed int, do func(context.Context, int) error) (p phase, err error) {
	p = phase{Resources: len(picks), Changed: changed}
	if _, err := w.sim.take(ctx); err != nil {
		return p, err
	}
	before, err := w.count(ctx, m)
	if err != nil {
		return p, err
	}
	begun := time.Now()
	w.say("%s: %d resources", what, len(picks))
	if err := parallel(ctx, picks, w.pace(), do); err != nil {
		return p, err
	}
	p.Asked = time.Since(begun)
	w.say("%s: all requests are made", what)
	if err := w.untilReady(ctx, what); err != nil {
		return p, err
	}
	p.Took = w.board.lastReady().Sub(begun)
	w.say("%s: all Ready after %.1f s", what, p.Took.Seconds())
	// Events are written a moment later.
	if err := rig.Pause(ctx, time.Second); err != nil {
		return p, err
	}
	after, err := w.count(ctx, m)
	if err != nil {
		return p, err
	}
	after = after.minus(before)
	p.Used, p.API, p.PeakRSS = after.used, after.writes, m.peak(begun)
	w.say("%s: manager CPU %.2f ms for each resource, %s of the API server's", what, 1000*p.Used.CPU/float64(p.Resources), share(p.Used.toAPI()))
	calls, err := w.sim.take(ctx)
	if err != nil || len(calls) == 0 {
		return p, errors.Join(err, w.alive())
	}
	p.Reads, p.Modifies, p.Fails = count(calls, readAction), count(calls, writeAction), refused(calls)
	first, last := time.UnixMicro(calls[0].At), time.UnixMicro(calls[len(calls)-1].At)
	p.Span = last.Sub(first)
	p.ReadsPerSecond, p.ChangesPerSec = perSecond(calls, readAction, first, last), perSecond(calls, writeAction, first, last)
	return p, nil
}

// lastReady is when the last resource became Ready.
func (b *board) lastReady() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.MaxFunc(b.readyAt, time.Time.Compare)
}

// changesSeen is how often each resource has changed so far.
func (b *board) changesSeen() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.changes)
}

func upTo(n, step int) (picks []int) {
	for i := 0; i < n; i += step {
		picks = append(picks, i)
	}
	return picks
}
