package ratelimit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestAColdStartBelowATenthOfTheConfiguredRate: 1,600 resources ask at once, and the
// other side grants a tenth of the configured rate, counted in whatever way. In the
// first minute, or until all are served, 90 % of what is granted is used, and 3 % of
// the calls are refused at most.
func TestAColdStartBelowATenthOfTheConfiguredRate(t *testing.T) {
	const minute = 60 * time.Second
	// Granted is how many of the calls that were wanted the other side would have
	// granted in a span of time.
	quotas := []struct {
		name    string
		begins  time.Duration // after the minute turned
		grant   func(rate *float64) func(time.Time) bool
		granted func(rate, wanted float64, took time.Duration) float64
	}{
		{"sliding second", 7 * time.Second, slidingSecond, func(rate, wanted float64, took time.Duration) float64 {
			return rate * took.Seconds()
		}},
		{"bucket of a second", 7 * time.Second, perSecond, func(rate, wanted float64, took time.Duration) float64 {
			return rate * (took.Seconds() + 1)
		}},
		{"minute, from its beginning", 0, minuteOf, perMinuteFrom(0)},
		{"minute, from its middle", minute / 2, minuteOf, perMinuteFrom(minute / 2)},
		{"minute, from its last quarter", minute * 3 / 4, minuteOf, perMinuteFrom(minute * 3 / 4)},
	}
	for _, q := range quotas {
		for _, flag := range []float64{1000, 200, 100} {
			for _, workers := range []int{16, 64} {
				for _, endless := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%g/%d workers/endless %t", q.name, flag, workers, endless), func(t *testing.T) {
						rate := flag / 10
						w := newWorldAt(q.begins, flag, int(2*flag))
						c := crowd{callers: 1600, workers: workers, tenants: 10, endless: endless, grant: q.grant(&rate)}
						if workers == 64 { // a refusal may overtake an answer
							c.jitter = rand.New(rand.NewPCG(1, 2))
						}
						good, refused, took := w.converge(c, minute-time.Millisecond)
						wanted := 1600.
						if endless {
							wanted = math.Inf(1)
						}
						used, share := float64(good)/q.granted(rate, wanted, took), float64(refused)/float64(good+refused)
						t.Logf("used %.1f %%, refused %.2f %%, %d calls in %v, asked %d times", 100*used, 100*share, good+refused, took, w.asked)
						if used < 0.9 || share > 0.03 {
							t.Errorf("used %.1f %% of what was granted, and %.1f %% of %d calls were refused; want 90 %% at least, and 3 %% at most",
								100*used, 100*share, good+refused)
						}
					})
				}
			}
		}
	}
}

// perMinuteFrom is what a quota by the minute grants, some time after a minute turned.
func perMinuteFrom(begins time.Duration) func(rate, wanted float64, took time.Duration) float64 {
	return func(rate, wanted float64, took time.Duration) float64 {
		minutes := 1 + (begins+took)/time.Minute
		return min(wanted, float64(minutes)*60*rate)
	}
}

func minuteOf(rate *float64) func(time.Time) bool {
	return perMinute(int(*rate*60), nothingEaten)
}
