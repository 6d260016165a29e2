// Package ratelimit decides when one more request may be sent. A Governor keeps
// one stream of requests (one account, region and action) below a configured
// rate, learns the lower rate that the other side really grants from its
// refusals, and hands out turns by priority. It never sleeps: who has no turn is
// told when to ask again. It knows neither Kubernetes nor ECS.
package ratelimit

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"
)

// Priority orders those who wait for a turn; a lower value goes first.
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

// Outcome is what became of a request that was given a turn.
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
	// backoffShare is the share of the granted rate at which sending goes on
	// after a refusal: what is given up (7 %) pays for the next try above it.
	backoffShare = 0.93
	// climb is how long the way back to the refused rate takes. At 1 request per
	// second a refusal a minute is still less than 2 % of the answers.
	climb = time.Minute
	// doubling is how often the rate doubles beyond the last refused rate, for
	// the day on which the quota was raised.
	doubling = 30 * time.Second
	// shortestPause is how long nothing is sent after a refusal, at least.
	shortestPause = 500 * time.Millisecond
	// maxPause bounds what the other side may ask for.
	maxPause = 2 * time.Minute
	// minRate keeps a probe going, in requests per second.
	minRate = 0.1
	// longestWait is how long a low rate keeps anybody from asking again, since
	// the rate may have risen meanwhile.
	longestWait = 15 * time.Second
	// farAway is the wait beyond which one is told to come back before one's turn.
	farAway = 2 * time.Second
	// maxBeat is how far apart the moments are at which those who wait come back, at
	// the most: many at once cost less than each at a moment of its own.
	maxBeat = 50 * time.Millisecond
	// shareSpan is the time constant of the share of the tokens that a line gets.
	shareSpan = 3 * time.Second
	// minShare keeps a line that has got nothing of late asking.
	minShare = 0.05
	// forgotten is how long after its time a waiter that did not come back counts
	// as gone.
	forgotten = 10 * time.Second
)

// Governor gives turns to one stream of requests. Use New.
type Governor struct {
	mu    sync.Mutex
	now   func() time.Time
	limit float64 // requests per second, as configured
	burst float64
	beat  time.Duration

	free    float64   // tokens that nobody waits for
	updated time.Time // up to when tokens have been given out

	ceiling   float64   // the rate that was refused last; the configured one before any refusal
	base      float64   // the rate at since
	since     time.Time // of the last refusal or recovery
	pausedTo  time.Time
	refusals  int  // in a row
	probing   bool // one request is under way to see whether the refusals are over
	minute    time.Time
	answered  int // in the current minute
	recent    float64
	recentAt  time.Time
	busyFrom  time.Time // since when answers have come without a gap
	waiting   [priorities]line
	lastSweep time.Time
}

// line is the queue of one priority. Each who waits holds a ticket; tokens are given
// to the tickets in order, so that who comes back when told finds a token of its own.
type line struct {
	holders map[string]*ticket
	dropped []*ticket // by holders who have a better place now, until the next sweep
	issued  float64   // number of the last ticket
	served  float64   // up to which tickets have their token
	left    float64   // how many of those have gone, with their token or without
	share   float64   // of the tokens that those of higher priority left of late
}

func (l *line) missing() float64 { return l.issued - l.served }

// ready is how many tokens lie ready for holders who have not come back yet.
func (l *line) ready() float64 { return l.served - l.left }

// hasToken tells whether a ticket has its token. A sum of parts is rarely whole.
func (l *line) hasToken(t *ticket) bool { return t.number <= l.served+1e-6 }

// leave takes a ticket out of the line that has its token.
func (l *line) leave(id string) {
	delete(l.holders, id)
	l.left++
}

// sweep takes those out of the line who do not come back, and those who have given up
// their place. Those behind who went without a token move up.
func (l *line) sweep(now time.Time) {
	gaps := false
	for _, t := range l.dropped {
		if l.hasToken(t) {
			l.left++
		} else {
			gaps = true
		}
	}
	l.dropped = nil
	for id, t := range l.holders {
		switch gone := now.Sub(t.due) > forgotten; {
		case gone && l.hasToken(t):
			l.leave(id)
		case gone:
			delete(l.holders, id)
			gaps = true
		}
	}
	if !gaps {
		return
	}
	var waiting []*ticket
	for _, t := range l.holders {
		if !l.hasToken(t) {
			waiting = append(waiting, t)
		}
	}
	slices.SortFunc(waiting, func(a, b *ticket) int { return cmp.Compare(a.number, b.number) })
	l.issued = math.Floor(l.served + 1e-6)
	for _, t := range waiting {
		l.issued++
		t.number = l.issued
	}
	l.served = min(l.served, l.issued)
}

