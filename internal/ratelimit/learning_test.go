package ratelimit

import (
	"fmt"
	"testing"
	"time"
)

func TestLearnsARateTenTimesLowerThanConfigured(t *testing.T) {
	for _, rate := range []float64{3, 5, 20, 100} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			w := newWorld(10*rate, int(20*rate))
			jobs := int(max(600*rate, 1200))
			good, refused, took := w.converge(crowd{callers: min(jobs, 4000), workers: 16, grant: perSecond(&rate)}, time.Hour)
			useful := float64(good) / took.Seconds() / rate
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

// TestAnHourBelowATenthOfTheConfiguredRate: what holds in the first minute goes on.
func TestAnHourBelowATenthOfTheConfiguredRate(t *testing.T) {
	rate := 10.
	for name, grant := range map[string]func(time.Time) bool{
		"sliding second": slidingSecond(&rate), "bucket": perSecond(&rate), "minute": minuteOf(&rate),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(100, 200)
			good, refused, took := w.converge(crowd{callers: 100, workers: 16, tenants: 10, endless: true, grant: grant}, time.Hour)
			used, share := float64(good)/rate/took.Seconds(), float64(refused)/float64(good+refused)
			t.Logf("used %.1f %%, refused %.2f %%", 100*used, 100*share)
			if used < 0.9 || share > 0.01 {
				t.Errorf("used %.1f %%, refused %.1f %%; want 90 %% at least, and 1 %% at most", 100*used, 100*share)
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
	good, refused, _ := w.converge(crowd{callers: 1200, workers: 16, grant: grant}, 10*time.Minute)
	if good != 1200 {
		t.Fatalf("%d of 1200 done in 10 minutes, at least 5 of which grant 300", good)
	}
	if share := float64(refused) / float64(good+refused); share > 0.03 {
		t.Errorf("%.1f %% of the answers were refusals (%d)", 100*share, refused)
	}
}

// TestOtherToolsComeAndGo: another tool takes nine tenths of the quota for ten minutes.
func TestOtherToolsComeAndGo(t *testing.T) {
	for name, grants := range map[string]func(rate *float64) func(time.Time) bool{
		"sliding second": slidingSecond, "bucket": perSecond,
	} {
		t.Run(name, func(t *testing.T) {
			rate := 20.
			quota := grants(&rate)
			w := newWorld(200, 400)
			begun := w.now
			var perMinute [30]int
			good, refused, _ := w.converge(crowd{callers: 200, workers: 16, endless: true, grant: func(now time.Time) bool {
				at := now.Sub(begun)
				rate = 20
				if at >= 10*time.Minute && at < 20*time.Minute {
					rate = 2
				}
				granted := quota(now)
				if granted {
					perMinute[min(at/time.Minute, 29)]++
				}
				return granted
			}}, 30*time.Minute)
			t.Log(perMinute, good, refused)
			for minute, n := range perMinute {
				granted := 1200
				if minute >= 10 && minute < 20 {
					granted = 120
				}
				settled := minute%10 >= 3
				if settled && float64(n) < 0.9*float64(granted) {
					t.Errorf("minute %d: %d of %d used, three minutes after the change", minute, n, granted)
				}
			}
			if share := float64(refused) / float64(good+refused); share > 0.01 {
				t.Errorf("%.1f %% of the calls were refused", 100*share)
			}
		})
	}
}

func TestALongRetryAfterIsHonoured(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{4 * time.Minute: 4 * time.Minute, time.Hour: 5 * time.Minute} {
		w := newWorld(10, 5)
		w.take("a", Edit)
		w.g.Done(Throttled, asked)
		if wait := w.take("a", Edit); wait < want || wait > want+time.Second {
			t.Errorf("asked for %v: waits %v, want %v", asked, wait, want)
		}
		w.now = w.now.Add(want - time.Millisecond)
		if wait := w.take("b", Finish); wait == 0 {
			t.Errorf("asked for %v: a call %v after the refusal", asked, want-time.Millisecond)
		}
		w.now = w.now.Add(10 * time.Second)
		if wait := w.take("b", Finish); wait != 0 {
			t.Errorf("asked for %v: no probe after %v", asked, want)
		}
	}
}

// TestOneProbeAtATime: whatever is still under way, and whatever becomes of it.
func TestOneProbeAtATime(t *testing.T) {
	w := newWorld(100, 20)
	w.now = w.now.Add(time.Second)
	for i := range 10 {
		if wait := w.take(fmt.Sprint(i), Edit); wait != 0 {
			t.Fatal("the bucket is not full after a second")
		}
	}
	w.g.Done(Throttled, 0)
	w.now = w.now.Add(5 * time.Second)
	if w.take("probe", Edit) == 0 {
		t.Error("a probe while nine calls are under way: whose outcome comes next?")
	}
	for range 9 {
		w.g.Done(Answered, 0)
	}
	w.now = w.now.Add(time.Second)
	ask := func() (calls int) {
		for i := range 10 {
			if w.take(fmt.Sprint("waits", i), Edit) == 0 {
				calls++
			}
		}
		return calls
	}
	for _, o := range []Outcome{Lost, Throttled, Answered} {
		if n := ask(); n != 1 {
			t.Fatalf("%d calls at once before a probe was answered", n)
		}
		if n := ask(); n != 0 {
			t.Fatalf("%d calls while a probe is under way", n)
		}
		for i := range 10 {
			if wait := w.take(fmt.Sprint("waits", i), Edit); wait < maxBeat {
				t.Errorf("asks again after %v while a probe is under way", wait)
			}
		}
		w.g.Done(o, 0)
		w.now = w.now.Add(30 * time.Second)
	}
	for range 2 { // the first is under way when the second goes
		if n := ask(); n < 1 {
			t.Error("no call after the probe was answered")
		}
		w.now = w.now.Add(5 * time.Second)
	}
}

func TestALostCallSaysNothingAboutTheRate(t *testing.T) {
	w := newWorld(10, 20)
	calls := 0
	for begun := w.now; w.now.Sub(begun) < time.Minute; w.now = w.now.Add(10 * time.Millisecond) {
		if w.take("a", Edit) == 0 {
			calls++
			w.g.Done(Lost, 0)
		}
	}
	if calls < 600-10 {
		t.Errorf("%d calls in a minute at 10 per second, all of them lost", calls)
	}
}

// TestABucketIsNotTakenForARate: what it held is lent, and not granted every second.
func TestABucketIsNotTakenForARate(t *testing.T) {
	for _, rate := range []float64{30, 50, 70} {
		w := newWorld(100, 200)
		good, refused, took := w.converge(crowd{callers: 1600, workers: 16, endless: true, grant: perSecond(&rate)}, time.Minute)
		if used := float64(good) / rate / (took.Seconds() + 1); refused > 3 || used < 0.9 {
			t.Errorf("%g of 100 per second granted: %d refusals before the rate was found, %.3f used", rate, refused, used)
		}
	}
}

// TestAQuotaByTheMinuteIsSpreadOverIt: who asks late in a minute finds some of it left.
func TestAQuotaByTheMinuteIsSpreadOverIt(t *testing.T) {
	rate := 10.
	quota := minuteOf(&rate)
	w := newWorld(100, 200)
	begun := w.now
	var last time.Time
	var longest time.Duration
	w.converge(crowd{callers: 200, workers: 16, endless: true, grant: func(now time.Time) bool {
		granted := quota(now)
		if granted {
			if now.Sub(begun) > 2*time.Minute {
				longest = max(longest, now.Sub(last))
			}
			last = now
		}
		return granted
	}}, time.Hour)
	if longest > 30*time.Second {
		t.Errorf("nothing was granted for %v", longest)
	}
}

func TestCallsGoOnWhenTheMinuteTurns(t *testing.T) {
	rate := 10.
	quota := minuteOf(&rate)
	w := newWorldAt(20*time.Second, 100, 200)
	turn := w.now.Truncate(time.Minute).Add(time.Minute)
	var first time.Time
	w.converge(crowd{callers: 1600, workers: 16, grant: func(now time.Time) bool {
		granted := quota(now)
		if granted && first.IsZero() && !now.Before(turn) {
			first = now
		}
		return granted
	}}, time.Minute)
	if late := first.Sub(turn); first.IsZero() || late > 100*time.Millisecond {
		t.Errorf("the first call came %v after the minute turned", late)
	}
}

// TestAMinuteThatTurnsALittleLater, because the clocks differ, costs no other minute.
func TestAMinuteThatTurnsALittleLater(t *testing.T) {
	w := newWorldAt(20*time.Second, 100, 200)
	turn := w.now.Truncate(time.Minute).Add(time.Minute + 3*time.Second)
	var first time.Time
	w.converge(crowd{callers: 200, workers: 16, grant: func(now time.Time) bool {
		granted := !now.Before(turn)
		if granted && first.IsZero() {
			first = now
		}
		return granted
	}}, 2*time.Minute)
	if late := first.Sub(turn); first.IsZero() || late > 4*time.Second {
		t.Errorf("the first call came %v after the quota was there", late)
	}
}

// TestFewCallsTeachNoRateOfZero: nor does what came long ago.
func TestFewCallsTeachNoRateOfZero(t *testing.T) {
	// After is how long until the next call, once the probe was answered.
	after := func(w *world) (waited time.Duration) {
		begun := w.now
		for {
			wait := w.take("next", Edit)
			if wait == 0 {
				return w.now.Sub(begun)
			}
			w.now = w.now.Add(wait)
		}
	}
	probe := func(w *world, o Outcome) {
		t.Helper()
		if late := after(w); late > 100*time.Millisecond {
			t.Errorf("the probe came %v late", late)
		}
		w.g.Done(o, 0)
	}

	w := newWorldAt(0, 10, 5)
	w.take("a", Edit)
	w.g.Done(Throttled, 0)
	w.now = w.now.Add(time.Second)
	probe(w, Answered)
	if waited := after(w); waited > 1200*time.Millisecond {
		t.Errorf("the very first call was refused: the next after %v", waited)
	}

	w = newWorldAt(0, 10, 5)
	w.take("a", Edit)
	w.g.Done(Answered, 0)
	w.now = w.now.Add(10 * time.Second)
	w.take("a", Edit)
	w.g.Done(Throttled, 0)
	w.now = w.now.Add(time.Second)
	probe(w, Throttled)
	w.now = w.now.Truncate(time.Minute).Add(time.Minute)
	probe(w, Answered)
	if waited := after(w); waited > patience+time.Second {
		t.Errorf("one call was granted in a minute: the next after %v", waited)
	}

	w = newWorldAt(0, 100, 50)
	for range 100 {
		after(w)
		w.g.Done(Answered, 0)
	}
	w.now = w.now.Add(time.Hour)
	w.take("a", Edit)
	w.g.Done(Throttled, 0)
	w.now = w.now.Add(time.Second)
	probe(w, Answered)
	if waited := after(w); waited < 15*time.Millisecond || waited > 100*time.Millisecond {
		t.Errorf("a single refusal takes away half, whatever was an hour ago: the next call after %v", waited)
	}
}

// TestALearntRateIsNotExceededByABurst of those who come after a pause.
func TestALearntRateIsNotExceededByABurst(t *testing.T) {
	rate := 20.
	c := crowd{callers: 400, workers: 64, grant: slidingSecond(&rate)}
	w := newWorld(200, 400)
	w.converge(c, time.Minute)
	w.now = w.now.Add(10 * time.Second)
	if _, refused, _ := w.converge(c, 10*time.Second); refused > 0 {
		t.Errorf("%d calls of a crowd were refused, although the rate is known", refused)
	}
}

// TestALearntRateKeepsNobodyAwayForLong, since it may have risen meanwhile.
func TestALearntRateKeepsNobodyAwayForLong(t *testing.T) {
	rate := 1.
	w := newWorld(100, 200)
	w.converge(crowd{callers: 20, workers: 16, grant: slidingSecond(&rate)}, time.Minute)
	for i := range 1000 {
		best := time.Duration(i+1) * time.Second / 100
		if wait := w.take(fmt.Sprint("waits", i), Resync); wait > best+16*time.Second {
			t.Fatalf("with %d before it, one is to come back after %v", i, wait)
		}
	}
}

// A process that has just begun, or has little to do, learns next to nothing from one
// refusal: others may have used the quota up.
func TestOneRefusalOfTheFirstCallTakesAwayHalfAtMost(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	g := New(50, 10, func() time.Time { return now })
	take := func() bool {
		wait, _ := g.Take(Asker{ID: "a"})
		return wait == 0
	}
	for !take() {
		now = now.Add(10 * time.Millisecond)
	}
	g.Done(Throttled, 0)
	now = now.Add(2 * time.Second)
	for !take() { // the probe
		now = now.Add(10 * time.Millisecond)
	}
	g.Done(Answered, 0)
	sent := 0
	for end := now.Add(10 * time.Second); now.Before(end); now = now.Add(10 * time.Millisecond) {
		for take() {
			g.Done(Answered, 0)
			sent++
		}
	}
	if sent < 200 {
		t.Errorf("%d calls in 10 seconds, at a limit of 50 in one", sent)
	}
}
