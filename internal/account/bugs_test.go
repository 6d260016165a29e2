package account

import (
	"testing"
	"time"
)

// The tests of this file fail: each names a bug that is not fixed yet.

func TestBUGWhoAskedJustBeforeAFetchEndedDoesNotFetchAgain(t *testing.T) {
	t.Parallel()
	s, source, _ := newScripted(time.Hour)
	wantKey(t, s, 1)
	// Such an asker has seen that there is none, and comes to the flight when it
	// has landed.
	if _, err := s.renew(t.Context()); err != nil {
		t.Error(err)
	}
	if n := source.count(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}
