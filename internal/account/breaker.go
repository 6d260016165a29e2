package account

import (
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

const (
	// breakerPause is how long nothing is sent with a credential where it was refused,
	// nor fetched where fetching failed: then one request tries again.
	breakerPause = 30 * time.Second
	// breakerLimit is how many refusals in a row open the breaker: a few, so that
	// one resource whose user asks again and again is not answered from memory.
	breakerLimit = 5
	// refusalHolds is how long the token service's refusal counts. It is asked again
	// within 45 seconds, so that this ends only a refusal that it cannot be asked about.
	refusalHolds = 2 * time.Minute
	// maxRefusing bounds what regions that a user names can leave behind.
	maxRefusing = 64
)

// breaker remembers where a credential was refused, so that it is not tried by every
// resource of its account. Each region stands for itself: a key of another site, say,
// is refused in some and good in others. Only the token service speaks for all, and
// only together with a region: it may be of another site itself.
type breaker struct {
	regions map[string]*refusals // those that have refused it since they last accepted it

	everywhere *ecs.Error // the token service's refusal
	until      time.Time  // when that counts no longer
}

// refusals are those of one region, in a row.
type refusals struct {
	last  *ecs.Error
	times int       // from breakerLimit on nothing is sent
	tryAt time.Time // when the next one may try, then
}

// mayTry tells why nothing may be sent to a region now. Who may try while it is open
// tries for all: the others wait for what becomes of it.
func (b *breaker) mayTry(region string, now time.Time) *ecs.Error {
	if b.everywhere != nil && now.Before(b.until) && len(b.regions) > 0 {
		return b.everywhere
	}
	r := b.regions[region]
	switch {
	case r == nil || r.times < breakerLimit:
		return nil
	case now.Before(r.tryAt):
		return r.last
	}
	r.tryAt = now.Add(breakerPause)
	return nil
}

// giveBack lets the next one try, since nothing was sent.
func (b *breaker) giveBack(region string) {
	if r := b.regions[region]; r != nil {
		r.tryAt = time.Time{}
	}
}

// refuse notes a refusal, and tells whether it is the first.
func (b *breaker) refuse(region string, now time.Time, failure *ecs.Error) (first bool) {
	r := b.regions[region]
	if first = r == nil; first {
		b.makeRoom()
		r = &refusals{}
		b.regions[region] = r
	}
	r.times++
	r.last, r.tryAt = heldBack(failure, afterRefusal), now.Add(breakerPause)
	return first
}

// makeRoom forgets the region that was refused longest ago where there are too many.
func (b *breaker) makeRoom() {
	if b.regions == nil {
		b.regions = map[string]*refusals{}
	}
	if len(b.regions) < maxRefusing {
		return
	}
	var oldest string
	for region, r := range b.regions {
		if oldest == "" || r.tryAt.Before(b.regions[oldest].tryAt) {
			oldest = region
		}
	}
	delete(b.regions, oldest)
}

// accept notes that a region has accepted the credential, which contradicts the token
// service, and tells whether it does.
func (b *breaker) accept(region string) (contradicts bool) {
	delete(b.regions, region)
	contradicts = b.everywhere != nil
	b.everywhere = nil
	return contradicts
}

// condemn notes that the token service refuses the credential.
func (b *breaker) condemn(now time.Time, failure *ecs.Error) {
	b.everywhere, b.until = heldBack(failure, afterRefusal), now.Add(refusalHolds)
}

// acquit notes that the token service accepts the credential. It says nothing of a
// region that refuses it on its own; one that did so at the same time as the token
// service is tried anew.
func (b *breaker) acquit() {
	if b.everywhere != nil {
		b.everywhere, b.regions = nil, nil
	}
}

// What the others are told of a failure. The answer itself is for the one who asked: it
// may repeat what they wrote.
const (
	afterRefusal = "not sent: the same credential has been refused, and is tried again before long"
	afterFailure = "not sent: there was no credential a moment ago, and it is asked for again before long"
)

func heldBack(e *ecs.Error, because string) *ecs.Error {
	return &ecs.Error{Action: e.Action, HTTPStatus: e.HTTPStatus, Code: e.Code, Class: e.Class, Message: because}
}
