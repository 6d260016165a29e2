package ratelimit

import (
	"testing"
	"time"
)

func TestLooksSpreadEvenlyHoweverTheyBegin(t *testing.T) {
	const interval = 10 * time.Minute
	perSlot := map[int]int{}
	for i := range 6000 {
		id := string(rune('a'+i%26)) + time.Duration(i).String()
		at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) // all created at once
		for range 6 {
			wait := Spread(id, at, interval)
			if wait < interval*3/4 || wait > interval*5/4 {
				t.Fatalf("waits %v of %v", wait, interval)
			}
			at = at.Add(wait)
		}
		if wait := Spread(id, at, interval); (wait - interval).Abs() > time.Millisecond {
			t.Fatalf("still moving by %v after six intervals", wait-interval)
		}
		perSlot[int(at.UnixNano()%int64(interval)/int64(interval/60))]++
	}
	for slot := range 60 {
		if n := perSlot[slot]; n < 50 || n > 150 {
			t.Errorf("%d of 6000 looks in one sixtieth of the interval", n)
		}
	}
}
