package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// rollbackAfter is the shortest time that the schema allows.
const rollbackAfter = time.Minute

// openRollback is the change of a resource that is put back unless it is confirmed.
func openRollback(p *v1alpha1.SecurityGroupPolicy) *v1alpha1.Rollback {
	if b := p.Status.Rollback; b.IsOpen() {
		return b
	}
	return nil
}

// isRolledBack tells whether a resource leaves its group alone until its next edit.
func isRolledBack(p *v1alpha1.SecurityGroupPolicy) bool {
	b := p.Status.Rollback
	return b != nil && b.RolledBack && b.Generation == p.Generation && p.DeletionTimestamp.IsZero()
}

// awaitsConfirmation is until when a resource has a change that may yet be put back.
func awaitsConfirmation(p *v1alpha1.SecurityGroupPolicy) (until time.Time, awaits bool) {
	b := openRollback(p)
	if b == nil || !wants(p) || p.Spec.Suspend || !p.DeletionTimestamp.IsZero() || b.To == p.Spec.InnerAccessPolicy {
		return time.Time{}, false
	}
	return b.Deadline.Time, true
}

// isDueBy tells whether a change is put back by a time.
func isDueBy(p *v1alpha1.SecurityGroupPolicy, by time.Time) bool {
	until, awaits := awaitsConfirmation(p)
	return awaits && until.Before(by.Add(late))
}

// late is how long after its deadline a change may be put back where nothing disturbs.
const late = 5 * time.Second

// overdue tells which change should have been put back. One to Drop may be held.
func overdue(p *v1alpha1.SecurityGroupPolicy, inCloud string, hasNode bool) string {
	until, awaits := awaitsConfirmation(p)
	if !awaits || time.Since(until) <= late || inCloud == p.Status.Rollback.To || mayHold(p, p.Status.Rollback.To, hasNode) {
		return ""
	}
	return "was to be put back at " + until.Format(clockFormat)
}

// unwantedRollback tells why a request that puts a change back is not to be made.
func unwantedRollback(v version) string {
	p, b := v.policy, openRollback(v.policy)
	switch {
	case b == nil:
		return fmt.Sprintf("has no change to put back: %+v", p.Status.Rollback)
	case p.Status.PendingModification.To != b.To:
		return "would put " + b.To + " back"
	case v.at.Before(b.Deadline.Add(-blur)):
		return "would put its change back only at " + b.Deadline.Format(clockFormat)
	case names(p, v1alpha1.AnnotationConfirm, b.Generation, p.Generation):
		return "has its change confirmed"
	}
	return ""
}

// unsecured tells what a change that is about to be sent lacks to be put back later.
func unsecured(v version) string {
	p, b := v.policy, v.policy.Status.Rollback
	m := p.Status.PendingModification
	if p.Spec.RollbackAfter == nil || m.Cause != v1alpha1.CauseSpec || !p.DeletionTimestamp.IsZero() {
		return ""
	}
	switch {
	case b == nil || b.RolledBack:
		return fmt.Sprintf("does not say what to put back: %+v", b)
	case b.Confirmed && b.Generation != p.Generation:
		return "has another generation's change confirmed alone"
	case b.Confirmed:
	case b.To != m.From && b.To != m.To:
		return "would put " + b.To + " back"
	case b.Deadline.After(v.at.Add(rollbackAfter + blur)):
		return "would wait until " + b.Deadline.Format(clockFormat)
	}
	return ""
}

// forgotten tells which change was to be put back, and was let be although nobody had
// confirmed it.
func (h *history) forgotten(r *resource, effects []ecssim.Effect) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, l := h.of(r)
	if l == nil {
		return ""
	}
	for i := range l.versions[1:] {
		was, is := l.versions[i], l.versions[i+1]
		b, now := openRollback(was.policy), is.policy.Status.Rollback
		if b == nil || now != nil && *now == *b {
			continue
		}
		if why := letBe(l.versions[:i+2], b, now, effects); why != "" {
			return fmt.Sprintf("no change is kept that nobody confirmed: at %s revision %d, with %+v before and %+v after: %s", is.at.Format(clockFormat), is.revision, b, now, why)
		}
	}
	return ""
}

// letBe tells why the last of some versions must not be without the open rollback that
// the one before has.
func letBe(versions []version, b, now *v1alpha1.Rollback, effects []ecssim.Effect) string {
	was, is := versions[len(versions)-2].policy, versions[len(versions)-1]
	confirmed := func(v version) bool {
		return names(v.policy, v1alpha1.AnnotationConfirm, b.Generation, v.policy.Generation)
	}
	switch {
	case calledOff(versions, b), hadNoEffect(was.Status.PendingModification, b, effects):
		return ""
	case now != nil && now.Confirmed && !slices.ContainsFunc(versions, confirmed):
		return "nobody confirmed it"
	case now != nil && now.RolledBack && is.at.Before(b.Deadline.Add(-blur)):
		return "it was not due"
	case now != nil && (now.Confirmed || now.RolledBack):
		return ""
	case now != nil && now.To == b.To && !now.Deadline.After(is.at.Add(rollbackAfter+blur)):
		return "" // the same anew, for a correction of drift
	}
	return "it had its effect"
}

// calledOff tells whether an edit has put an end to a rollback. A status may be written
// onto a spec that is newer than what it speaks of.
func calledOff(versions []version, b *v1alpha1.Rollback) bool {
	since := len(versions) - 1
	for since > 0 && versions[since-1].policy.Status.Rollback != nil && *versions[since-1].policy.Status.Rollback == *b {
		since--
	}
	return slices.ContainsFunc(versions[since:], func(v version) bool {
		return v.policy.Spec.RollbackAfter == nil || !wants(v.policy) || v.policy.Spec.InnerAccessPolicy == b.To
	})
}

// hadNoEffect tells whether a request was one that needs no way back.
func hadNoEffect(request *v1alpha1.PendingModification, b *v1alpha1.Rollback, effects []ecssim.Effect) bool {
	return request != nil && request.To != b.To && !slices.ContainsFunc(effects, func(e ecssim.Effect) bool { return e.ClientToken == request.ClientToken })
}

// withoutRollbacks leaves out what was put back by the operator, for which its own change
// gave the cause.
func (h *history) withoutRollbacks(g *group, effects []ecssim.Effect) []ecssim.Effect {
	h.mu.Lock()
	defer h.mu.Unlock()
	requests, _ := h.requestsOf(g.id)
	return slices.DeleteFunc(slices.Clone(effects), func(e ecssim.Effect) bool {
		s := requests[e.ClientToken]
		return e.ByAPI && s != nil && s.first.policy.Status.PendingModification.Cause == v1alpha1.CauseRollback
	})
}
