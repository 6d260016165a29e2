// Package policy decides what to do about a security group: from what is wanted,
// what is recorded, what was observed and the time, to one action. It is pure. It
// knows no API object, no clock and no wire, so that whoever plans a change gets the
// same answer as the operator that makes it.
//
// Two facts about ECS shape it. A read may show a group as it was up to Lag ago, also
// after a read that was newer. And a request whose answer was lost may take effect up
// to Lag after it was sent. So an observation that shows the value from before a
// change proves nothing for as long as Lag after the change, and a lost request
// counts as under way for Doubt, twice as long.
//
// How long ago something was is how long the asking process has known of it, never
// what a recorded time says: the clock of the process that recorded it may be wrong,
// in either direction. A process that has just started waits a little longer, no
// more.
package policy

import "time"

const (
	// resolution is that of the times in a status.
	resolution = time.Second
	// Lag is how much older than the present an observation may be, and how late a
	// request whose answer was lost may take effect.
	Lag = 30*time.Second + resolution
	// Doubt is how long a request whose answer was lost counts as under way: until
	// it can take no effect any more, and then until every read would show it.
	Doubt = 2 * Lag
)

// Cause says why a group is changed.
type Cause string

const (
	// Spec is a change that the spec asks for.
	Spec Cause = "Spec"
	// Drift puts right what somebody else has changed.
	Drift Cause = "Drift"
	// Restore puts back the original value when the resource is deleted.
	Restore Cause = "Restore"
	// Rollback puts back what stood before a change that nobody confirmed.
	Rollback Cause = "Rollback"
)

// Intent is what is wanted of a group.
type Intent struct {
	// Value is the inner access policy that the spec declares.
	Value string
	// Enforce allows changes. Without it a difference is reported.
	Enforce bool
	// Restoring says that the resource is being deleted and that the original value
	// is to be put back first.
	Restoring bool
	// RollingBack says that Value is what stood before a change that nobody confirmed.
	RollingBack bool
	// Recorded says that the last change was made for this very spec, not for an earlier one.
	Recorded bool
}

// Change is one change of a group.
type Change struct {
	From, To string
	Cause    Cause
	// Age is for how long the asking process has known of it.
	Age time.Duration
}

// Record is what is known from before.
type Record struct {
	// Observed is the value that was observed last; empty if none was.
	Observed string
	// Original is the value from before the first change that took effect.
	Original string
	// Last is the last change that took effect.
	Last *Change
	// Pending is the change that was sent, or was about to be, and whose outcome is
	// not known.
	Pending *Change
	// Repeatable says that the pending change can be sent once more as the very same
	// request.
	Repeatable bool
	// Unsettled is for how long an observation may still be older than what another
	// holder of the group has done.
	Unsettled time.Duration
	// Corrections are the times at which drift was corrected, oldest first.
	Corrections []time.Time
}

// Action is what to do.
type Action int

const (
	// Undecided is no answer. It is the zero value, so that a forgotten case is an
	// error and not a resource in sync.
	Undecided Action = iota
	// InSync says that the group is as declared.
	InSync
	// Report says that it differs and that changes are not allowed.
	Report
	// ObserveAgain says that the observation proves nothing yet.
	ObserveAgain
	// Postpone says that the group was corrected too often of late, so that the next
	// correction has to wait.
	Postpone
	// Modify says that the group has to be changed.
	Modify
	// Repeat says that the pending change has to be sent once more.
	Repeat
	// Release says that nothing is left to put back: the resource may go.
	Release
	// Leave says that the resource may go and that the group has to be left as it is.
	Leave
)

// Fate is what became of the pending change.
type Fate int

const (
	// Open says that it is not known, or that there is none.
	Open Fate = iota
	// TookEffect says that the observation shows its value.
	TookEffect
	// NoEffect says that it has had none and cannot have one any more.
	NoEffect
)

// Plan is what Decide answers.
type Plan struct {
	Action Action
	// Change to make, for Modify and Repeat.
	Change Change
	// Fate of the pending change, to be recorded whatever the action is.
	Fate Fate
	// Wait before the next observation, for ObserveAgain and Postpone.
	Wait time.Duration
	// Because says why, for ObserveAgain and Leave, in words for a user.
	Because string
}
