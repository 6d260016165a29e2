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
)

// session keeps the credential of one source fresh: one fetch at a time however
// many ask, renewed before it ends, the old one used until its end when a renewal
// fails. A source that fails is not asked by everybody, and a credential that is
// refused is not tried by everybody: see breaker.
type session struct {
	source  source
	timeout time.Duration
	now     func() time.Time
	// changed is told of the first refusal in a region, of the source's first failure,
	// and of its end. It must not block.
	changed func()
	flight  singleflight.Group

	mu      sync.Mutex
	held    ecs.Temporary
	renewAt time.Time
	breaker breaker

	failed error     // the source's last failure, until it has a credential
	times  int       // failures in a row; from breakerLimit on the source is left alone
	tryAt  time.Time // when the next one may ask it, then
}

func newSession(s source, timeout time.Duration, now func() time.Time, changed func()) *session {
	return &session{source: s, timeout: timeout, now: now, changed: changed}
}

// Credential implements ecs.CredentialSource.
func (s *session) Credential(ctx context.Context, region string) (ecs.Credential, error) {
	s.mu.Lock()
	refused := s.breaker.mayTry(region, s.now())
	s.mu.Unlock()
	if refused != nil {
		return ecs.Credential{}, refused
	}
	c, err := s.credential(ctx)
	if err != nil {
		s.Unused(region)
	}
	return c, err
}

// Unused implements ecs.CredentialSource.
func (s *session) Unused(region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breaker.giveBack(region)
}

// credential is Credential wherever it is used.
func (s *session) credential(ctx context.Context) (ecs.Credential, error) {
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

// probe is for the one who is to find out whether the credential works again: nothing
// holds it back.
func (s *session) probe(ctx context.Context) (ecs.Credential, error) {
	s.mu.Lock()
	s.tryAt = time.Time{}
	s.mu.Unlock()
	return s.credential(ctx)
}

// present is the credential held, if it can be used without asking its source.
func (s *session) present() (held ecs.Credential, usable bool, err error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times >= breakerLimit {
		if now.Before(s.tryAt) {
			return ecs.Credential{}, false, s.failed
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
		s.fail(now, err)
		return ecs.Credential{}, err
	}
	if s.failed != nil {
		s.failed, s.times = nil, 0
		s.tell()
	}
	s.held, s.renewAt = fresh, time.Time{}
	if !fresh.Expiration.IsZero() {
		s.renewAt = fresh.Expiration.Add(-min(refreshBefore, fresh.Expiration.Sub(now)/2))
	}
	return fresh.Credential, nil
}

// Judge implements ecs.CredentialSource.
func (s *session) Judge(region string, used ecs.Credential, failure *ecs.Error) {
	s.judge(used, failure, func(accepted bool) (news bool) {
		if accepted {
			return s.breaker.accept(region)
		}
		return s.breaker.refuse(region, s.now(), failure)
	})
}

// judgeByTokenService is Judge for a request to the token service, which knows whether
// a key is good at all. It is made by whoever shows what comes of it.
func (s *session) judgeByTokenService(used ecs.Credential, failure *ecs.Error) {
	s.judge(used, failure, func(accepted bool) (news bool) {
		switch {
		case accepted:
			s.breaker.acquit()
		case s.held != (ecs.Temporary{}): // else its source has another one
			s.breaker.condemn(s.now(), failure)
		}
		return false
	})
}

// judge notes what an answer says of the credential, if it says anything.
func (s *session) judge(used ecs.Credential, failure *ecs.Error, note func(accepted bool) (news bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := failure.RefusesCredential()
	answered := failure == nil || failure.HTTPStatus != 0 && failure.Code != ecs.CodeInvalidResponse
	if used != s.held.Credential || !refused && !answered {
		return // it was renewed meanwhile, or nobody knows what became of the request
	}
	if refused && !s.held.Expiration.IsZero() {
		s.held = ecs.Temporary{} // the source may have a better one
	}
	if note(!refused) {
		s.tell()
	}
}

// fail counts a failure of the source, and keeps everybody from asking it for a while
// when there are many. The caller holds the lock.
func (s *session) fail(now time.Time, err error) {
	first := s.failed == nil
	s.times++
	s.failed, s.tryAt = err, now.Add(breakerPause)
	if e, ok := errors.AsType[*ecs.Error](err); ok {
		s.failed = heldBack(e, afterFailure)
		if e.Class == ecs.Unavailable || e.Class == ecs.Throttled {
			s.tryAt = now.Add(breakerPause / 10) // it may pass: a timeout of the token service
		}
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
