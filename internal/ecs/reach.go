package ecs

import (
	"fmt"
	"sync"
	"time"
)

// reach bounds what a region that does not answer can hold up: so many callers may be
// in a call to it at the same time, and after a few calls in a row without an answer
// one at a time asks on, after ever longer pauses, while everybody else is told at once.
type reach struct {
	mu sync.Mutex
	// limit is how many callers may be in a call.
	limit int
	// entered are those that are, with the time since when.
	entered map[*visit]bool
	// unanswered is how many calls in a row got no answer.
	unanswered int
	// probe is the one call that may ask on, after pause has passed: at probeAt.
	probe   *visit
	pause   time.Duration
	probeAt time.Time
}

// visit is a caller in a call.
type visit struct{ since time.Time }

const (
	// silence is how many calls in a row without an answer close a region.
	silence = 3
	// firstPause and maxPause bound the time between probes.
	firstPause = time.Second
	maxPause   = time.Minute
	// minRoom and maxRoom bound the wait of those who find no room.
	minRoom = 20 * time.Millisecond
	maxRoom = 5 * time.Second
)

func newReach(limit int) *reach {
	return &reach{limit: limit, entered: map[*visit]bool{}}
}

// silent tells whether the region does not answer, so that nobody but the next probe
// may ask, and when that will be.
func (r *reach) silent(now time.Time) (wait time.Duration, silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed(now)
}

func (r *reach) closed(now time.Time) (time.Duration, bool) {
	switch {
	case r.unanswered < silence:
		return 0, false
	case r.probe != nil:
		return maxRoom, true
	}
	wait := r.probeAt.Sub(now)
	return wait, wait > 0
}

// enter admits a caller, who has to leave again. Where there is no visit, wait is when
// to come back.
func (r *reach) enter(now time.Time) (v *visit, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if wait, closed := r.closed(now); closed {
		return nil, wait
	}
	if len(r.entered) >= r.limit {
		return nil, r.room(now)
	}
	v = &visit{now}
	r.entered[v] = true
	if r.unanswered >= silence {
		r.probe = v
	}
	return v, 0
}

// room is when there may be room: in as long again as the oldest call has taken so far.
func (r *reach) room(now time.Time) time.Duration {
	var oldest time.Duration
	for v := range r.entered {
		oldest = max(oldest, now.Sub(v.since))
	}
	return min(max(oldest, minRoom), maxRoom)
}

// note tells how the call of a visit ended. One that was given up says nothing.
func (r *reach) note(v *visit, failure *Error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case failure != nil && failure.Code == CodeCanceled:
	case failure == nil || failure.HTTPStatus != 0:
		r.unanswered, r.pause = 0, 0
	case r.unanswered >= silence:
		if r.probe == v {
			r.pause = min(2*r.pause, maxPause)
			r.probeAt = now.Add(r.pause)
		}
	default:
		if r.unanswered++; r.unanswered == silence {
			r.pause = firstPause
			r.probeAt = now.Add(r.pause)
		}
	}
}

// leave ends a visit, if there is one.
func (r *reach) leave(v *visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entered, v)
	if v != nil && r.probe == v {
		r.probe = nil
	}
}

// idle tells whether nothing is lost if this is forgotten.
func (r *reach) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entered) == 0 && r.unanswered == 0
}

// unreachable is the failure of a call that was not made because nobody answers there.
func unreachable(action, region string, wait time.Duration) *Error {
	return &Error{Action: action, Class: Unavailable, Code: CodeUnreachable, RetryAfter: wait,
		Message: fmt.Sprintf("no call was made: ECS does not answer in %s; one call at a time asks on, at least once a minute", region)}
}
