package ratelimit

import (
	"math"
	"time"
)

const (
	// window is what the other side is taken to count by, or to hold in a bucket: after
	// a second without calls it grants some again, unless it counts by the minute.
	window = time.Second
	// yield is the share of the granted rate at which calls go on after a refusal: the
	// rest (5 %) pays for what a refusal costs, a window or so in every regain.
	yield = 0.95
	// regain sets how soon a higher rate is tried: the learnt rate grows by
	// e^((t/regain)^4). After half of it the rate is what was refused (0.95 * 1.06),
	// after the whole 2.7 times, and after one and a quarter 11 times as high.
	regain = 2 * time.Minute
	// maxRetryAfter bounds what the other side may ask for.
	maxRetryAfter = 5 * time.Minute
	// patience is how much longer one is told to wait than the configured rate would
	// take, and how long the lowest rate lets a single call wait: a rate may have risen
	// meanwhile, and those before may have left.
	patience = 15 * time.Second
)

// pace is the rate at which calls are let go: the configured one, until a refusal
// teaches a lower one.
type pace struct {
	limit float64   // as configured, per second
	base  float64   // the rate at since
	since time.Time // of the last refusal, or of the answer that ended it

	refused time.Time // since when calls are refused, in this minute; zero: they are not
	held    float64   // the rate that was held until then, or what a minute granted
	least   float64   // what the refusal leaves, however little was answered
	closed  time.Time // until when nothing is sent

	second, minute meter
}

// meter counts answers from a moment on.
type meter struct {
	from     time.Time
	answered float64
	previous float64 // what it had counted when it began anew
}

func (m *meter) begin(from time.Time) { *m = meter{from: from, previous: m.answered} }

// at is the rate at now, per second.
func (p *pace) at(now time.Time) float64 {
	if p.base >= p.limit {
		return p.limit
	}
	grown := math.Pow(float64(now.Sub(p.since))/float64(regain), 4)
	return min(p.limit, p.base*math.Exp(grown))
}

// refusing tells whether calls are refused, and a probe has to be answered first.
func (p *pace) refusing() bool { return !p.refused.IsZero() }

// lasts is how long it will take until so many tokens have come.
func (p *pace) lasts(tokens float64, now time.Time) time.Duration {
	if p.refusing() {
		// What the probe will teach is not known yet: rather ask once more than late.
		return seconds(tokens / p.held)
	}
	rate := p.at(now)
	d := seconds(tokens / rate)
	// The rate grows meanwhile: the mean of now's and then's.
	return time.Duration(float64(d) * math.Sqrt(rate/p.at(now.Add(d))))
}

// burst is how many calls may go at once. A learnt rate leaves that much of the granted
// one in a second, so that calls that come together do not exceed what is granted.
func (p *pace) burst(configured, rate float64) float64 {
	switch {
	case p.refusing():
		return 1 // a probe
	case rate < p.limit:
		return min(configured, 1+rate*(1-yield)/yield)
	}
	return configured
}

// minuteOf keeps the count of the minute.
func (p *pace) minuteOf(now time.Time) {
	if m := now.Truncate(time.Minute); m.After(p.minute.from) {
		p.minute.begin(m)
	}
}

// secondOf keeps the count of this second and of the last.
func (p *pace) secondOf(now time.Time) {
	switch gap := now.Sub(p.second.from); {
	case gap >= 2*window:
		p.second = meter{from: now}
	case gap >= window:
		p.second.begin(now)
	}
}

// answer counts what was granted.
func (p *pace) answer(now time.Time) {
	p.secondOf(now)
	p.second.answered++
	p.minute.answered++
}

// refuse begins a refusal. Calls that were under way together are refused together: the
// others teach nothing.
func (p *pace) refuse(now time.Time) {
	p.secondOf(now)
	p.held = p.at(now)
	// A bucket that filled while nothing was sent has been emptied as well: over all
	// of that time less was granted. What fails within a window is counted exactly.
	if lasted := now.Sub(p.since); lasted > window {
		p.held *= float64(lasted) / float64(lasted+window)
	}
	p.least = 0
	// Who calls seldom learns little of what is granted: others may have used it. One
	// refusal then takes away half, and each probe that is refused half of the rest.
	if busy := p.held / 2 * now.Sub(p.second.from).Seconds(); p.second.answered+p.second.previous < max(1, busy) {
		p.least = p.held / 2
	}
	p.refused, p.closed = now, now.Add(window)
	p.learn(now)
}

// refuseAgain learns from a probe that was refused too: the other side does not count by
// the second. If it counts by the minute, what it granted in a whole one is its rate.
// Until the minute turns each pause is as long as all that went before.
func (p *pace) refuseAgain(now time.Time) {
	p.least /= 2
	begun := now.Truncate(time.Minute)
	if n := p.minute.answered; n > 0 && p.minute.from.Equal(begun) {
		p.held = min(p.held, n/time.Minute.Seconds())
		p.learn(now)
	}
	if p.refused.Before(begun) {
		p.refused = begun
	}
	p.closed = now.Add(max(window, now.Sub(p.refused)))
	if turn := begun.Add(time.Minute); p.closed.After(turn) {
		p.closed = turn
	}
}

// resume ends a refusal: a probe was answered. Calls that were under way before it have
// been counted by now.
func (p *pace) resume(now time.Time) {
	p.learn(now)
	p.refused = time.Time{}
}

// learn sets the rate to what yields to the granted one: what came in a second, but no
// more than was held.
func (p *pace) learn(now time.Time) {
	granted := min(p.held, max(1, p.least, p.second.answered, p.second.previous))
	p.base, p.since = max(yield*granted, 1/patience.Seconds()), now
}

// retryAfter honours what the other side asks for.
func (p *pace) retryAfter(now time.Time, d time.Duration) {
	if until := now.Add(min(d, maxRetryAfter)); until.After(p.closed) {
		p.closed = until
	}
}
