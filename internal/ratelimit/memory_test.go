package ratelimit

import (
	"strconv"
	"testing"
	"time"
)

func TestNothingIsKeptOfThoseWhoAreServed(t *testing.T) {
	w := newWorld(100, 20)
	most := 0
	for i := range 20000 {
		a := Asker{ID: strconv.Itoa(i), Tenant: strconv.Itoa(i % 700), Priority: Priority(i % 3)}
		for {
			wait, _ := w.g.Take(a)
			if wait == 0 {
				w.g.Done(Answered, 0)
				break
			}
			if i%10 == 0 { // never comes back
				break
			}
			w.now = w.now.Add(wait)
		}
		kept := len(w.g.tickets) + len(w.g.dues)
		for p := range w.g.lines {
			l := &w.g.lines[p]
			kept += len(l.tenants) + len(l.rounds) + len(l.sizes)
		}
		most = max(most, kept)
	}
	w.now = w.now.Add(time.Minute)
	w.g.Take(Asker{ID: "last"})
	if n := len(w.g.tickets) + len(w.g.dues) + len(w.g.lines[Edit].tenants); n > 0 {
		t.Errorf("%d entries are left when nobody waits", n)
	}
	// A tenth does not come back, and is forgotten after ten seconds and its wait.
	if most > 2000 {
		t.Errorf("%d entries at a time", most)
	}
}

func TestNothingIsKeptOfRoundsThatAreOver(t *testing.T) {
	w := newWorld(100, 20)
	d := newDrive(w)
	d.again = true
	for i := range 100 {
		d.ask(Asker{ID: strconv.Itoa(i), Tenant: strconv.Itoa(i % 3), Priority: Resync})
	}
	d.until(w.now.Add(10 * time.Minute))
	if l := &w.g.lines[Resync]; len(l.rounds) > 2*l.waiting || len(l.sizes) != len(l.rounds) || l.waiting < 90 {
		t.Errorf("%d rounds, and %d sizes, of %d who wait", len(l.rounds), len(l.sizes), l.waiting)
	}
}

func TestIdleOnlyWhenNothingWouldBeLost(t *testing.T) {
	w := newWorld(10, 1)
	idle := func(want bool, when string) {
		t.Helper()
		if got := w.g.Idle(); got != want {
			t.Errorf("%s: idle %t", when, got)
		}
	}
	idle(true, "new")
	w.take("a", Edit)
	idle(false, "a call is under way")
	w.g.Done(Answered, 0)
	w.now = w.now.Add(time.Second)
	idle(true, "it was answered")
	w.take("a", Edit)
	w.take("b", Edit)
	w.g.Done(Answered, 0)
	w.now = w.now.Add(time.Second)
	idle(false, "another waits")
	w.take("b", Edit)
	w.g.Done(Throttled, 0)
	w.now = w.now.Add(30 * time.Second)
	idle(false, "a call was refused")
	w.take("b", Edit)
	w.g.Done(Answered, 0)
	w.now = w.now.Add(30 * time.Second)
	idle(false, "a rate was learnt")
	w.now = w.now.Add(10 * time.Minute)
	idle(true, "it has grown up to the configured one")
}
