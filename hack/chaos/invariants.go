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
	found, err := w.list(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	var broken []string
	for _, r := range w.plan.policies {
		if why := unguarded(found[r.name]); why != "" {
			broken = append(broken, r.name+": "+why+w.diagnosis(r, found[r.name]))
		}
	}
	broken = append(broken, w.checkCalm(ctx)...)
	if found, err = w.list(ctx); err != nil {
		return append(broken, err.Error())
	}
	for _, r := range w.plan.policies {
		if why := w.checkPolicy(r, found[r.name]); why != "" {
			broken = append(broken, r.name+": "+why+w.diagnosis(r, found[r.name]))
		}
	}
	broken = append(broken, w.checkEconomy()...)
	broken = append(broken, w.checkManagers()...)
	return append(broken, w.checkFootprint(ctx)...)
}

// unguarded tells whether a deletion would miss the finalizer that makes it put
// the original value back, or wait for one that has nothing to do. Suspended
// resources are not looked at.
func unguarded(p *v1alpha1.SecurityGroupPolicy) string {
	if p == nil || p.Spec.Suspend {
		return ""
	}
	want := p.Spec.DeletionPolicy == v1alpha1.DeletionRestore && (p.Status.LastModification != nil || p.Status.PendingModification != nil)
	if has := slices.Contains(p.Finalizers, v1alpha1.FinalizerRestore); has != want {
		return fmt.Sprintf("finalizer: it is there: %v, and it should be: %v", has, want)
	}
	return ""
}

// checkPolicy holds one group's history against its resource and the plan.
func (w *world) checkPolicy(r *policy, p *v1alpha1.SecurityGroupPolicy) string {
	switch {
	case p != nil && !asPlanned(r, p):
		return fmt.Sprintf("as planned: the spec is not %+v", r.spec)
	case p != nil && w.inconsistent(p) != "":
		return "consistent after the calm: it " + w.inconsistent(p)
	}
	effects := w.sim.Effects(region, r.group)
	if why := untidy(r, effects); why != "" {
		return why
	}
	if p != nil {
		return checkLastModification(p, w.callsOf(r.group))
	}
	return unrestored(r, effects)
}

// untidy tells what is wrong with a group's history: two changes by one request,
// or a change that nobody has given cause for.
func untidy(r *policy, effects []ecssim.Effect) string {
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
	if others := len(effects) - made; made > r.reasons+others {
		return fmt.Sprintf("no flip-flop: %d changes, but %d reasons in the plan and %d by others", made, r.reasons, others)
	}
	return ""
}

// checkLastModification makes sure that the status names a request that ECS has
// confirmed for this very group.
func checkLastModification(p *v1alpha1.SecurityGroupPolicy, calls []ecssim.Call) string {
	last := p.Status.LastModification
	if last == nil {
		return ""
	}
	for _, c := range calls {
		if c.Action == modify && c.Code == "" && c.RequestID == last.RequestID && c.Policy == last.To {
			return ""
		}
	}
	return "lastModification: no call that ECS has granted for this group has request id " + last.RequestID
}

// unrestored tells whether a deleted resource with Restore has left its group
// otherwise than it found it, although nobody else had changed it since. Without
// the finalizer nothing can be put back, for which there is one excuse: nobody had
// looked at the resource since its last edit.
func unrestored(r *policy, effects []ecssim.Effect) string {
	if r.spec.DeletionPolicy != v1alpha1.DeletionRestore || r.spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return ""
	}
	if p := r.atDeletion; !slices.Contains(p.Finalizers, v1alpha1.FinalizerRestore) && p.Status.ObservedGeneration != p.Generation {
		return ""
	}
	first := slices.IndexFunc(effects, func(e ecssim.Effect) bool { return e.ByAPI })
	if first < 0 || !effects[len(effects)-1].ByAPI {
		return ""
	}
	if was, is := effects[first].From, effects[len(effects)-1].To; was != is {
		return fmt.Sprintf("restored: the group was %s before the first change, and is left as %s", was, is)
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
	w.say("calm for %v: %d calls, %.0f passes for %d resources", lasted.Round(time.Millisecond), total, passes, len(after.policies))
	// One look an interval, of three quarters of its length at the least, and one
	// more for who has something to look after.
	looks := 2 + int(lasted/(resync*3/4))
	var broken []string
	if allowed := float64(len(after.policies)*looks + 10); before.leader != after.leader || passes > allowed {
		broken = append(broken, fmt.Sprintf("no hot loop: %.0f passes in the calm, %.0f allowed; %s leads, and led", passes, allowed, after.leader))
	}
	for _, r := range w.plan.policies {
		if why := uncalm(before.policies[r.name], after.policies[r.name], calls[r.group], looks); why != "" {
			broken = append(broken, r.name+": "+why+w.diagnosis(r, after.policies[r.name]))
		}
	}
	return broken
}

// moment is what the calm is measured by.
type moment struct {
	time     time.Time
	leader   string
	passes   float64
	policies map[string]*v1alpha1.SecurityGroupPolicy
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
	policies, err := w.list(ctx)
	return moment{time.Now(), m.name, values.Sum("controller_runtime_reconcile_total", nil), policies}, err
}

// uncalm tells what has happened to a resource in the calm that should not.
func uncalm(was, is *v1alpha1.SecurityGroupPolicy, calls, looks int) string {
	switch {
	case (was == nil) != (is == nil):
		return "it came or went in the calm"
	case is == nil || is.Spec.Suspend:
		looks = 0
	}
	switch {
	case calls > looks:
		return fmt.Sprintf("%d calls in the calm, %d allowed", calls, looks)
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
	for _, r := range w.plan.policies {
		edits += r.outOfBand
	}
	// A reason costs a look, a change and a look; so does a call that fails, at
	// most. Each resource is looked at in each interval, by each new leader, and
	// when everything settles.
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
