package ratelimit

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

func TestUsesAllOfTheConfiguredRateWhereNothingIsRefused(t *testing.T) {
	w := newWorld(50, 10)
	good, refused, took := w.converge(crowd{callers: 2000, workers: 16, grant: everything}, time.Hour)
	if good != 2000 || refused != 0 {
		t.Fatalf("good %d, refused %d", good, refused)
	}
	if w.asked > 2*2000 {
		t.Errorf("asked %d times for 2000 turns: each should ask once, and come back once", w.asked)
	}
	if share := 2000 / 50.0 / took.Seconds(); share < 0.97 || share > 1.01 {
		t.Errorf("took %v, %.3f of the configured rate; want 0.97 to 1", took, share)
	}
}

func TestUsesAllOfTheConfiguredRateWithoutABurst(t *testing.T) {
	w := newWorld(30, 1)
	good, _, took := w.converge(crowd{callers: 600, workers: 16, tenants: 7, grant: everything}, time.Hour)
	if share := float64(good) / 30 / took.Seconds(); share < 0.95 {
		t.Errorf("%.3f of the configured rate was used", share)
	}
}

// TestWaitersThatNeverComeBackAreNoCallsAtOnce: what they have waited for must not
// be handed out together.
func TestWaitersThatNeverComeBackAreNoCallsAtOnce(t *testing.T) {
	w := newWorld(10, 1)
	for i := range 200 {
		w.take(fmt.Sprint("gone-", i), Resync)
	}
	start, most := w.now, 0.0
	granted := 0
	good, _, _ := w.converge(crowd{callers: 300, workers: 16, grant: func(now time.Time) bool {
		granted++
		most = max(most, float64(granted)-10*now.Sub(start).Seconds())
		return true
	}}, time.Hour)
	if good != 300 || most > 2 {
		t.Errorf("%d calls, %.1f more than the rate allowed at a time; want a burst of 1", good, most)
	}
}

// TestManyWhoAreLateAreNoCallsAtOnce: what lies ready for them is a burst.
func TestManyWhoAreLateAreNoCallsAtOnce(t *testing.T) {
	w := newWorld(10, 5)
	for i := range 400 {
		w.take(strconv.Itoa(i), Resync)
	}
	w.now = w.now.Add(9 * time.Second)
	turns := 0
	for i := range 400 {
		if wait := w.take(strconv.Itoa(i), Resync); wait == 0 {
			turns++
		}
	}
	if turns != 5 {
		t.Errorf("%d calls at once of 90 that were due; want a burst of 5", turns)
	}
}

// TestASecondCallForEveryOtherIsReckonedWith: where half of those who had a token need
// another one, and go first, the rest still asks a few times only.
func TestASecondCallForEveryOtherIsReckonedWith(t *testing.T) {
	const jobs = 4000
	w := newWorld(200, 20)
	var queue heapOf[event]
	for i := range jobs {
		queue.push(event{at: w.now.Add(time.Duration(i) * 2 * time.Millisecond), asker: Asker{ID: strconv.Itoa(i), Priority: Edit}})
	}
	start, calls := w.now, 0
	for len(queue) > 0 {
		e := queue.pop()
		w.now = later(w.now, e.at)
		if wait := w.take(e.asker.ID, e.asker.Priority); wait > 0 {
			queue.push(event{at: w.now.Add(wait), asker: e.asker})
			continue
		}
		calls++
		w.g.Done(Answered, 0)
		if i, _ := strconv.Atoi(e.asker.ID); e.asker.Priority == Edit && i%2 == 1 {
			queue.push(event{at: w.now.Add(40 * time.Millisecond), asker: Asker{ID: e.asker.ID, Priority: Finish}})
		}
	}
	if calls != jobs*3/2 || w.asked > 4*calls {
		t.Errorf("asked %d times for %d calls, want four times as often at most", w.asked, calls)
	}
	if share := float64(calls) / 200 / w.now.Sub(start).Seconds(); share < 0.95 || share > 1.01 {
		t.Errorf("%.3f of the rate was used", share)
	}
}

