package controllers

import (
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// step is what to do about a group as it was observed.
type step int

const (
	// stepNone: the group is as it should be.
	stepNone step = iota
	// stepReport: it differs, and managementPolicy forbids to change it.
	stepReport
	// stepLookAgain: the observation may be older than the last change.
	stepLookAgain
	// stepHold: it differs again and again; the correction has to wait.
	stepHold
	// stepChange: it has to be changed.
	stepChange
	// stepRelease: deletion; the group is as it was before the first change, or
	// there is nothing that this resource would have to put back.
	stepRelease
	// stepSkip: deletion; the group is to be left as it is, for the reason given.
	stepSkip
)

// decision is what decide answers.
type decision struct {
	step step
	// change to make, for stepChange. Without a ClientToken it is a new one; else
	// it is the pending one, to be repeated.
	change v1alpha1.PendingModification
	// wait until the next look, for stepLookAgain and stepHold, and for stepNone
	// if it should be soon.
	wait time.Duration
	// because says why, for stepSkip.
	because string
}

const (
	// settling is how long a read may lag a change: within it a read-back that
	// still shows the old value is looked at again rather than acted upon.
	settling = 30 * time.Second

	// contestWindow and contestLimit: so many corrections in so long a time mean
	// that another tool works against the spec.
	contestWindow = time.Hour
	contestLimit  = 3
	// firstSpacing is how long the correction after those waits; each further one
	// waits twice as long, up to maxSpacing.
	firstSpacing = time.Minute
	maxSpacing   = 10 * time.Minute
)

// decide compares what was observed with what is wanted. It is pure: the same
// resource, observation and times give the same answer. Since is when this process
// looked first at the group of a resource that is being deleted.
func decide(p *v1alpha1.SecurityGroupPolicy, observed string, since, now time.Time) decision {
	if !p.DeletionTimestamp.IsZero() {
		return decideRestore(p, observed, since, now)
	}
	desired := ecs.CanonicalPolicy(p.Spec.InnerAccessPolicy)
	mayWrite := p.Spec.ManagementPolicy != v1alpha1.ManagementObserve
	if mayWrite {
		if d, done := decidePending(p, observed, desired); done {
			return d
		}
	}
	switch {
	case unsettled(p, observed) && now.Before(p.Status.LastModification.Time.Add(settling)):
		return decision{step: stepLookAgain, wait: lookAgainIn(p, now)}
	case observed == desired:
		return decision{step: stepNone}
	case !mayWrite:
		return decision{step: stepReport}
	}
	cause := v1alpha1.CauseSpec
	if drifted(p, desired) {
		cause = v1alpha1.CauseDrift
		if wait := nextCorrection(p, now).Sub(now); wait > 0 {
			return decision{step: stepHold, wait: wait}
		}
	}
	return decision{step: stepChange, change: v1alpha1.PendingModification{From: observed, To: desired, Cause: cause}}
}

// decidePending answers for a change whose outcome is not known, if it has an
// answer. Repeating it is right where its value is wanted, and harmless where the
// group has that value already: then it only brings back the lost request id.
func decidePending(p *v1alpha1.SecurityGroupPolicy, observed, desired string) (decision, bool) {
	pending := p.Status.PendingModification
	switch {
	case pending == nil:
		return decision{}, false
	case pending.To == desired || pending.To == observed:
		return decision{step: stepChange, change: *pending}, true
	case observed == desired:
		// The request has not taken effect, and nobody wants it any more. It might
		// still be under way, so look once more before long.
		return decision{step: stepNone, wait: settling}, true
	}
	return decision{}, false
}

// decideRestore is decide for a resource that is being deleted. To let it go is
// final, so one look that shows the original value is not enough where a change may
// have been made that no look has shown: the value has to stay for as long as reads
// may lag, however long ago the change was.
func decideRestore(p *v1alpha1.SecurityGroupPolicy, observed string, since, now time.Time) decision {
	original, last := p.Status.OriginalInnerAccessPolicy, p.Status.LastModification
	if p.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return decision{step: stepSkip, because: "managementPolicy Observe forbids to change it"}
	}
	if d, done := decidePending(p, observed, original); done && d.step == stepChange {
		if d.change.Cause == v1alpha1.CauseRestore || d.change.To == observed {
			return d
		}
	}
	settled := !now.Before(since.Add(settling))
	switch {
	case p.Status.PendingModification != nil && !settled:
		// A request whose outcome is not known may still take effect.
		return decision{step: stepLookAgain, wait: settling / 3}
	case last == nil, last.Cause == v1alpha1.CauseRestore, original == "":
		return decision{step: stepRelease}
	case unsettled(p, observed) && !settled:
		return decision{step: stepLookAgain, wait: lookAgainIn(p, now)}
	case observed == original:
		return decision{step: stepRelease}
	case observed != last.To:
		return decision{step: stepSkip, because: "it was changed by somebody else since"}
	}
	return decision{step: stepChange, change: v1alpha1.PendingModification{From: observed, To: original, Cause: v1alpha1.CauseRestore}}
}

// unsettled tells whether an observation may be older than the last change: it
// shows the value from before, and no read has shown the new one yet.
func unsettled(p *v1alpha1.SecurityGroupPolicy, observed string) bool {
	last := p.Status.LastModification
	return last != nil && last.From != last.To && observed == last.From && p.Status.InnerAccessPolicy != last.To
}

// lookAgainIn grows with the age of the change: one second at first.
func lookAgainIn(p *v1alpha1.SecurityGroupPolicy, now time.Time) time.Duration {
	return min(max(now.Sub(p.Status.LastModification.Time.Time)/2, time.Second), 5*time.Second)
}

// drifted tells whether somebody else made the difference: the group was as the
// spec wants it when it was last looked at, or has been put so for this spec.
func drifted(p *v1alpha1.SecurityGroupPolicy, desired string) bool {
	if p.Status.InnerAccessPolicy == desired {
		return true
	}
	last := p.Status.LastModification
	return p.Status.ObservedGeneration == p.Generation && last != nil && last.To == desired
}

// nextCorrection is when a drift may be corrected: at once, or later if it was
// corrected too often of late.
func nextCorrection(p *v1alpha1.SecurityGroupPolicy, now time.Time) time.Time {
	recent := recentCorrections(p, now)
	if len(recent) < contestLimit {
		return time.Time{}
	}
	spacing := min(firstSpacing<<(len(recent)-contestLimit), maxSpacing)
	return recent[len(recent)-1].Add(spacing)
}

func recentCorrections(p *v1alpha1.SecurityGroupPolicy, now time.Time) []time.Time {
	var recent []time.Time
	for _, t := range p.Status.DriftCorrections {
		if now.Sub(t.Time) < contestWindow {
			recent = append(recent, t.Time)
		}
	}
	return recent
}
