package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
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
func (w *world) check() []string {
	if err := w.settle("after the chaos", w.plan.policies, true); err != nil {
		return append(w.checkManagers(), err.Error())
	}
	var broken []string
	broken = append(broken, w.checkCalm()...)
	found, err := w.cluster.list(w.ctx)
	if err != nil {
		return append(broken, err.Error())
	}
	for _, r := range w.plan.policies {
		if why := w.checkPolicy(r, found[r.name]); why != "" {
			broken = append(broken, r.name+": "+why+w.diagnosis(r, found[r.name]))
		}
	}
	broken = append(broken, w.checkEconomy()...)
	broken = append(broken, w.checkManagers()...)
	return append(broken, w.checkFootprint()...)
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
	tokens := map[string]bool{}
	made, others := 0, 0
	for _, e := range effects {
		if !e.ByAPI {
			others++
			continue
		}
		made++
		if e.ClientToken == "" || tokens[e.ClientToken] {
			return "one effect for each client token: " + e.ClientToken + " had another"
		}
		tokens[e.ClientToken] = true
	}
	if made > r.reasons+others {
		return fmt.Sprintf("no flip-flop: %d changes, but %d reasons in the plan and %d by others", made, r.reasons, others)
	}
	if p != nil {
		return w.checkLastModification(r, p)
	}
	return w.checkRestored(r, effects)
}

// checkLastModification makes sure that the status names a request that ECS has
// confirmed for this very group.
func (w *world) checkLastModification(r *policy, p *v1alpha1.SecurityGroupPolicy) string {
	last := p.Status.LastModification
	if last == nil {
		return ""
	}
	for _, c := range w.callsOf(r.group) {
		if c.Action == modify && c.Code == "" && c.RequestID == last.RequestID && c.Policy == last.To {
			return ""
		}
	}
	return "lastModification: no call that ECS has granted for this group has request id " + last.RequestID
}

// checkRestored makes sure that a deleted resource with Restore has left its
// group as it found it, unless somebody else had changed it since.
func (w *world) checkRestored(r *policy, effects []ecssim.Effect) string {
	if r.spec.DeletionPolicy != v1alpha1.DeletionRestore || r.spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return ""
	}
	original := ""
	for _, e := range effects {
		if e.ByAPI && original == "" {
			original = e.From
		}
	}
	if original == "" || !effects[len(effects)-1].ByAPI {
		return ""
	}
	if g, _ := w.sim.Group(region, r.group); g.Policy != original {
		return fmt.Sprintf("restored: the group was %s before the first change, and is left as %s", original, g.Policy)
	}
	return ""
}

// checkCalm watches for a while in which nothing happens: hardly a call, no pass
// without end, no write, and not a word to ECS for who is suspended.
func (w *world) checkCalm() []string {
	before, err := w.cluster.list(w.ctx)
	if err != nil {
		return []string{err.Error()}
	}
	m, err := w.leader(w.ctx)
	if err != nil {
		return []string{err.Error()}
	}
	first, err := m.scrape(w.ctx)
	if err != nil {
		return []string{err.Error()}
	}
	begun := time.Now()
	if err := pause(w.ctx, w.tail); err != nil {
		return []string{err.Error()}
	}
	last, err := m.scrape(w.ctx)
	if err != nil {
		return []string{m.name + " was there no more in the calm: " + err.Error()}
	}
	after, err := w.cluster.list(w.ctx)
	if err != nil {
		return []string{err.Error()}
	}

	// One look an interval, of three quarters of its length at the least, and one
	// more for who has something to look after.
	looks := 2 + int(time.Since(begun)/(resync*3/4))
	calls := map[string]int{}
	total := 0
	for _, c := range w.sim.Calls() {
		if c.Time.After(begun) {
			calls[c.GroupID]++
			total++
		}
	}
	passes := last["controller_runtime_reconcile_total"] - first["controller_runtime_reconcile_total"]
	w.say("calm for %v: %d calls, %.0f passes for %d resources", time.Since(begun).Round(time.Millisecond), total, passes, len(after))
	var broken []string
	if allowed := float64(len(after)*looks + 10); passes > allowed {
		broken = append(broken, fmt.Sprintf("no hot loop: %.0f passes in the calm, %.0f allowed", passes, allowed))
	}
	for _, r := range w.plan.policies {
		was, is := before[r.name], after[r.name]
		allowed := looks
		switch {
		case r.deleted:
			allowed = 0
		case was == nil || is == nil:
			broken = append(broken, r.name+" came or went in the calm")
			continue
		case is.Spec.Suspend:
			allowed = 0
			fallthrough
		default:
			if was.ResourceVersion != is.ResourceVersion {
				broken = append(broken, r.name+": no write in the calm: the resource was written"+w.diagnosis(r, is)+fmt.Sprintf("  before: %+v\n", was.Status))
			}
		}
		if calls[r.group] > allowed {
			broken = append(broken, fmt.Sprintf("%s: calls in the calm: %d, %d allowed%s", r.name, calls[r.group], allowed, w.diagnosis(r, is)))
		}
	}
	return broken
}

// checkEconomy makes sure that no call was wasted over the whole run.
func (w *world) checkEconomy() []string {
	calls := w.sim.Calls()
	starts := 0
	for _, m := range w.managers {
		m.mu.Lock()
		starts += m.starts
		m.mu.Unlock()
	}
	faults := 0
	for _, c := range calls {
		if c.Fault != "" || c.Code != "" {
			faults++
		}
	}
	// Each reason costs four calls at most (a look, a change, a look, and one more
	// for a read that lags), and so does each failure, each start of a manager and
	// each interval.
	cycles := int(time.Since(w.begun)/(resync*3/4)) + starts + 3
	allowed := 4*(len(w.plan.actions)+faults) + 2*cycles*len(w.plan.policies)
	w.say("%d calls in all, %d of them refused or broken; %d starts of a manager; %d would be allowed", len(calls), faults, starts, allowed)
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
func (w *world) checkFootprint() []string {
	var now footprint
	for range 30 {
		var err error
		if now, err = w.measure(); err != nil {
			return []string{err.Error()}
		}
		if now.goroutines <= w.baseline.goroutines+moreGoroutines && now.megabytes <= w.baseline.megabytes*moreMemory {
			w.say("footprint: %v, from %v", now, w.baseline)
			return nil
		}
		if err := pause(w.ctx, time.Second); err != nil {
			return []string{err.Error()}
		}
	}
	return []string{strings.TrimSpace(fmt.Sprintf("footprint: %v, from %v: more than %d goroutines or half the memory on top", now, w.baseline, moreGoroutines))}
}