func TestAnEditGoesBeforeABacklogOfResyncs(t *testing.T) {
	w := newWorld(10, 1)
	for i := range 10000 {
		w.take(fmt.Sprint("resync", i), Resync)
	}
	served := 0
	due := w.now
	next := map[int]time.Time{}
	for range 2000 {
		w.now = w.now.Add(time.Millisecond)
		if !due.After(w.now) {
			wait := w.take("edit", Edit)
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
			if wait := w.take(fmt.Sprint("resync", i), Resync); wait > 0 {
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
	if wait := w.take("a", Edit); wait != 0 {
		t.Fatalf("no turn at first: %v", wait)
	}
	w.g.Done(Throttled, 20*time.Second)
	if wait := w.take("a", Edit); wait < 20*time.Second {
		t.Errorf("asked again in %v, was told 20 s", wait)
	}
	w.now = w.now.Add(21 * time.Second)
	if wait := w.take("a", Edit); wait != 0 {
		t.Errorf("no probe after the wait: %v", wait)
	}
	if wait := w.take("b", Edit); wait == 0 {
		t.Error("a second request went out while the probe was under way")
	}
	w.g.Done(Lost, 0)
	w.now = w.now.Add(10 * time.Second)
	if wait := w.take("b", Edit); wait != 0 {
		t.Errorf("a lost probe stopped everything: %v", wait)
	}
}

func TestWhoDoesNotComeBackHoldsUpNobody(t *testing.T) {
	w := newWorld(1, 1)
	w.take("first", Edit)
	w.g.Done(Answered, 0)
	for i := range 50 {
		w.take(fmt.Sprint("gone", i), Edit)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.take("sweeps", Resync)
	w.now = w.now.Add(2 * time.Second)
	if wait := w.take("resync", Resync); wait != 0 {
		t.Errorf("waits %v behind callers that are gone", wait)
	}
}

// A wake-up of the process costs more than the pass that it makes.
func TestManyWhoWaitComeBackTogetherAndFewDoNot(t *testing.T) {
	const rate, burst, crowd = 200, 20, 2000
	w := newWorld(rate, burst)
	moments := map[time.Time]bool{}
	for i := range crowd {
		wait := w.take(strconv.Itoa(i), Resync)
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
		wait := w.take("edit", Edit)
		for wait == 0 {
			wait = w.take("edit", Edit)
		}
		if most := 3 * time.Second / rate; wait > most {
			t.Fatalf("an edit at the head of the line is to come back after %v, want %v at most", wait, most)
		}
		w.now = w.now.Add(wait)
		if wait := w.take("edit", Edit); wait > 0 {
			t.Fatalf("an edit that came back when told has to wait for another %v", wait)
		}
		w.now = w.now.Add(7 * time.Millisecond)
	}
}

// A token for a place that was given up would be a call that nobody makes.
func TestWhoAsksForMoreGivesUpTheOldPlace(t *testing.T) {
	const rate, each = 10, 20
	w := newWorld(rate, 1)
	w.take("first", Resync)
	due, priority := map[string]time.Time{}, map[string]Priority{}
	ask := func(id string, p Priority) {
		wait := w.take(id, p)
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
	w.take("first", Edit)
	wait := w.take("read-back", Finish)
	for i := range 10 {
		w.take(fmt.Sprint("edit", i), Edit)
	}
	w.now = w.now.Add(wait)
	if wait := w.take("read-back", Edit); wait != 0 {
		t.Errorf("the rest of a pass waits another %v behind edits", wait)
	}
}

// TestNeverMoreThanABurstAboveTheRate: whoever asks, comes back late or never, and
// whatever becomes of the calls.
func TestNeverMoreThanABurstAboveTheRate(t *testing.T) {
	all := 0.
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		limit := []float64{0.5, 7, 10, 300}[random.IntN(4)]
		burst := 1 + random.IntN(30)
		w := newWorld(limit, burst)
		begun := w.now
		least, most, calls, underWay := 0., 0., 0., 0
		for range 5000 {
			w.now = w.now.Add(time.Duration(random.ExpFloat64() / limit / 3 * float64(time.Second)))
			if random.IntN(200) == 0 {
				w.now = w.now.Add(time.Duration(random.IntN(100)) * time.Second)
			}
			if underWay > 0 && random.IntN(500) == 0 {
				w.g.Done(Throttled, time.Duration(random.IntN(3))*time.Second)
				underWay--
			}
			a := Asker{ID: strconv.Itoa(random.IntN(100)), Tenant: strconv.Itoa(random.IntN(5)), Priority: Priority(random.IntN(3))}
			if wait, _ := w.g.Take(a); wait == 0 {
				underWay++
				allowed := limit * w.now.Sub(begun).Seconds()
				least = min(least, calls-allowed)
				calls++
				most = max(most, calls-allowed-least)
			}
			for underWay > 0 && random.IntN(3) > 0 {
				w.g.Done(Outcome(2*random.IntN(2)), 0) // answered or lost
				underWay--
			}
		}
		if most > float64(burst)+1e-3 {
			t.Errorf("seed %d: %.3f calls above a rate of %g in some span of time, with a burst of %d", seed, most, limit, burst)
		}
		all += calls
	}
	if all < 20000 {
		t.Errorf("only %g calls", all)
	}
}

// TestWhoComesBackWhenToldFindsItsToken, and so does who is a little late.
func TestWhoComesBackWhenToldFindsItsToken(t *testing.T) {
	const limit, burst, jobs = 10, 20, 2000
	random := rand.New(rand.NewPCG(1, 2))
	w := newWorld(limit, burst)
	var queue heapOf[event]
	at := w.now
	for i := range jobs {
		at = at.Add(time.Duration(random.ExpFloat64() / limit * float64(time.Second)))
		queue.push(event{at: at, asker: Asker{ID: strconv.Itoa(i)}})
	}
	asked := map[string]int{}
	for len(queue) > 0 {
		e := queue.pop()
		w.now = later(w.now, e.at)
		asked[e.asker.ID]++
		if wait, _ := w.g.Take(e.asker); wait > 0 {
			late := time.Duration(random.Int64N(int64(time.Second)))
			queue.push(event{at: w.now.Add(wait + late), asker: e.asker})
			continue
		}
		w.g.Done(Answered, 0)
	}
	waited, again := 0, 0
	for _, n := range asked {
		if n > 1 {
			waited++
		}
		if n > 2 {
			again++
		}
	}
	if waited < jobs/4 {
		t.Fatalf("only %d of %d had to wait", waited, jobs)
	}
	if again > 0 {
		t.Errorf("%d of %d who came back when told, or within a second, found no token", again, waited)
	}
}
