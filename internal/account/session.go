package account

import (
	"context"
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
	// refreshBefore is how long before its end a credential is renewed; half of
	// what is left at most, so that a short session is not renewed all the time.
	refreshBefore = 10 * time.Minute
	// refreshPause is how long a failed renewal is not tried again while the old
	// credential still holds.
	refreshPause = 30 * time.Second
)

// session keeps the credential of one source fresh: one fetch at a time however
// many ask, renewed before it ends, the old one used until its end when a renewal
// fails.
type session struct {
	source  source
	timeout time.Duration
	now     func() time.Time
	flight  singleflight.Group

	mu      sync.Mutex
	held    ecs.Temporary
	renewAt time.Time
}

func newSession(s source, timeout time.Duration, now func() time.Time) *session {
	return &session{source: s, timeout: timeout, now: now}
}

// Credential implements ecs.CredentialSource.
func (s *session) Credential(ctx context.Context) (ecs.Credential, error) {
	now := s.now()
	s.mu.Lock()
	held, due := s.held, !s.renewAt.IsZero() && !now.Before(s.renewAt)
	s.mu.Unlock()
	valid := held.AccessKeyID != "" && (held.Expiration.IsZero() || now.Before(held.Expiration))
	if valid && !due {
		return held.Credential, nil
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
			if valid {
				return held.Credential, nil
			}
			return ecs.Credential{}, r.Err
		}
		return r.Val.(ecs.Credential), nil
	case <-ctx.Done():
		if valid {
			return held.Credential, nil
		}
		return ecs.Credential{}, ctx.Err()
	}
}

func (s *session) renew(ctx context.Context) (ecs.Credential, error) {
	fresh, err := s.source.fetch(ctx)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.renewAt = now.Add(refreshPause)
		return ecs.Credential{}, err
	}
	s.held, s.renewAt = fresh, time.Time{}
	if !fresh.Expiration.IsZero() {
		s.renewAt = fresh.Expiration.Add(-min(refreshBefore, fresh.Expiration.Sub(now)/2))
	}
	return fresh.Credential, nil
}
