package ratelimit

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// world drives a Governor in simulated time against a server that grants
// requests as grant says.
type world struct {
	now   time.Time
	g     *Governor
	asked int // for a turn
}

func newWorld(limit float64, burst int) *world {
	w := &world{now: time.Date(2026, 11, 24, 10, 0, 7, 0, time.UTC)}
	w.g = New(limit, burst, func() time.Time { return w.now })
	return w
}

// converge has as many callers as there are jobs ask for a turn each, sixteen
// requests at most under way at once, until all are served or the deadline is
// over; it returns the good and the refused answers.
func (w *world) converge(jobs int, deadline time.Duration, grant func(time.Time) bool) (good, refused int) {
	const latency = 20 * time.Millisecond
	queue := make(events, 0, jobs)
	for i := range jobs {
		queue = append(queue, event{at: w.now, job: strconv.Itoa(i)})
	}
	heap.Init(&queue)
	flight := 0
	for end := w.now.Add(deadline); len(queue) > 0 && w.now.Before(end); {
		e := heap.Pop(&queue).(event)
		w.now = later(w.now, e.at)
		switch {
		case e.answer && e.ok:
			flight--
			good++
			w.g.Done(Answered, 0)
		case e.answer:
			flight--
			refused++
			w.g.Done(Throttled, 0)
			heap.Push(&queue, event{at: w.now, job: e.job})
		case flight == 16:
			heap.Push(&queue, event{at: w.now.Add(time.Millisecond), job: e.job})
		default:
			w.asked++
			if wait, _ := w.g.Take(e.job, Resync); wait > 0 {
				heap.Push(&queue, event{at: w.now.Add(wait), job: e.job})
				continue
			}
			flight++
			heap.Push(&queue, event{at: w.now.Add(latency), job: e.job, answer: true, ok: grant(w.now)})
		}
	}
	return good, refused
}

// event is a caller that asks for a turn, or the answer to its request.
type event struct {
	at         time.Time
	job        string
	answer, ok bool
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// perSecond is a token bucket that holds one second's worth.
func perSecond(rate float64) func(time.Time) bool {
	tokens, last := rate, time.Time{}
	return func(now time.Time) bool {
		if !last.IsZero() {
			tokens = min(rate, tokens+now.Sub(last).Seconds()*rate)
		}
		last = now
		if tokens < 1 {
			return false
		}
		tokens--
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
		used++
		return used <= n
	}
}

func TestUsesAllOfTheConfiguredRateWhereNothingIsRefused(t *testing.T) {
	w := newWorld(50, 10)
	start := w.now
	good, refused := w.converge(2000, time.Hour, func(time.Time) bool { return true })
	took := w.now.Sub(start).Seconds()
	if good != 2000 || refused != 0 {
		t.Fatalf("good %d, refused %d", good, refused)
	}
	if w.asked > 2*2000 {
		t.Errorf("asked %d times for 2000 turns: each should ask once, and come back once", w.asked)
	}
	if share := (2000 - 10) / 50.0 / took; share < 0.97 || share > 1.01 {
		t.Errorf("took %.1f s, %.3f of the configured rate; want 0.97 to 1", took, share)
	}
}

// TestWaitersThatNeverComeBackAreNoCallsAtOnce: what they have waited for must not
// be handed out together.
func TestWaitersThatNeverComeBackAreNoCallsAtOnce(t *testing.T) {
	w := newWorld(10, 1)
	for i := range 200 {
		w.g.Take(fmt.Sprint("gone-", i), Resync)
	}
	start, most := w.now, 0.0
	granted := 0
	good, _ := w.converge(300, time.Hour, func(now time.Time) bool {
		granted++
		most = max(most, float64(granted)-10*now.Sub(start).Seconds())
		return true
	})
	if good != 300 || most > 2 {
		t.Errorf("%d calls, %.1f more than the rate allowed at a time; want a burst of 1", good, most)
	}
}

// TestManyWhoAreLateAreNoCallsAtOnce: what lies ready for them is a second's worth.
func TestManyWhoAreLateAreNoCallsAtOnce(t *testing.T) {
	w := newWorld(10, 5)
	for i := range 400 {
		w.g.Take(strconv.Itoa(i), Resync)
	}
	w.now = w.now.Add(9 * time.Second)
	turns := 0
	for i := range 400 {
		if wait, _ := w.g.Take(strconv.Itoa(i), Resync); wait == 0 {
			turns++
		}
	}
	if turns < 5 || turns > 11 {
		t.Errorf("%d calls at once of 90 that were due; want a second's worth, 11 at most", turns)
	}
}

// TestASecondTurnForEveryOtherIsReckonedWith: where half of those who had a turn need
// another one, and go first, the rest still asks a few times only.
func TestASecondTurnForEveryOtherIsReckonedWith(t *testing.T) {
	const jobs = 4000
	w := newWorld(200, 20)
	queue := make(events, 0, jobs)
	for i := range jobs {
		queue = append(queue, event{at: w.now.Add(time.Duration(i) * 2 * time.Millisecond), job: strconv.Itoa(i)})
	}
	heap.Init(&queue)
	start, turns := w.now, 0
	for len(queue) > 0 {
		e := heap.Pop(&queue).(event)
		w.now = later(w.now, e.at)
		p := Edit
		if e.ok { // the second turn
			p = Finish
		}
		w.asked++
		if wait, _ := w.g.Take(e.job, p); wait > 0 {
			heap.Push(&queue, event{at: w.now.Add(wait), job: e.job, ok: e.ok})
			continue
		}
		turns++
		w.g.Done(Answered, 0)
		if i, _ := strconv.Atoi(e.job); !e.ok && i%2 == 1 {
			heap.Push(&queue, event{at: w.now.Add(40 * time.Millisecond), job: e.job, ok: true})
		}
	}
	if turns != jobs*3/2 || w.asked > 4*turns {
		t.Errorf("asked %d times for %d turns, want four times as often at most", w.asked, turns)
	}
	if share := (float64(turns) - 20) / 200 / w.now.Sub(start).Seconds(); share < 0.95 || share > 1.01 {
		t.Errorf("%.3f of the rate was used", share)
	}
}

func TestLearnsARateTenTimesLowerThanConfigured(t *testing.T) {
	for _, rate := range []float64{3, 5, 20, 100} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			w := newWorld(10*rate, int(20*rate))
			start := w.now
			jobs := int(max(600*rate, 1200))
			good, refused := w.converge(min(jobs, 4000), time.Hour, perSecond(rate))
			took := w.now.Sub(start).Seconds()
			useful := float64(good) / took / rate
			share := float64(refused) / float64(good+refused)
			t.Logf("rate %g: %.3f of what is granted, %.2f %% refused", rate, useful, 100*share)
			if useful < 0.9 {
				t.Errorf("only %.3f of what is granted", useful)
			}
			if share > 0.03 {
				t.Errorf("%.1f %% of the answers were refusals", 100*share)
			}
		})
	}
}

