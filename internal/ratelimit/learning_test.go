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
