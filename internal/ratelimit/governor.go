// Package ratelimit decides when one more call may be made. A Governor keeps one
// stream of calls (one account, region and action) below a configured rate, learns the
// lower rate that the other side really grants, and lets those go first who matter
// most. It never sleeps: who may not go is told when to ask again. It knows neither
// Kubernetes nor ECS.
//
// # How a rate is learnt
//
// Tokens drop into a bucket at the present rate, and a call takes one. The rate is the
// configured one until a call is refused; of calls that are under way together only the
// first refusal counts. Nothing is sent for a second then, and one call goes alone, a
// probe. When it is answered, calls go on at 95 % of what was granted: of the calls
// answered in the last second, or of the rate that was held, less what a bucket of one
// second may have lent it. That rate grows slowly for a minute, and then ever faster.
// When the probe is refused too, the other side counts by the minute of the clock: each
// pause is as long as all before it, or until the minute turns, and the granted rate is
// what a whole minute granted. A call without an answer teaches nothing.
//
// A bucket begins nearly empty: how much may come at once is not known yet.
//
// # Who goes first
//
// Those who wait stand in three lines, by priority. The higher priority goes first, but
// after four calls of the others the fifth is a resync's, if one waits. Within a line
// the tenants take turns: it moves in rounds, and in each round every tenant goes once.
//
// # What a wait promises
//
// Who has so many before it may go when the bucket holds a token for each of them and
// one more. The wait is the time until then: who comes back when told, or a little late,
// finds its token kept, unless others with a better right have come meanwhile or the
// rate has fallen. Who is late by more than ten seconds is forgotten, and those behind
// move up. While the bucket is full, tokens would be lost: then whoever comes back when
// told may go, and whoever is due before all others.
package ratelimit

import (
	"container/heap"
	"sync"
	"time"
)

// Priority orders those who wait; a lower value goes first.
type Priority int

const (
	// Finish is for the rest of a pass that has begun: a change and its read-back.
	Finish Priority = iota
	// Edit is for what a user asked for.
	Edit
	// Resync is for periodic work.
	Resync

	priorities = 3
)

// Asker is who wants to make a call.
type Asker struct {
	// ID tells who it is: an ID waits in one place at the most.
	ID string
	// Tenant is whom it belongs to: those of a tenant share its place in each round.
	Tenant string
	// Priority decides in which line it waits. Who waits keeps a better one that it has
	// asked with before.
	Priority Priority
}

// Outcome is what became of a call.
type Outcome int

const (
	// Answered is any answer but a refusal for rate.
	Answered Outcome = iota
	// Throttled is a refusal for rate.
	Throttled
	// Lost is no answer at all: it says nothing about the rate.
	Lost
)

const (
	// othersPerResync is how many calls of higher priority go before each resync that
	// waits: it gets one token in five.
	othersPerResync = 4
	// begin is how long a new bucket has been filling: half a round trip, before the end
	// of which no answer can tell how much may go at once.
	begin = 10 * time.Millisecond
	// forgotten is how late one may be without losing one's place: longer than a busy
	// manager lets a pass wait for a worker, and so short that a token is not kept for
	// those who are gone.
	forgotten = 10 * time.Second
	// maxBeat is how far apart the moments are at which many come back, at the most:
	// to be woken together costs less than each at a moment of its own.
	maxBeat = 50 * time.Millisecond
	// crumb is what a sum of parts may lack of a whole token.
	crumb = 1e-6
)

// Governor lets the calls of one stream go. Use New.
type Governor struct {
	mu    sync.Mutex
	now   func() time.Time
	burst float64
	pace  pace

	tokens   float64
	updated  time.Time // up to when tokens have come
	gone     int       // calls so far
	underWay int       // calls without an outcome yet
	probing  bool      // the one that is under way is a probe

	tickets map[string]*ticket // of all who wait, by ID
	dues    dues
	lines   [priorities]line
	others  int // that have gone while resyncs waited, and no resync for them yet
}

// New returns a Governor for limit calls per second: in any span of t seconds it lets
// burst + limit * t calls go at the most. Now is the clock.
func New(limit float64, burst int, now func() time.Time) *Governor {
	t := now()
	g := &Governor{now: now, burst: max(1, float64(burst)), updated: t, tickets: map[string]*ticket{}}
	g.tokens = min(g.burst, max(1, limit*begin.Seconds()))
	g.pace = pace{limit: limit, base: limit, since: t, second: meter{from: t}, minute: meter{from: t}}
	for i := range g.lines {
		g.lines[i].tenants = map[string]tenancy{}
	}
	return g
}

// Take asks for a token. A wait of zero means go, and obliges to call Done; anything
// else is how long to wait before asking again with the same ID. Waited is how long it
// has been since the ID asked first.
func (g *Governor) Take(a Asker) (wait, waited time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.advance(now)
	if len(g.tickets) == 0 && g.open(now) {
		g.spend(a.Priority)
		return 0, 0
	}

	t, waits := g.tickets[a.ID]
	if !waits {
		t = &ticket{Asker: a, asked: now, due: now.Add(patience), gone: g.gone}
		g.tickets[a.ID] = t
		g.lines[a.Priority].join(t)
		heap.Push(&g.dues, t)
	} else if a.Priority < t.Priority && !g.hasToken(t) {
		g.lines[t.Priority].leave(t)
		t.Asker = a
		g.lines[a.Priority].join(t)
	}
	wait = g.reckon(t, now)
	if t.due.After(now) {
		t.due = now.Add(wait)
		heap.Fix(&g.dues, t.place)
	}
	if g.may(t, now) {
		g.leave(t)
		g.spend(t.Priority)
		return 0, now.Sub(t.asked)
	}
	t.due = now.Add(wait)
	heap.Fix(&g.dues, t.place)
	return wait, now.Sub(t.asked)
}

