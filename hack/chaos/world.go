package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// options say how much chaos there is.
type options struct {
	seed      uint64
	resources int
	duration  time.Duration
	// race builds the managers with the race detector.
	race bool
	// hurried withdraws a dead leader's lease rather than wait for its end.
	hurried bool
	// tail is how long the calm is watched after everything has settled.
	tail time.Duration
	// actions prints each one as it is carried out.
	actions bool
	out     io.Writer
}

// replay is the command that repeats a run.
func (o options) replay() string {
	text := fmt.Sprintf("make chaos SEED=%d CHAOS_ARGS='--resources %d --duration %v", o.seed, o.resources, o.duration)
	if o.hurried {
		text += " --hurried"
	}
	return text + "'"
}

// world is everything that a run consists of.
type world struct {
	options

	ctx      context.Context
	rig      *rig.Rig
	root     string
	plan     *plan
	sim      *ecssim.Server
	endpoint string
	cluster  *rig.ControlPlane
	binary   string
	managers []*manager
	history  *history

	begun time.Time
	// chaosBegun is the time that the plan's times count from.
	chaosBegun time.Time
	baseline   footprint
	sayMu      sync.Mutex
	nodesMu    sync.Mutex
	stays      map[string][]stay // by group
}

func (w *world) say(format string, args ...any) {
	w.sayMu.Lock()
	defer w.sayMu.Unlock()
	fmt.Fprintf(w.out, "chaos: %6.1fs %s\n", time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
}

// run lets chaos loose and returns what it has broken.
func run(ctx context.Context, o options) (broken []string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &world{options: o, ctx: ctx, begun: time.Now(), stays: map[string][]stay{}}
	w.say("seed %d; to replay: %s", o.seed, o.replay())
	w.plan = newPlan(o.seed, o.resources, o.duration)
	if w.rig, err = rig.New(ctx, "sgp-chaos-"); err != nil {
		return nil, err
	}
	defer func() {
		cancel(errors.New("the run is over"))
		err = errors.Join(err, w.rig.Close())
	}()
	if err := w.setUp(); err != nil {
		return nil, err
	}
	if err := w.settle(ctx, "before the chaos", w.plan.early(), false); err != nil {
		return []string{err.Error()}, nil
	}
	if w.baseline, err = w.measure(ctx); err != nil {
		return nil, err
	}
	w.say("baseline: %v; %d actions follow in %v", w.baseline, len(w.plan.actions), o.duration)
	if err := w.carryOut(); err != nil {
		return nil, err
	}
	w.calm()
	w.say("calm")
	return w.check(ctx), nil
}

// setUp starts everything.
func (w *world) setUp() (err error) {
	if w.root, err = rig.Root(w.ctx); err != nil {
		return err
	}
	if err := w.build(); err != nil {
		return err
	}
	w.sim = ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: chaosKey, Secret: chaosSecret}}})
	for _, g := range w.plan.groups {
		w.sim.PutGroup(ecssim.Group{Region: region, ID: g.id, Policy: g.initial, VpcID: g.vpc})
	}
	var stop func()
	if w.endpoint, stop, err = w.sim.Start(); err != nil {
		return err
	}
	w.rig.OnClose(func() error { stop(); return nil })
	if w.cluster, err = w.rig.StartControlPlane(w.ctx, rig.ControlPlaneOptions{
		Root: w.root, StopTimeout: time.Second, Timeout: 5 * time.Second}); err != nil {
		return err
	}
	w.history = newHistory()
	go w.history.follow(w.ctx, w.cluster.EtcdURL())
	for _, name := range namespaces {
		if err := w.cluster.CreateNamespace(w.ctx, name); err != nil {
			return err
		}
	}
	for _, g := range w.plan.groups {
		if n := g.node; n != nil && g.startsWithNode {
			if err := w.join(n); err != nil {
				return err
			}
		}
	}
	for _, r := range w.plan.early() {
		if err := w.create(r); err != nil {
			return err
		}
	}
	w.rig.OnClose(func() error {
		for _, m := range w.managers {
			<-m.done
		}
		return nil
	})
	return w.startManagers(2)
}

func (w *world) build() error {
	var flags []string
	if w.race {
		flags = []string{"-race"}
	}
	w.binary = filepath.Join(w.rig.Dir, "manager")
	if err := rig.Build(w.ctx, w.root, w.binary, nil, flags...); err != nil {
		return err
	}
	w.say("the manager is built")
	return nil
}

// carryOut carries out the plan, each lane by itself.
func (w *world) carryOut() error {
	w.chaosBegun = time.Now()
	errs := make(chan error, lanes)
	for l := range lanes {
		go func() { errs <- w.follow(l, w.chaosBegun) }()
	}
	var all []error
	for range lanes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (w *world) follow(l lane, begun time.Time) error {
	for _, a := range w.plan.actions {
		if a.lane != l {
			continue
		}
		if err := rig.Pause(w.ctx, a.at-time.Since(begun)); err != nil {
			return err
		}
		if w.actions || l == laneMachines {
			w.say("[plan %.1fs] %s", a.at.Seconds(), a.what)
		}
		if err := a.do(w); err != nil {
			return fmt.Errorf("%s: %w", a.what, err)
		}
	}
	return nil
}
