package ecs

import (
	"testing"
	"time"
)

var (
	noAnswer = &Error{Code: CodeTimeout}
	givenUp  = &Error{Code: CodeCanceled}
)

var begun = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

func TestARegionHoldsUpAQuarterAndNoMore(t *testing.T) {
	r, now := newReach(2), begun
	first, _ := r.enter(now)
	second, _ := r.enter(now.Add(time.Second))
	if first == nil || second == nil {
		t.Fatal("there is room for two")
	}
	for after, want := range map[time.Duration]time.Duration{
		0: minRoom, 3 * time.Second: 3 * time.Second, time.Minute: maxRoom,
	} {
		if v, wait := r.enter(now.Add(after)); v != nil || wait != want {
			t.Errorf("after %v the third got %v, %v; want to come back in %v", after, v, wait, want)
		}
	}
	r.leave(first)
	if v, _ := r.enter(now); v == nil {
		t.Error("who leaves makes room")
	}
}

func TestOneCallAtATimeAsksARegionThatDoesNotAnswer(t *testing.T) {
	r, now := newReach(4), begun
	call := func(failure *Error) {
		t.Helper()
		v, wait := r.enter(now)
		if v == nil {
			t.Fatalf("not admitted, but told to come back in %v", wait)
		}
		r.note(v, failure, now)
		r.leave(v)
	}
	call(noAnswer)
	call(noAnswer)
	call(&Error{HTTPStatus: 500}) // these were not in a row
	for range silence {
		call(givenUp)
		call(noAnswer)
	}
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		pause *= time.Second
		if wait, silent := r.silent(now); !silent || wait != pause {
			t.Fatalf("silent %v, wait %v; want to be told to come back in %v", silent, wait, pause)
		}
		now = now.Add(pause)
		probe, _ := r.enter(now)
		if v, wait := r.enter(now); probe == nil || v != nil || wait != maxRoom {
			t.Fatalf("probe %v, and beside it %v, %v; want one probe", probe, v, wait)
		}
		r.note(probe, noAnswer, now)
		r.leave(probe)
	}
	now = now.Add(maxPause)
	gaveUp, _ := r.enter(now)
	r.leave(gaveUp) // for want of a credential: the next one asks
	call(nil)
	call(noAnswer)
	if _, silent := r.silent(now); silent {
		t.Error("an answer opens the region to all")
	}
}

// TestLateAnswersDoNotLengthenThePause is for the calls that were under way when the
// region was given up.
func TestLateAnswersDoNotLengthenThePause(t *testing.T) {
	r, now := newReach(6), begun
	var visits []*visit
	for range 6 {
		v, _ := r.enter(now)
		visits = append(visits, v)
	}
	for _, v := range visits[:5] {
		r.note(v, noAnswer, now)
		r.leave(v)
	}
	if wait, silent := r.silent(now); !silent || wait != firstPause {
		t.Errorf("silent %v, wait %v; want %v", silent, wait, firstPause)
	}
	r.note(visits[5], nil, now)
	r.leave(visits[5])
	if v, _ := r.enter(now); v == nil {
		t.Error("the answer to an older call opens the region too")
	}
}
