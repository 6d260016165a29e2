package account

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

func refusal() *ecs.Error {
	return &ecs.Error{Action: ecs.ActionObserve, Class: ecs.Denied, Code: "InvalidAccessKeyId.NotFound", HTTPStatus: 404}
}

const (
	resources = 1000
	workers   = 8 // as many calls can be under way when the first refusal comes
)

// everybody has each of a thousand resources observed once, by a few workers.
func everybody(t *testing.T, w *world) (failed int) {
	t.Helper()
	var (
		busy     sync.WaitGroup
		failures atomic.Int64
		work     = make(chan *v1alpha1.SecurityGroupPolicy)
	)
	for range workers {
		busy.Go(func() {
			for p := range work {
				if _, err := w.observe(t, p); err != nil {
					failures.Add(1)
					wantNoSecret(t, err)
				}
			}
		})
	}
	for range resources {
		work <- policy("prod", "sg-1")
	}
	close(work)
	busy.Wait()
	return int(failures.Load())
}

func TestARevokedKeyCostsAHandfulOfCalls(t *testing.T) {
	t.Parallel()
	key := ecssim.Key{ID: keyID, Secret: keySecret, Account: cloudAccount}
	revoked := key
	revoked.Inactive = true
	w := newWorld(t, worldOptions{objects: []client.Object{account("prod", withSecret), keySecretOf(keyID, keySecret)}})
	if failed := everybody(t, w); failed != 0 {
		t.Fatalf("%d failures with a good key", failed)
	}

	w.sim.PutKey(revoked)
	w.sim.ResetCalls()
	if failed := everybody(t, w); failed != resources {
		t.Errorf("%d failures, want %d", failed, resources)
	}
	if n := len(w.sim.Calls()); n < breakerLimit || n > breakerLimit+workers-1 {
		t.Errorf("%d calls, want %d to %d", n, breakerLimit, breakerLimit+workers-1)
	}
	if n := w.changes(); n != 1 {
		t.Errorf("told %d times that the key is refused", n)
	}
	w.sim.ResetCalls()
	for range 2 { // a minute
		w.clock.Advance(breakerPause - time.Millisecond)
		everybody(t, w)
		w.clock.Advance(time.Millisecond)
		everybody(t, w)
	}
	if n := len(w.sim.Calls()); n != 2 {
		t.Errorf("%d calls in a minute, want one in %v", n, breakerPause)
	}

	w.sim.PutKey(key)
	w.sim.ResetCalls()
	if failed := everybody(t, w); failed != resources || len(w.sim.Calls()) != 0 {
		t.Errorf("%d failures, %d calls before the next try", failed, len(w.sim.Calls()))
	}
	w.clock.Advance(breakerPause)
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
		t.Errorf("the key works again: %v", err)
	}
	if failed := everybody(t, w); failed != 0 {
		t.Errorf("%d failures with a good key", failed)
	}
}

func TestARevokedKeyOfOneAccountLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	other := keySecretOf(otherID, otherSecret)
	other.Name = "other"
	w := newWorld(t, worldOptions{objects: []client.Object{
		account("prod", withSecret), keySecretOf(keyID, wrongSecret), other,
		account("test", func(s *v1alpha1.ECSAccountSpec) {
			s.Credentials.SecretRef = &v1alpha1.SecretReference{Namespace: "sgp-system", Name: "other"}
		}),
	}})
	everybody(t, w)
	if _, err := w.observe(t, policy("test", "sg-2")); err != nil {
		t.Error(err)
	}
}

func TestTheKeysOfARoleAreRefused(t *testing.T) {
	t.Parallel()
	a := account("prod", withSecret, withRole(roleARN, "", 0))
	w := newWorld(t, worldOptions{objects: []client.Object{a, keySecretOf(keyID, wrongSecret)}})
	everybody(t, w)
	everybody(t, w)
	if n := len(w.sim.Calls()); n > breakerLimit+workers-1 {
		t.Errorf("%d calls, want %d at most", n, breakerLimit+workers-1)
	}
	_, err := w.observe(t, policy("prod", "sg-1"))
	wantFailure(t, err, ecs.Denied, "SignatureDoesNotMatch")
}