func TestReturnsWhenTheMinuteTurns(t *testing.T) {
	w := newWorld(10, 20)
	first := w.now.Truncate(time.Minute)
	grant := perMinute(300, func(m time.Time) int {
		if m.Equal(first) {
			return 280
		}
		return 0
	})
	good, refused := w.converge(1200, 10*time.Minute, grant)
	if good != 1200 {
		t.Fatalf("%d of 1200 done in 10 minutes, at least 5 of which grant 300", good)
	}
	if share := float64(refused) / float64(good+refused); share > 0.03 {
		t.Errorf("%.1f %% of the answers were refusals (%d)", 100*share, refused)
	}
}

func TestAnEditGoesBeforeABacklogOfResyncs(t *testing.T) {
	w := newWorld(10, 1)
	for i := range 10000 {
		w.g.Take(fmt.Sprint("resync", i), Resync)
	}
	served := 0
	due := w.now
	next := map[int]time.Time{}
	for range 2000 {
		w.now = w.now.Add(time.Millisecond)
		if !due.After(w.now) {
			wait, _ := w.g.Take("edit", Edit)
			if wait == 0 {
				w.g.Done(Answered, 0)
				if served > 2 {
					t.Errorf("%d resyncs went first", served)
				}
				return
			}
			due = w.now.Add(wait)
		}
		for range 3 { // whoever comes by
			i := rand.IntN(10000)
			if next[i].After(w.now) {
				continue
			}
			if wait, _ := w.g.Take(fmt.Sprint("resync", i), Resync); wait > 0 {
				next[i] = w.now.Add(wait)
				continue
			}
			served++
			w.g.Done(Answered, 0)
		}
	}
	t.Fatal("the edit was not served in 2 s at 10 per second")
}

