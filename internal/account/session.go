package account

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// source fetches a credential, from wherever it comes. A zero expiration means
// that it does not end by itself.
type source interface {
	fetch(ctx context.Context) (ecs.Temporary, error)
}

const (
	// refreshBefore is how long before its end a credential is renewed, or half of
	// what is left if that is less, so that a short session is not renewed all the
	// time.
	refreshBefore = 10 * time.Minute
	// refreshPause is how long a failed renewal is not tried again while the old
	// credential still holds.
	refreshPause = 30 * time.Second
	// breakerPause is how long nothing is sent with a credential that was refused,
	// nor fetched where fetching failed: then one request tries again.
	breakerPause = 30 * time.Second
	// breakerLimit is how many refusals in a row open the breaker: a few, so that
	// one resource whose user asks again and again is not answered from memory.
	breakerLimit = 5
)

// session keeps the credential of one source fresh: one fetch at a time however
// many ask, renewed before it ends, the old one used until its end when a renewal
// fails. It is a circuit breaker too: a credential that is refused is not tried
// by every resource of its account.
type session struct {
	source  source
	timeout time.Duration
	now     func() time.Time
	// changed is told of the first refusal, and of its end. It must not block.
	changed func()
	flight  singleflight.Group

	mu      sync.Mutex
	held    ecs.Temporary
	renewAt time.Time
	refused error     // the last refusal, until the credential is accepted
	times   int       // refusals in a row; from breakerLimit on the breaker is open
	tryAt   time.Time // when the next one may try, while it is
}

func newSession(s source, timeout time.Duration, now func() time.Time, changed func()) *session {
	return &session{source: s, timeout: timeout, now: now, changed: changed}
}

// Credential implements ecs.CredentialSource.
func (s *session) Credential(ctx context.Context) (ecs.Credential, error) {
	held, valid, err := s.present()
	if err != nil {
		return ecs.Credential{}, err
	}
	if valid {
		return held, nil
	}
	// The fetch is not the asker's own: others wait for it too, so that its time
	// limit holds and not the asker's.
	done := s.flight.DoChan("", func() (any, error) {
		fetch, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		return s.renew(fetch)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return ecs.Credential{}, r.Err
		}
		return r.Val.(ecs.Credential), nil
	case <-ctx.Done():
		return ecs.Credential{}, ctx.Err()
	}
}

// probe is Credential for the one who is to find out whether the credential works
// again: it is not held back by the breaker.
func (s *session) probe(ctx context.Context) (ecs.Credential, error) {
	s.mu.Lock()
	s.tryAt = time.Time{}
	s.mu.Unlock()
	return s.Credential(ctx)
}

// present is the credential held, if it can be used without asking its source.
func (s *session) present() (held ecs.Credential, usable bool, err error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times >= breakerLimit {
		if now.Before(s.tryAt) {
			return ecs.Credential{}, false, s.refused
		}
		s.tryAt = now.Add(breakerPause) // this one tries; the others wait for it
	}
	return s.held.Credential, s.alive(now) && (s.renewAt.IsZero() || now.Before(s.renewAt)), nil
}

func (s *session) alive(now time.Time) bool {
	return s.held.AccessKeyID != "" && (s.held.Expiration.IsZero() || now.Before(s.held.Expiration))
}

func (s *session) renew(ctx context.Context) (ecs.Credential, error) {
	// Somebody else's fetch may have ended since this one was asked for.
	if held, usable, err := s.present(); err == nil && usable {
		return held, nil
	}
	fresh, err := s.source.fetch(ctx)
	now := s.now()
	if err == nil && !fresh.Expiration.IsZero() && !now.Before(fresh.Expiration) {
		err = errors.New("the credentials that were handed out have expired already: is the clock right?")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.alive(now) {
		s.renewAt = now.Add(refreshPause)
		return s.held.Credential, nil
	}
	if err != nil {
		s.open(now, err)
		return ecs.Credential{}, err
	}
	s.held, s.renewAt = fresh, time.Time{}
	if !fresh.Expiration.IsZero() {
		s.renewAt = fresh.Expiration.Add(-min(refreshBefore, fresh.Expiration.Sub(now)/2))
	}
	return fresh.Credential, nil
}

// Judge implements ecs.CredentialSource.
func (s *session) Judge(used ecs.Credential, failure *ecs.Error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case used != s.held.Credential:
		// It was renewed meanwhile: this says nothing of the present one.
	case failure.RefusesCredential():
		if !s.held.Expiration.IsZero() {
			s.held = ecs.Temporary{} // the source may have a better one
		}
		s.open(now, failure)
	case s.refused != nil && (failure == nil || failure.HTTPStatus != 0 && failure.Code != ecs.CodeInvalidResponse):
		s.refused, s.times = nil, 0
		s.tell()
	}
}

// open counts a refusal, and keeps everybody from trying for a while when there
// are many. The caller holds the lock.
func (s *session) open(now time.Time, err error) {
	first := s.refused == nil
	s.times++
	s.refused, s.tryAt = err, now.Add(breakerPause)
	if e, ok := errors.AsType[*ecs.Error](err); ok && (e.Class == ecs.Unavailable || e.Class == ecs.Throttled) {
		s.tryAt = now.Add(breakerPause / 10) // it may pass: a timeout of the token service
	}
	if first {
		s.tell()
	}
}

func (s *session) tell() {
	if s.changed != nil {
		s.changed()
	}
}
