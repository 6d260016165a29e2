package ratelimit

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// world drives a Governor in virtual time.
type world struct {
	now   time.Time
	g     *Governor
	asked int // Take calls
}

// newWorld begins seven seconds after the minute turned.
func newWorld(limit float64, burst int) *world {
	return newWorldAt(7*time.Second, limit, burst)
}

func newWorldAt(second time.Duration, limit float64, burst int) *world {
	w := &world{now: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC).Add(second)}
	w.g = New(limit, burst, func() time.Time { return w.now })
	return w
}

// take asks for an ID of its own tenant.
func (w *world) take(id string, p Priority) time.Duration {
	w.asked++
	wait, _ := w.g.Take(Asker{ID: id, Tenant: "team", Priority: p})
	return wait
}

// crowd is a number of callers that all ask at once, through a number of workers, each
// of them busy while a call is under way and not while a caller waits.
type crowd struct {
	callers, workers int
	endless          bool // who was answered asks again
	tenants          int
	grant            func(time.Time) bool
	jitter           *rand.Rand // of the round trips, by half of them; nil: none
}

func (c *crowd) roundTrip() time.Duration {
	if c.jitter == nil {
		return roundTrip
	}
	return roundTrip/2 + time.Duration(c.jitter.Int64N(int64(roundTrip)))
}

// roundTrip is how long a call takes.
const roundTrip = 20 * time.Millisecond

// converge runs a crowd until everybody is served or the time is over. It returns how
// many calls were answered and refused, and how long it took.
func (w *world) converge(c crowd, atMost time.Duration) (good, refused int, took time.Duration) {
	begun := w.now
	var queue heapOf[event]
	ready := make([]Asker, 0, c.callers)
	for i := range c.callers {
		ready = append(ready, Asker{ID: strconv.Itoa(i), Tenant: strconv.Itoa(i % max(1, c.tenants)), Priority: Resync})
	}
	for busy := 0; ; {
		for busy < c.workers && len(ready) > 0 {
			a := ready[0]
			ready = ready[1:]
			w.asked++
			if wait, _ := w.g.Take(a); wait > 0 {
				queue.push(event{at: w.now.Add(wait), asker: a})
				continue
			}
			busy++
			queue.push(event{at: w.now.Add(c.roundTrip()), asker: a, answer: true, ok: c.grant(w.now)})
		}
		if len(queue) == 0 || queue[0].at.Sub(begun) > atMost {
			return good, refused, w.now.Sub(begun)
		}
		e := queue.pop()
		w.now = later(w.now, e.at)
		switch {
		case !e.answer:
			ready = append(ready, e.asker)
			continue
		case e.ok:
			good++
			w.g.Done(Answered, 0)
		default:
			refused++
			w.g.Done(Throttled, 0)
		}
		busy--
		if c.endless || !e.ok {
			ready = append(ready, e.asker)
		}
	}
}

// event is a caller that comes back, or the answer to its call.
type event struct {
	at         time.Time
	asker      Asker
	answer, ok bool
}

func (e event) earlier(than event) bool { return e.at.Before(than.at) }

// timed is what has its place in time.
type timed[T any] interface{ earlier(than T) bool }

// heapOf has the earliest at its root. It does without the interfaces of container/heap,
// since a simulation spends most of its time here.
type heapOf[T timed[T]] []T

func (h *heapOf[T]) push(x T) {
	q := append(*h, x)
	i := len(q) - 1
	for ; i > 0 && x.earlier(q[(i-1)/2]); i = (i - 1) / 2 {
		q[i] = q[(i-1)/2]
	}
	q[i] = x
	*h = q
}

func (h *heapOf[T]) pop() T {
	q := *h
	first, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	for i := 0; len(q) > 0; {
		child := 2*i + 1
		if child+1 < len(q) && q[child+1].earlier(q[child]) {
			child++
		}
		if child >= len(q) || !q[child].earlier(last) {
			q[i] = last
			break
		}
		q[i], i = q[child], child
	}
	*h = q
	return first
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// everything grants every call.
func everything(time.Time) bool { return true }

// perSecond is a token bucket that holds one second's worth. Rate may change.
func perSecond(rate *float64) func(time.Time) bool {
	tokens, last := *rate, time.Time{}
	return func(now time.Time) bool {
		if !last.IsZero() {
			tokens = min(*rate, tokens+now.Sub(last).Seconds()**rate)
		}
		last = now
		if tokens < 1 {
			return false
		}
		tokens--
		return true
	}
}

// slidingSecond grants so many in any second. Rate may change.
func slidingSecond(rate *float64) func(time.Time) bool {
	var granted []time.Time
	return func(now time.Time) bool {
		for len(granted) > 0 && now.Sub(granted[0]) >= time.Second {
			granted = granted[1:]
		}
		if float64(len(granted)+1) > *rate {
			return false
		}
		granted = append(granted, now)
		return true
	}
}

// perMinute grants n per minute of the clock, less what another tool eats.
func perMinute(n int, eaten func(minute time.Time) int) func(time.Time) bool {
	var minute time.Time
	used := 0
	return func(now time.Time) bool {
		if m := now.Truncate(time.Minute); !m.Equal(minute) {
			minute, used = m, eaten(m)
		}
		if used >= n {
			return false
		}
		used++
		return true
	}
}

func nothingEaten(time.Time) int { return 0 }