func TestWaitsAsLongAsItIsTold(t *testing.T) {
	w := newWorld(10, 5)
	if wait, _ := w.g.Take("a", Edit); wait != 0 {
		t.Fatalf("no turn at first: %v", wait)
	}
	w.g.Done(Throttled, 20*time.Second)
	if wait, _ := w.g.Take("a", Edit); wait < 20*time.Second {
		t.Errorf("asked again in %v, was told 20 s", wait)
	}
	w.now = w.now.Add(21 * time.Second)
	if wait, _ := w.g.Take("a", Edit); wait != 0 {
		t.Errorf("no probe after the wait: %v", wait)
	}
	if wait, _ := w.g.Take("b", Edit); wait == 0 {
		t.Error("a second request went out while the probe was under way")
	}
	w.g.Done(Lost, 0)
	w.now = w.now.Add(10 * time.Second)
	if wait, _ := w.g.Take("b", Edit); wait != 0 {
		t.Errorf("a lost probe stopped everything: %v", wait)
	}
}

func TestWhoDoesNotComeBackHoldsUpNobody(t *testing.T) {
	w := newWorld(1, 1)
	w.g.Take("first", Edit)
	w.g.Done(Answered, 0)
	for i := range 50 {
		w.g.Take(fmt.Sprint("gone", i), Edit)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.g.Take("sweeps", Resync)
	w.now = w.now.Add(2 * time.Second)
	if wait, _ := w.g.Take("resync", Resync); wait != 0 {
		t.Errorf("waits %v behind callers that are gone", wait)
	}
}

// A wake-up of the process costs more than the pass that it makes.
func TestManyWhoWaitComeBackTogetherAndFewDoNot(t *testing.T) {
	const rate, burst, crowd = 200, 20, 2000
	w := newWorld(rate, burst)
	moments := map[time.Time]bool{}
	for i := range crowd {
		wait, _ := w.g.Take(strconv.Itoa(i), Resync)
		if wait > 0 {
			moments[w.now.Add(wait)] = true
		}
		w.now = w.now.Add(137 * time.Microsecond)
	}
	// The waits are spread over as long as the tokens take, about twice at the most.
	if most := 2 * crowd / rate * int(time.Second/maxBeat); len(moments) > most {
		t.Errorf("%d waiters come back at %d moments, want %d at most", crowd, len(moments), most)
	}
	for range burst {
		w.g.Take("edit", Edit)
		wait, _ := w.g.Take("edit", Edit)
		if most := 3 * time.Second / rate; wait > most {
			t.Fatalf("an edit at the head of the line is to come back after %v, want %v at most", wait, most)
		}
		w.now = w.now.Add(wait)
		if wait, _ := w.g.Take("edit", Edit); wait > 0 {
			t.Fatalf("an edit that came back when told has to wait for another %v", wait)
		}
		w.now = w.now.Add(7 * time.Millisecond)
	}
}

// A token for a place that was given up would be a call that nobody makes.
func TestWhoAsksForMoreGivesUpTheOldPlace(t *testing.T) {
	const rate, each = 10, 20
	w := newWorld(rate, 1)
	w.g.Take("first", Resync)
	due, priority := map[string]time.Time{}, map[string]Priority{}
	ask := func(id string, p Priority) {
		wait, _ := w.g.Take(id, p)
		due[id], priority[id] = w.now.Add(wait), p
	}
	for i := range each {
		ask(fmt.Sprint("edited", i), Resync)
	}
	for i := range each {
		ask(fmt.Sprint("resync", i), Resync)
	}
	for i := range each {
		ask(fmt.Sprint("edited", i), Edit)
	}
	begun := w.now
	for len(due) > 0 {
		w.now = w.now.Add(time.Millisecond)
		for id, at := range due {
			if w.now.Before(at) {
				continue
			}
			if ask(id, priority[id]); !due[id].After(w.now) {
				w.g.Done(Answered, 0)
				delete(due, id)
			}
		}
	}
	// The places given up are closed within a second.
	if took, most := w.now.Sub(begun), (2*each/rate+1)*time.Second; took > most {
		t.Errorf("%d turns took %v, want %v at most", 2*each, took, most)
	}
}

func TestAPassThatComesBackKeepsItsPlace(t *testing.T) {
	w := newWorld(1, 1)
	w.g.Take("first", Edit)
	wait, _ := w.g.Take("read-back", Finish)
	for i := range 10 {
		w.g.Take(fmt.Sprint("edit", i), Edit)
	}
	w.now = w.now.Add(wait)
	if wait, _ := w.g.Take("read-back", Edit); wait != 0 {
		t.Errorf("the rest of a pass waits another %v behind edits", wait)
	}
}