func TestCheckIsNotHeldBack(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edits []func(*v1alpha1.ECSAccountSpec)
		group string
		owner string
	}{
		"a key":                       {[]func(*v1alpha1.ECSAccountSpec){withSecret}, "sg-1", cloudAccount},
		"the key that assumes a role": {[]func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN, "", 0)}, "sg-2", otherAccount},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := account("prod", tt.edits...)
			w := newWorld(t, worldOptions{objects: []client.Object{a, keySecretOf(otherID, otherSecret)}})
			w.sim.DeleteKey(otherID)
			everybody(t, w)
			if _, err := w.Check(t.Context(), a); err == nil {
				t.Error("the check has found nothing")
			}
			w.sim.PutKey(ecssim.Key{ID: otherID, Secret: otherSecret, Account: cloudAccount})
			p := policy("prod", tt.group)
			if _, err := w.observe(t, p); err == nil {
				t.Error("a resource was not held back")
			}
			if id, err := w.Check(t.Context(), a); err != nil || id != tt.owner {
				t.Fatalf("got %q, %v", id, err)
			}
			if _, err := w.observe(t, p); err != nil {
				t.Errorf("the check has found that the key works: %v", err)
			}
		})
	}
}

// What a session is told of a request, and whether it says of the credential
// that nobody else need try.
func TestWhatOpensTheBreaker(t *testing.T) {
	t.Parallel()
	forbidden := &ecs.Error{Class: ecs.Denied, Code: "Forbidden.RAM", HTTPStatus: 403}
	for name, tt := range map[string]struct {
		answers []*ecs.Error
		open    bool
		told    int
	}{
		"nothing":                      {nil, false, 0},
		"answers":                      {[]*ecs.Error{nil, nil}, false, 0},
		"a few refusals":               {[]*ecs.Error{refusal(), refusal(), refusal(), refusal()}, false, 1},
		"refusals in a row":            {[]*ecs.Error{refusal(), refusal(), refusal(), refusal(), refusal()}, true, 1},
		"more of them":                 {[]*ecs.Error{refusal(), refusal(), refusal(), refusal(), refusal(), refusal()}, true, 1},
		"refusals and an answer":       {[]*ecs.Error{refusal(), refusal(), refusal(), refusal(), nil, refusal()}, false, 2},
		"refusals, then an answer":     {[]*ecs.Error{refusal(), refusal(), refusal(), refusal(), refusal(), nil}, false, 1},
		"missing permissions":          {[]*ecs.Error{forbidden, forbidden, forbidden, forbidden, forbidden, forbidden}, false, 0},
		"a permission, so a good key":  {[]*ecs.Error{refusal(), refusal(), refusal(), refusal(), refusal(), forbidden}, false, 1},
		"refusals and a lost answer":   {[]*ecs.Error{refusal(), refusal(), refusal(), refusal(), {Class: ecs.Unavailable, Code: ecs.CodeTimeout}, refusal()}, true, 1},
		"lost answers":                 {[]*ecs.Error{{Code: ecs.CodeTimeout}, {Code: ecs.CodeTimeout}, {Code: ecs.CodeTimeout}, {Code: ecs.CodeTimeout}, {Code: ecs.CodeTimeout}}, false, 0},
		"refusals for their number":    {[]*ecs.Error{{Class: ecs.Throttled, HTTPStatus: 400}, {Class: ecs.Throttled, HTTPStatus: 400}}, false, 0},
		"refusals of the client token": {[]*ecs.Error{{Class: ecs.TokenRejected, HTTPStatus: 400}, {Class: ecs.TokenRejected, HTTPStatus: 400}}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, c := newScripted(0)
			told := 0
			s.changed = func() { told++ }
			used := wantKey(t, s, 1)
			for _, answer := range tt.answers {
				s.Judge(region, used, answer)
			}
			for range 3 {
				if _, err := s.Credential(t.Context(), region); (err != nil) != tt.open {
					t.Errorf("open: %v, want %v", err, tt.open)
				}
			}
			if told != tt.told {
				t.Errorf("told %d times, want %d", told, tt.told)
			}
			// However it stands, one may try after the pause, and a good answer
			// makes an end of it.
			c.Advance(breakerPause)
			s.Judge(region, wantKey(t, s, 1), nil)
			wantKey(t, s, 1)
			wantKey(t, s, 1)
		})
	}
}

func TestOneTryInAPause(t *testing.T) {
	t.Parallel()
	s, _, c := newScripted(0)
	used := wantKey(t, s, 1)
	for range breakerLimit {
		s.Judge(region, used, refusal())
	}
	// Each letter is an asker after another third of the pause: t may try, . may
	// not. The try that is never judged counts as well.
	var got string
	for range 10 {
		c.Advance(breakerPause / 3)
		if _, err := s.Credential(t.Context(), region); err == nil {
			got += "t"
		} else {
			got += "."
			wantFailure(t, err, ecs.Denied, "InvalidAccessKeyId.NotFound")
		}
	}
	if want := "..t..t..t."; got != want {
		t.Errorf("tries %s, want %s", got, want)
	}
}