type ticket struct {
	number float64
	asked  time.Time
	due    time.Time
}

// New returns a Governor for limit requests per second with the given burst. Now
// is the clock.
func New(limit float64, burst int, now func() time.Time) *Governor {
	t := now()
	g := &Governor{now: now, limit: limit, burst: math.Max(1, float64(burst)), updated: t, since: t,
		ceiling: limit, base: limit, recentAt: t, busyFrom: t, minute: t.Truncate(time.Minute), lastSweep: t}
	g.free = g.burst
	// What comes in a beat is to fit into half the bucket.
	g.beat = max(time.Millisecond, min(maxBeat, seconds(g.burst/g.limit/2)))
	for i := range g.waiting {
		g.waiting[i].holders, g.waiting[i].share = map[string]*ticket{}, 1
	}
	return g
}

// Take asks for a turn for id. A wait of zero means go, and obliges to call Done;
// anything else is how long to wait before asking again with the same id. Waited
// is how long it has been since id asked first.
func (g *Governor) Take(id string, p Priority) (wait, waited time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.advance(now)

	p = g.place(id, p)
	l := &g.waiting[p]
	held, waits := l.holders[id]
	may := !now.Before(g.pausedTo) && (g.refusals == 0 || !g.probing)
	switch {
	case may && waits && l.hasToken(held):
		l.leave(id)
		g.probing = g.refusals > 0
		return 0, now.Sub(held.asked)
	case may && !waits && g.free >= 1:
		g.free--
		g.probing = g.refusals > 0
		return 0, 0
	case !waits:
		l.issued++
		held = &ticket{number: l.issued, asked: now}
		l.holders[id] = held
	}
	ahead := max(held.number-l.served, 0)
	for higher := range p {
		ahead += g.waiting[higher].missing()
	}
	// While a probe is under way nobody knows the rate: ask again soon.
	if ahead == 0 {
		ahead = 1
	}
	wait = g.reckon(ahead, l.share, now)
	if paused := g.pausedTo.Sub(now); paused > 0 {
		wait += paused
	}
	// Rather a little late, when the token is there, than early and once more. Who has
	// a whole bucket's worth ahead comes with others; who is near the head, as a single
	// edit is, does not wait for company.
	due := now.Add(wait + min(wait/8, g.beat) + time.Millisecond)
	if ahead > g.burst {
		due = due.Add(g.beat - due.Sub(due.Truncate(g.beat)))
	}
	held.due = due
	return due.Sub(now), now.Sub(held.asked)
}

// place is the priority of the line where id waits: the one that it asks with, or that
// of a place which it has already if that is the better one. It holds one place at the
// most: a second one would draw a token that nobody comes for.
func (g *Governor) place(id string, p Priority) Priority {
	for at := range Priority(priorities) {
		l := &g.waiting[at]
		t, waits := l.holders[id]
		switch {
		case !waits:
		case at <= p || l.hasToken(t):
			return at
		default:
			delete(l.holders, id)
			l.dropped = append(l.dropped, t)
		}
	}
	return p
}

// reckon says when the tokens for so many will have been given, to a line that gets a
// share of them.
func (g *Governor) reckon(ahead, share float64, now time.Time) time.Duration {
	share = max(share, minShare)
	alone := ahead / g.rate(now)
	wait := alone / share
	if wait > farAway.Seconds() {
		// Early, and then once more: the share may grow, and a token that lies ready
		// for somebody who is late is a call that nobody makes.
		wait = (alone + wait) / 2
	}
	return seconds(min(wait, max(ahead/(share*g.limit), longestWait.Seconds())))
}

// give hands out new tokens: to those who wait, by priority and in order, and what
// is left to whoever comes next. No more than a burst or a second's worth lies ready
// for a priority and those above it: what comes on top is lost, so that many who are
// late are no calls at once.
func (g *Governor) give(tokens float64) {
	left, lying, most := tokens, g.free, math.Max(g.burst, g.limit)+1
	for i := range g.waiting {
		l := &g.waiting[i]
		// More tokens speak for more time.
		l.share += (left/tokens - l.share) * math.Min(1, tokens/(g.rate(g.updated)*shareSpan.Seconds()))
		lying += l.ready()
		part := max(0, min(left, l.missing(), most-lying))
		l.served += part
		left -= part
		lying += part
	}
	g.free = min(g.burst, g.free+max(0, min(left, most-lying)))
}

