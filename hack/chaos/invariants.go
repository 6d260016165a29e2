package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	// moreGoroutines and moreMemory are what a manager that has been through it
	// may take more than one at its start.
	moreGoroutines = 30
	moreMemory     = 1.5
	// callsPerSecond of one group, with all that the driver may do to it in that
	// time; a loop makes hundreds.
	callsPerSecond = 30
)

// check holds everything that is left against what has to hold, and returns what
// does not.
func (w *world) check(ctx context.Context) []string {
	if err := w.settle(ctx, "after the chaos", w.plan.policies, true); err != nil {
		return append(w.checkManagers(), err.Error())
	}
	s, err := w.scene(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	var broken []string
	for _, r := range w.plan.policies {
		if why := unguarded(s.policies[r.name]); why != "" {
			broken = append(broken, r.name+": "+why+w.diagnosis(r.group, s))
		}
	}
	broken = append(broken, w.checkCalm(ctx)...)
	if s, err = w.scene(ctx); err == nil {
		err = w.history.complete(ctx, s)
	}
	if err != nil {
		return append(broken, err.Error())
	}
	for _, g := range w.plan.groups {
		if why := w.checkGroup(g, s); why != "" {
			broken = append(broken, why+w.diagnosis(g, s))
		}
	}
	stalled, putBack, kept := w.history.tallies()
	w.say("%d resources were held for the cluster's sake, %d had a change put back, %d had one confirmed", stalled, putBack, kept)
	broken = append(broken, w.checkEconomy()...)
	broken = append(broken, w.checkManagers()...)
	return append(broken, w.checkFootprint(ctx)...)
}

// unguarded tells whether a deletion would miss the finalizer that makes it put
// the original value back, or wait for one that has nothing to do. A suspended
// resource is left as it is.
func unguarded(p *v1alpha1.SecurityGroupPolicy) string {
	if p == nil || p.Spec.Suspend {
		return ""
	}
	want := (p.Spec.DeletionPolicy == v1alpha1.DeletionRestore || openRollback(p) != nil) && (p.Status.LastModification != nil || p.Status.PendingModification != nil)
	if has := slices.Contains(p.Finalizers, v1alpha1.FinalizerRestore); has != want {
		return fmt.Sprintf("finalizer: it is there: %v, and it should be: %v", has, want)
	}
	return ""
}

// checkGroup holds one group's history against its resources and the plan.
func (w *world) checkGroup(g *group, s scene) string {
	if why := misheld(g, s); why != "" {
		return why
	}
	effects, calls := w.sim.Effects(region, g.id), w.callsOf(g.id)
	tidied := w.history.withoutRollbacks(g, effects)
	for _, why := range []string{untidy(g, w.history.tenuresOf(g), tidied), w.history.cutting(g, effects, w.staysIn(g.id)), w.history.passedOn(g), w.history.unentitled(g, effects, calls)} {
		if why != "" {
			return g.id + ": " + why
		}
	}
	for _, r := range g.claimants {
		p, why := s.policies[r.name], w.history.forgotten(r, effects)
		switch {
		case why != "":
		case p == nil:
			why = w.history.unrestored(r, effects)
		case !p.DeletionTimestamp.IsZero() && heldRestore(p, w.hasNode(g.id)):
		case !asPlanned(r, p):
			why = fmt.Sprintf("as planned: the spec is not %+v", r.spec)
		case w.inconsistent(p, s.claims[g.claimName()]) != "":
			why = "consistent after the calm: it " + w.inconsistent(p, s.claims[g.claimName()])
		default:
			why = w.history.misreported(p, calls)
		}
		if why != "" {
			return r.name + ": " + why
		}
	}
	return ""
}

// untidy tells what is wrong with a group's changes: two by one request, or one that
// nobody has given cause for. Each new holder has cause to change its group once.
func untidy(g *group, holders int, effects []ecssim.Effect) string {
	tokens := map[string]bool{}
	made := 0
	for _, e := range effects {
		if !e.ByAPI {
			continue
		}
		made++
		if e.ClientToken == "" || tokens[e.ClientToken] {
			return fmt.Sprintf("one change for each client token: %q had another", e.ClientToken)
		}
		tokens[e.ClientToken] = true
	}
	reasons := 0
	for _, r := range g.claimants {
		reasons += r.reasons
	}
	if g.shared() {
		reasons += holders
	}
	if others := len(effects) - made; made > reasons+others {
		return fmt.Sprintf("no flip-flop: %d changes, but %d reasons in the plan and %d by others", made, reasons, others)
	}
	return ""
}

// checkCalm watches for a while in which nothing happens: hardly a call, no pass
// without end, no write, and not a word to ECS for who is suspended.
func (w *world) checkCalm(ctx context.Context) []string {
	before, err := w.moment(ctx)
	if err != nil {
		return []string{"calm: " + err.Error()}
	}
	if err := rig.Pause(ctx, w.tail); err != nil {
		return []string{"calm: " + err.Error()}
	}
	after, err := w.moment(ctx)
	if err != nil {
		return []string{"calm: " + err.Error()}
	}
	calls := map[string]int{}
	total := 0
	for _, c := range w.sim.Calls() {
		if c.Time.After(before.time) && !c.Time.After(after.time) {
			calls[c.GroupID]++
			total++
		}
	}
	lasted, passes := after.time.Sub(before.time), after.passes-before.passes
	w.say("calm for %v: %d calls, %.0f reconciliations for %d resources", lasted.Round(time.Millisecond), total, passes, len(after.policies))
	// One observation an interval, of three quarters of its length at the least, and
	// one more for who has a change to read back.
	observations := 2 + int(lasted/(resync*3/4))
	var broken []string
	if allowed := float64(len(after.policies)*observations + 10); before.leader != after.leader || passes > allowed {
		broken = append(broken, fmt.Sprintf("no hot loop: %.0f reconciliations in the calm, %.0f allowed; %s leads, and led", passes, allowed, after.leader))
	}
	if moved := claimsMoved(before.claims, after.claims); len(moved) > 0 {
		broken = append(broken, fmt.Sprintf("no claim written in the calm: %v", moved))
	}
	for _, g := range w.plan.groups {
		broken = append(broken, w.uncalmGroup(g, before, after, calls[g.id], observations)...)
	}
	return broken
}

// uncalmGroup tells what has happened to a group in the calm that should not.
func (w *world) uncalmGroup(g *group, before, after moment, calls, observations int) (broken []string) {
	allowed := 0
	for _, r := range g.claimants {
		was, is := before.policies[r.name], after.policies[r.name]
		if observes(was, before.claims[g.claimName()]) {
			allowed += observations
		}
		if was != nil && isDueBy(was, after.time) { // and put back in the midst of the calm
			allowed += observations
			continue
		}
		if why := uncalm(was, is); why != "" {
			broken = append(broken, r.name+": "+why+w.diagnosis(g, after.scene))
		}
	}
	if calls > allowed {
		broken = append(broken, fmt.Sprintf("%s: %d calls in the calm, %d allowed%s", g.id, calls, allowed, w.diagnosis(g, after.scene)))
	}
	return broken
}

// moment is what the calm is measured by.
type moment struct {
	scene

	time   time.Time
	leader string
	passes float64
}

func (w *world) moment(ctx context.Context) (moment, error) {
	m, err := w.leader(ctx)
	if err != nil {
		return moment{}, err
	}
	values, err := m.scrape(ctx)
	if err != nil {
		return moment{}, fmt.Errorf("%s: read metrics: %w", m.name, err)
	}
	s, err := w.scene(ctx)
	return moment{s, time.Now(), m.name, values.Sum("controller_runtime_reconcile_total", nil)}, err
}

// uncalm tells what has happened to a resource in the calm that should not.
func uncalm(was, is *v1alpha1.SecurityGroupPolicy) string {
	switch {
	case (was == nil) != (is == nil):
		return "it came or went in the calm"
	case is != nil && was.ResourceVersion != is.ResourceVersion:
		return fmt.Sprintf("it was written in the calm; its status was %+v", was.Status)
	}
	return ""
}

// checkEconomy makes sure that no call was wasted over the whole run.
func (w *world) checkEconomy() []string {
	calls := w.sim.Calls()
	failed, edits := 0, 0
	for _, c := range calls {
		if c.Fault != "" || c.Code != "" {
			failed++
		}
	}
	for _, a := range w.plan.actions {
		if a.lane == laneEdits {
			edits++
		}
	}
	held, passed := 0, 0
	for _, g := range w.plan.groups {
		edits += g.outOfBand
		n := w.history.tenuresOf(g)
		held += n
		passed += max(0, n-1)
	}
	edits += held
	w.say("%d groups were held by %d resources; %d of them took a group after another", len(w.plan.groups), held, passed)
	// A reason costs an observation, a change and an observation; so do a new holder,
	// and a call that fails, at most. Each resource is observed in each interval, by
	// each new leader, and when everything settles.
	rounds := 2 + int(time.Since(w.begun)/(resync*3/4)) + 1 + w.plan.kills + w.plan.restarts
	allowed := 3*(edits+failed) + rounds*len(w.plan.policies)
	w.say("%d calls in all, %d of them refused or broken, for %d edits; %d are allowed", len(calls), failed, edits, allowed)
	var broken []string
	if len(calls) > allowed {
		broken = append(broken, fmt.Sprintf("no call wasted: %d calls, %d allowed", len(calls), allowed))
	}
	type second struct {
		group string
		at    int64
	}
	busy := map[second]int{}
	for _, c := range calls {
		s := second{c.GroupID, c.Time.Unix()}
		if busy[s]++; busy[s] == callsPerSecond {
			broken = append(broken, fmt.Sprintf("no hot loop: %d calls for %s within a second, at %s", callsPerSecond, c.GroupID, c.Time.Format(time.TimeOnly)))
		}
	}
	return broken
}

// checkManagers makes sure that no manager has crashed, nor ended without need.
func (w *world) checkManagers() []string {
	var broken []string
	for _, m := range w.managers {
		broken = append(broken, m.crashes()...)
		m.mu.Lock()
		broken = append(broken, m.complaints...)
		m.mu.Unlock()
	}
	return broken
}

// checkFootprint waits until the leader is as small as one was at the beginning:
// idle connections and freed memory take their time to go.
func (w *world) checkFootprint(ctx context.Context) []string {
	var now footprint
	for range 30 {
		var err error
		if now, err = w.measure(ctx); err != nil {
			return []string{err.Error()}
		}
		if now.goroutines <= w.baseline.goroutines+moreGoroutines && now.megabytes <= w.baseline.megabytes*moreMemory {
			w.say("footprint: %v, from %v", now, w.baseline)
			return nil
		}
		if err := rig.Pause(ctx, time.Second); err != nil {
			return []string{err.Error()}
		}
	}
	return []string{strings.TrimSpace(fmt.Sprintf("footprint: %v, from %v: more than %d goroutines or half the memory on top", now, w.baseline, moreGoroutines))}
}