func TestAnOldCredentialSaysNothingOfTheNewOne(t *testing.T) {
	t.Parallel()
	s, _, c := newScripted(time.Hour)
	old := wantKey(t, s, 1)
	c.Advance(50 * time.Minute)
	present := wantKey(t, s, 2)
	for range 2 * breakerLimit {
		s.Judge(region, old, refusal())
	}
	wantKey(t, s, 2)
	for range breakerLimit - 1 {
		s.Judge(region, present, refusal()) // the first drops it, the others come late
	}
	s.Judge(region, old, nil)
	wantKey(t, s, 3)
}

func TestARefusedSessionIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	s, source, _ := newScripted(time.Hour)
	s.Judge(region, wantKey(t, s, 1), refusal())
	s.Judge(region, wantKey(t, s, 2), nil)
	wantKey(t, s, 2)
	// A source that hands out nothing but refused ones is left alone, too.
	for range resources {
		if got, err := s.Credential(t.Context(), region); err == nil {
			s.Judge(region, got, refusal())
		}
	}
	if n := source.count(); n != 1+breakerLimit {
		t.Errorf("%d fetches, want %d", n, 1+breakerLimit)
	}
}

func TestASourceThatFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err   error
		pause time.Duration
	}{
		"refused by the token service": {&ecs.Error{Class: ecs.Denied, Code: "EntityNotExist.Role", HTTPStatus: 404}, breakerPause},
		"without an answer":            {&ecs.Error{Class: ecs.Unavailable, Code: ecs.CodeTimeout}, breakerPause / 10},
		"for a reason of its own":      {errors.New("no token file"), breakerPause},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, source, c := newScripted(time.Hour)
			source.fail(tt.err)
			var fetches []int
			round := func() {
				for range resources {
					_, err := s.Credential(t.Context(), region)
					if want, ok := errors.AsType[*ecs.Error](tt.err); ok {
						wantFailure(t, err, want.Class, want.Code)
					} else if !errors.Is(err, tt.err) {
						t.Fatalf("got %v, want %v", err, tt.err)
					}
				}
				fetches = append(fetches, source.count())
			}
			round()
			c.Advance(tt.pause - time.Millisecond)
			round()
			c.Advance(time.Millisecond)
			round()
			if diff := cmp.Diff([]int{breakerLimit, breakerLimit, breakerLimit + 1}, fetches); diff != "" {
				t.Errorf("fetches (-want +got):\n%s", diff)
			}
			source.fail(nil)
			c.Advance(tt.pause)
			if _, err := s.Credential(t.Context(), region); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAProbeIsNotHeldBack(t *testing.T) {
	t.Parallel()
	s, source, _ := newScripted(time.Hour)
	source.fail(refusal())
	for range 2 * breakerLimit {
		_, _ = s.Credential(t.Context(), region)
	}
	source.fail(nil)
	if _, err := s.Credential(t.Context(), region); err == nil {
		t.Error("an asker was not held back")
	}
	if _, err := s.probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// An invalid parameter passes no sooner than a wrong key, and costs as much.
func TestASessionThatMayNotBeThatLongIsAskedForRarely(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{objects: []client.Object{
		account("prod", withSecret, withRole(roleARN, "", 12*time.Hour)), keySecretOf(keyID, keySecret),
	}})
	for range 60 {
		for range 2 {
			if _, err := w.observe(t, policy("prod", "sg-2")); err == nil {
				t.Fatal("a session of 12 hours was granted")
			}
		}
		w.clock.Advance(time.Second)
	}
	if n := len(w.sim.Calls()); n > breakerLimit+2 {
		t.Errorf("%d calls in a minute, want %d at most", n, breakerLimit+2)
	}
}

// So does the metadata service where the node's clock is wrong.
func TestASourceOfExpiredCredentialsIsLeftAlone(t *testing.T) {
	t.Parallel()
	s, source, _ := newScripted(-time.Minute)
	for range resources {
		_, _ = s.Credential(t.Context(), region)
	}
	if n := source.count(); n > breakerLimit {
		t.Errorf("%d fetches, want %d at most", n, breakerLimit)
	}
}

func TestAProxysErrorPageSaysNothingOfTheKey(t *testing.T) {
	t.Parallel()
	s, _, _ := newScripted(0)
	used := wantKey(t, s, 1)
	for range breakerLimit {
		s.Judge(region, used, refusal())
	}
	s.Judge(region, used, &ecs.Error{Class: ecs.Unavailable, Code: ecs.CodeInvalidResponse, HTTPStatus: 502})
	if _, err := s.Credential(t.Context(), region); err == nil {
		t.Error("an answer that is not ECS's has closed the breaker")
	}
}