// Done tells what became of a request. RetryAfter is how long the other side
// asked to wait, zero if it did not say.
func (g *Governor) Done(o Outcome, retryAfter time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.advance(now)
	wasProbe := g.probing
	g.probing = false
	switch o {
	case Answered:
		g.answered++
		g.count(now)
		if g.refusals > 0 && wasProbe {
			g.refusals = 0
		}
	case Throttled:
		g.throttled(now, wasProbe)
		if retryAfter > 0 {
			g.pause(now.Add(min(retryAfter, maxPause)))
		}
	case Lost:
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Idle tells whether nobody waits and nothing was learnt that would be lost with
// the Governor.
func (g *Governor) Idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.advance(now)
	for i := range g.waiting {
		if len(g.waiting[i].holders) > 0 {
			return false
		}
	}
	return g.rate(now) >= g.limit && g.free >= g.burst
}

// throttled learns from a refusal. Requests that were under way together are
// refused together: only the first of them teaches anything, until a probe is
// refused too.
func (g *Governor) throttled(now time.Time, wasProbe bool) {
	switch {
	case g.refusals == 0:
		g.refusals = 1
		// What came through of late tells what is granted, roughly: few requests
		// tell little, so that one refusal takes away half at most.
		rate := g.rate(now)
		granted := math.Min(rate, math.Max(g.recentRate(now), rate/2))
		g.ceiling = math.Max(granted, minRate)
		g.base = math.Max(granted*backoffShare, minRate)
		g.since = now
		g.pause(now.Add(g.firstPause()))
	case wasProbe:
		g.refusals++
		next := now.Add(g.firstPause() << min(g.refusals-1, 8))
		if turn := g.minute.Add(time.Minute); next.After(turn) {
			// The window counts by the minute: what it granted is what came through.
			next = turn
			g.base = math.Max(float64(g.answered)/time.Minute.Seconds(), minRate)
		}
		g.since = next
		g.pause(next)
	}
}

// pause stops the bucket and the count of what is answered, as well as the sending.
func (g *Governor) pause(until time.Time) {
	if !until.After(g.pausedTo) {
		return
	}
	g.pausedTo = until
	g.free, g.updated = 0, until
	g.busyFrom = g.busyFrom.Add(until.Sub(g.recentAt))
	g.recentAt = until
}

// firstPause is how long nothing is sent after a refusal: long enough for one
// more request to be granted. Each probe that is refused as well doubles it,
// until the minute turns.
func (g *Governor) firstPause() time.Duration {
	return min(max(shortestPause, seconds(1.5/g.base)), 10*time.Second)
}

// rate climbs from base to ceiling, and then doubles at intervals up to the
// configured limit.
func (g *Governor) rate(now time.Time) float64 {
	if g.ceiling >= g.limit && g.base >= g.limit {
		return g.limit
	}
	elapsed := max(0, now.Sub(g.since))
	if elapsed <= climb {
		return math.Min(g.limit, g.base+(g.ceiling-g.base)*float64(elapsed)/float64(climb))
	}
	return math.Min(g.limit, g.ceiling*math.Exp2(float64(elapsed-climb)/float64(doubling)))
}

// recentSpan is the time constant of the recent rate.
const recentSpan = 10 * time.Second

// count notes an answer for recentRate, which starts anew after a gap: an idle
// hour says nothing about what is granted.
func (g *Governor) count(now time.Time) {
	gap := max(0, now.Sub(g.recentAt))
	if gap > recentSpan {
		g.recent, g.busyFrom = 0, now
	}
	g.recent = g.recent*math.Exp(-float64(gap)/float64(recentSpan)) + 1
	g.recentAt = now
}

// recentRate is what was answered per second since answers have come without a
// gap, the latest weighing most. A burst that was granted at once counts as a
// second's worth.
func (g *Governor) recentRate(now time.Time) float64 {
	busy := max(now.Sub(g.busyFrom), time.Second)
	faded := g.recent * math.Exp(-float64(max(0, now.Sub(g.recentAt)))/float64(recentSpan))
	return faded / (recentSpan.Seconds() * (1 - math.Exp(-float64(busy)/float64(recentSpan))))
}

// advance brings the bucket, the minute and the lines up to now.
func (g *Governor) advance(now time.Time) {
	if d := now.Sub(g.updated); d > 0 {
		g.give(d.Seconds() * g.rate(now))
		g.updated = now
	}
	if m := now.Truncate(time.Minute); m.After(g.minute) {
		g.minute, g.answered = m, 0
	}
	if now.Sub(g.lastSweep) < time.Second {
		return
	}
	g.lastSweep = now
	for i := range g.waiting {
		g.waiting[i].sweep(now)
	}
}
