package account

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// scripted is a source whose answers the test chooses.
type scripted struct {
	now   func() time.Time
	life  time.Duration // of what it hands out; 0: for ever
	delay time.Duration // in the time of a synctest bubble

	mu      sync.Mutex
	fetches int
	err     error
}

func (s *scripted) fetch(ctx context.Context) (ecs.Temporary, error) {
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return ecs.Temporary{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	if s.err != nil {
		return ecs.Temporary{}, s.err
	}
	fresh := ecs.Temporary{Credential: ecs.Credential{AccessKeyID: fmt.Sprint("key-", s.fetches), AccessKeySecret: keySecret}}
	if s.life != 0 {
		fresh.Expiration = s.now().Add(s.life)
	}
	return fresh, nil
}

func (s *scripted) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func newScripted(life time.Duration) (*session, *scripted, *clock) {
	c := newClock()
	source := &scripted{now: c.Now, life: life}
	return newSession(source, time.Minute, c.Now, nil), source, c
}

// wantKey asks the session and checks which of the source's keys it gives.
func wantKey(t *testing.T, s *session, fetch int) ecs.Credential {
	t.Helper()
	got, err := s.Credential(t.Context(), region)
	if want := fmt.Sprint("key-", fetch); err != nil || got.AccessKeyID != want {
		t.Fatalf("got %s, %v; want %s", got.AccessKeyID, err, want)
	}
	return got
}

func TestManyFirstAskersMakeOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, source, _ := newScripted(time.Hour)
		source.delay = time.Second
		var askers sync.WaitGroup
		for range 1000 {
			askers.Go(func() {
				if got, err := s.Credential(t.Context(), region); err != nil || got.AccessKeyID != "key-1" {
					t.Errorf("got %s, %v", got.AccessKeyID, err)
				}
			})
		}
		askers.Wait()
		if n := source.count(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestRenewedBeforeItsEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ life, renewed time.Duration }{
		{12 * time.Hour, 12*time.Hour - 10*time.Minute},
		{time.Hour, 50 * time.Minute},
		{20 * time.Minute, 10 * time.Minute},
		{15 * time.Minute, 15 * time.Minute / 2},
		{time.Minute, 30 * time.Second},
	} {
		t.Run(tt.life.String(), func(t *testing.T) {
			t.Parallel()
			s, _, c := newScripted(tt.life)
			wantKey(t, s, 1)
			c.Advance(tt.renewed - time.Millisecond)
			wantKey(t, s, 1)
			c.Advance(time.Millisecond)
			wantKey(t, s, 2)
			c.Advance(tt.renewed - time.Millisecond)
			wantKey(t, s, 2)
		})
	}
}

func TestAPermanentKeyIsFetchedOnce(t *testing.T) {
	t.Parallel()
	s, _, c := newScripted(0)
	wantKey(t, s, 1)
	c.Advance(1000 * time.Hour)
	wantKey(t, s, 1)
}

func TestTheOldOneHoldsWhileRenewalFails(t *testing.T) {
	t.Parallel()
	s, source, c := newScripted(time.Hour)
	wantKey(t, s, 1)
	source.fail(errors.New("the token service is away"))
	c.Advance(50 * time.Minute)
	for half := range 20 { // the ten minutes before its end
		wantKey(t, s, 1)
		wantKey(t, s, 1)
		if n := source.count(); n != 2+half {
			t.Fatalf("%d fetches after %d renewals, want one try in %v", n, half+1, refreshPause)
		}
		c.Advance(refreshPause)
	}
	if got, err := s.Credential(t.Context(), region); err == nil || err.Error() != "the token service is away" || got != (ecs.Credential{}) {
		t.Errorf("after its end: %v, %v; want the failure", got.AccessKeyID, err)
	}
	source.fail(nil)
	c.Advance(breakerPause)
	if _, err := s.Credential(t.Context(), region); err != nil {
		t.Errorf("the token service is back: %v", err)
	}
}

func TestARenewalThatFailedOnceIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	s, source, c := newScripted(time.Hour)
	wantKey(t, s, 1)
	source.fail(errors.New("away"))
	c.Advance(50 * time.Minute)
	wantKey(t, s, 1)
	source.fail(nil)
	wantKey(t, s, 1)
	c.Advance(refreshPause)
	wantKey(t, s, 3)
}

func TestWhoGivesUpGetsAwayAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, source, _ := newScripted(time.Hour)
		source.delay = time.Second
		hasty, leave := context.WithCancel(t.Context())
		var askers sync.WaitGroup
		askers.Go(func() {
			began := time.Now()
			if _, err := s.Credential(hasty, region); !errors.Is(err, context.Canceled) || time.Since(began) != 0 {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
		synctest.Wait()
		// Who asked first does not take the fetch with him.
		askers.Go(func() {
			if _, err := s.Credential(t.Context(), region); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		leave()
		askers.Wait()
		if n := source.count(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
		if _, err := s.Credential(hasty, region); err != nil {
			t.Errorf("what is there needs no waiting: %v", err)
		}
	})
}

func TestAFetchHasATimeLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, source, _ := newScripted(time.Hour)
		source.delay = time.Hour
		began := time.Now()
		_, err := s.Credential(t.Context(), region)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v; want a minute", time.Since(began), err)
		}
	})
}

func TestWhoAskedJustBeforeAFetchEndedDoesNotFetchAgain(t *testing.T) {
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
