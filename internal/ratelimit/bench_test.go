package ratelimit

import (
	"strconv"
	"testing"
	"time"
)

// BenchmarkTake is what the governor adds to a call: a token and its Done, in virtual
// time, at 100 calls per second and a limit that they just do not reach.
func BenchmarkTake(b *testing.B) {
	const limit, step = 100, 10 * time.Millisecond
	take := func(w *world, a Asker) (wait time.Duration) {
		if wait, _ = w.g.Take(a); wait == 0 {
			w.g.Done(Answered, 0)
		}
		return wait
	}

	b.Run("free", func(b *testing.B) {
		w := newWorld(limit, limit)
		b.ReportAllocs()
		for b.Loop() {
			if take(w, Asker{ID: "sg-1", Priority: Resync}) > 0 {
				b.Fatal("no token, although nobody else asks")
			}
			w.now = w.now.Add(step)
		}
	})

	// The one whose token is there comes back for it, and queues up anew: the line stays
	// as long as it is.
	for name, tenants := range map[string]int{"10000-waiting": 1, "10000-waiting-of-100-tenants": 100} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(limit, 1)
			askers := make([]Asker, 10001)
			for i := range askers {
				askers[i] = Asker{ID: "sg-" + strconv.Itoa(i), Tenant: strconv.Itoa(i % tenants), Priority: Resync}
				take(w, askers[i])
			}
			b.ReportAllocs()
			asked, calls := 0, 0
			for b.Loop() {
				w.now = w.now.Add(step)
				a := askers[1+asked%10000]
				asked++
				if take(w, a) == 0 {
					calls++
					take(w, a)
				}
			}
			if calls < asked*9/10 {
				b.Fatalf("%d tokens for %d who came back when theirs was there", calls, asked)
			}
		})
	}
}