// Done tells what became of a call. RetryAfter is how long the other side asked to
// wait, zero if it did not say.
func (g *Governor) Done(o Outcome, retryAfter time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.advance(now)
	probe := g.probing
	g.underWay, g.probing = max(0, g.underWay-1), false
	switch o {
	case Answered:
		if probe {
			g.pace.resume(now)
		}
		g.pace.answer(now)
	case Throttled:
		switch {
		case probe:
			g.pace.refuseAgain(now)
		case !g.pace.refusing():
			g.pace.refuse(now)
		}
		g.pace.retryAfter(now, retryAfter)
	case Lost:
	}
}

// Idle tells whether nobody waits, and nothing was learnt that would be lost with the
// Governor.
func (g *Governor) Idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.advance(now)
	return len(g.tickets) == 0 && g.underWay == 0 && !g.pace.refusing() &&
		g.pace.at(now) >= g.pace.limit && g.tokens >= g.burst
}

// advance brings the bucket and the lines up to now.
func (g *Governor) advance(now time.Time) {
	rate := g.pace.at(now)
	if d := now.Sub(g.updated); d > 0 {
		g.tokens += d.Seconds() * rate
		g.updated = now
	}
	g.tokens = min(g.tokens, g.pace.burst(g.burst, rate))
	g.pace.minuteOf(now)
	for len(g.dues) > 0 && now.Sub(g.dues[0].due) > forgotten {
		g.leave(g.dues[0])
	}
}

// open tells whether a call may be made at all. A probe goes when nothing else is under
// way, so that the next outcome is its own.
func (g *Governor) open(now time.Time) bool {
	return g.tokens >= 1-crumb && (!g.pace.refusing() || g.underWay == 0 && !now.Before(g.pace.closed))
}

// may tells whether a ticket's call may be made.
func (g *Governor) may(t *ticket, now time.Time) bool {
	switch {
	case !g.open(now):
		return false
	case g.hasToken(t) || g.pace.refusing(): // whoever asks first is the probe
		return true
	}
	full := g.tokens >= g.pace.burst(g.burst, g.pace.at(now))-crumb
	return full && (!t.due.After(now) || g.dues[0] == t)
}

// spend takes a token for a call.
func (g *Governor) spend(p Priority) {
	g.tokens = max(0, g.tokens-1)
	g.gone++
	g.underWay++
	g.probing = g.pace.refusing()
	switch {
	case p == Resync:
		g.others = max(0, g.others-othersPerResync)
	case g.lines[Resync].waiting > 0:
		g.others = min(g.others+1, 2*othersPerResync) // one may be a little late
	}
}

// leave takes out who goes or is forgotten.
func (g *Governor) leave(t *ticket) {
	g.lines[t.Priority].leave(t)
	delete(g.tickets, t.ID)
	heap.Remove(&g.dues, t.place)
}

// ahead is how many go before a ticket, of those who wait now.
func (g *Governor) ahead(t *ticket) int {
	n := g.lines[t.Priority].before(t)
	higher := 0
	for p := range t.Priority {
		higher += g.lines[p].waiting
	}
	if t.Priority == Resync {
		return n + max(0, min(higher, (n+1)*othersPerResync-g.others))
	}
	n += higher
	return n + min(g.lines[Resync].waiting, (n+g.others)/othersPerResync)
}

// hasToken tells whether the bucket holds a token for a ticket, and one for each that
// goes before.
func (g *Governor) hasToken(t *ticket) bool { return g.tokens >= float64(g.ahead(t))+1-crumb }

// reckon tells when there will be a token for a ticket.
func (g *Governor) reckon(t *ticket, now time.Time) time.Duration {
	ahead, inLine := g.ahead(t), g.lines[t.Priority].before(t)
	missing := max(0, float64(ahead)+1-g.tokens)
	closed, beat := max(0, g.pace.closed.Sub(now)), time.Millisecond
	if closed > 0 {
		missing = float64(ahead) // the probe's token will be there
	}
	tokens := missing
	// As many have gone as stood before it, and it still waits: others went first. The
	// line will move as it has moved since.
	if gone := g.gone - t.gone; gone > max(t.ahead, othersPerResync) {
		share := float64(t.inLine-inLine) / float64(gone)
		tokens = max(missing, float64(inLine+1)/max(share, 1./(othersPerResync+1)))
	}
	// Many come back together: as many as the bucket can hold beside one token.
	rate := g.pace.at(now)
	if burst := g.pace.burst(g.burst, rate); missing > burst {
		beat = max(beat, min(maxBeat, seconds((burst-1)/rate)))
	}
	t.gone, t.ahead, t.inLine = g.gone, ahead, inLine
	wait := min(g.pace.lasts(tokens, now), seconds(missing/g.pace.limit)+patience)
	if closed == 0 && g.pace.refusing() {
		wait = max(wait, maxBeat) // for what is under way
	}
	return max(time.Millisecond, now.Add(closed+wait+beat-1).Truncate(beat).Sub(now))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
