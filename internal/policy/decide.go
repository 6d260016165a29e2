package policy

import "time"

const (
	// contestWindow and ContestLimit: so many corrections in so long a time mean that
	// another tool works against the spec.
	contestWindow = time.Hour
	// ContestLimit is the number of corrections in an hour after which they are
	// spaced.
	ContestLimit = 3
	// FirstSpacing is how long the correction after those waits; each further one
	// waits twice as long, up to maxSpacing.
	FirstSpacing = time.Minute
	maxSpacing   = 10 * time.Minute
	// firstWait and maxWait bound the time between observations that prove nothing
	// yet. It is as long as the doubt is old, so that the doubled time keeps a
	// resource below ten calls in 30 seconds.
	firstWait = time.Second
	maxWait   = 10 * time.Second
	// AheadOfUs is how far a recorded time may lie in the future; beyond it counts as
	// long ago.
	AheadOfUs = 30 * time.Second
)

const (
	waitingForChange  = "The change is made; waiting until ECS shows it"
	waitingForOther   = "Another SecurityGroupPolicy has changed the security group a moment ago; waiting until ECS shows it"
	waitingForRequest = "The answer to an earlier change was lost; waiting until it is certain whether it took effect"
)

// Decide compares what was observed with what is wanted.
func Decide(i Intent, r Record, observed string, now time.Time) Plan {
	// A request that is still wanted is settled by sending it again: ECS answers with
	// the effect of the first one.
	if p := r.Pending; p != nil && r.Repeatable && p.Age < Doubt && p.To == i.wants(r) {
		return Plan{Action: Repeat, Change: *p}
	}
	if r.Unsettled > 0 {
		return Plan{Action: ObserveAgain, Wait: again(Lag-r.Unsettled, Lag), Because: waitingForOther}
	}
	if l := r.Last; l != nil && l.Age < Lag && l.From != l.To && observed == l.From {
		return Plan{Action: ObserveAgain, Wait: again(l.Age, Lag), Because: waitingForChange}
	}
	fate := Open
	if p := r.Pending; p != nil {
		switch {
		case observed == p.To:
			fate = TookEffect
			r.Observed = observed
			if r.Last == nil {
				r.Original = p.From
			}
			r.Last = p
		case p.Age < Doubt:
			return Plan{Action: ObserveAgain, Wait: again(p.Age, Doubt), Because: waitingForRequest}
		default:
			fate = NoEffect
		}
	}
	plan := decideEnforce(i, r, observed, now)
	if i.Restoring {
		plan = decideRestore(i, r, observed)
	}
	plan.Fate = fate
	return plan
}

// wants is the value that a change may be sent for; empty if none may.
func (i Intent) wants(r Record) string {
	switch {
	case !i.Enforce:
		return ""
	case i.Restoring && r.Last == nil:
		return "" // nothing has taken effect, so that nothing has to be put back
	case i.Restoring:
		return r.Original
	}
	return i.Value
}

// again is when to observe next while a doubt of a certain age lasts until end.
func again(age, end time.Duration) time.Duration {
	return min(max(age, firstWait), maxWait, max(end-age, firstWait))
}

func decideEnforce(i Intent, r Record, observed string, now time.Time) Plan {
	switch {
	case observed == i.Value:
		return Plan{Action: InSync}
	case !i.Enforce:
		return Plan{Action: Report}
	}
	cause := Spec
	switch {
	case i.RollingBack:
		cause = Rollback
	case drifted(i, r):
		cause = Drift
		if wait := untilCorrection(r.Corrections, now); wait > 0 {
			return Plan{Action: Postpone, Wait: wait}
		}
	}
	return Plan{Action: Modify, Change: Change{From: observed, To: i.Value, Cause: cause}}
}

// decideRestore is the plan for a resource that is being deleted. Whoever gets here
// holds an observation that proves something, and no request is under way.
func decideRestore(i Intent, r Record, observed string) Plan {
	switch {
	case !i.Enforce:
		return Plan{Action: Leave, Because: "managementPolicy Observe does not allow a change"}
	case r.Last == nil, r.Last.Cause == Restore, observed == r.Original:
		return Plan{Action: Release}
	case observed != r.Last.To:
		return Plan{Action: Leave, Because: "somebody else has changed it since"}
	}
	return Plan{Action: Modify, Change: Change{From: observed, To: r.Original, Cause: Restore}}
}

// drifted tells whether somebody else made the difference: the group was as the spec
// wants it when it was observed last, or has been put so for this very spec.
func drifted(i Intent, r Record) bool {
	return r.Observed == i.Value || i.Recorded && r.Last != nil && r.Last.To == i.Value
}

// untilCorrection is how long a correction of drift has to wait.
func untilCorrection(corrections []time.Time, now time.Time) time.Duration {
	recent := RecentCorrections(corrections, now)
	if len(recent) < ContestLimit {
		return 0
	}
	spacing := min(FirstSpacing<<min(len(recent)-ContestLimit, 4), maxSpacing)
	return recent[len(recent)-1].Add(spacing).Sub(now)
}

// RecentCorrections are those that count.
func RecentCorrections(corrections []time.Time, now time.Time) []time.Time {
	var recent []time.Time
	for _, t := range corrections {
		if Recent(t, now, contestWindow) {
			recent = append(recent, t)
		}
	}
	return recent
}

// Recent tells whether a recorded time lies within so long ago. One more than 30
// seconds ahead of the clock counts as long ago, because nobody can tell how long.
func Recent(t, now time.Time, within time.Duration) bool {
	age := now.Sub(t)
	return age < within && age >= -AheadOfUs
}
