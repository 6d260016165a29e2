package ratelimit

import (
	"strconv"
	"testing"
	"time"
)

// BenchmarkTake is what the governor adds to a call: a turn and its Done, in
// simulated time, at 100 calls per second and a limit that they just do not reach.
func BenchmarkTake(b *testing.B) {
	const limit, step = 100, 10 * time.Millisecond
	take := func(w *world, id string) (wait time.Duration) {
		if wait, _ = w.g.Take(id, Resync); wait == 0 {
			w.g.Done(Answered, 0)
		}
		return wait
	}

	b.Run("free", func(b *testing.B) {
		w := newWorld(limit, limit)
		b.ReportAllocs()
		for b.Loop() {
			if take(w, "sg-1") > 0 {
				b.Fatal("no turn, although nobody else asks")
			}
			w.now = w.now.Add(step)
		}
	})

	// The one whose turn it is comes back for it, and queues up anew: the line
	// stays as long as it is. Every second it is searched for those who are gone.
	b.Run("10000-waiting", func(b *testing.B) {
		w := newWorld(limit, 1)
		ids := make([]string, 10001)
		for i := range ids {
			ids[i] = "sg-" + strconv.Itoa(i)
			take(w, ids[i])
		}
		b.ReportAllocs()
		asked, turns := 0, 0
		for b.Loop() {
			w.now = w.now.Add(step)
			id := ids[1+asked%10000]
			asked++
			if take(w, id) == 0 {
				turns++
				take(w, id)
			}
		}
		if turns < asked*9/10 {
			b.Fatalf("%d turns for %d who came back when it was theirs", turns, asked)
		}
	})
}
