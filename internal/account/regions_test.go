package account

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// elsewhere is a region of another site, which does not know the keys.
const elsewhere = "cn-beijing"

// in is a policy for a group in another region than the world's.
func in(region string, p *v1alpha1.SecurityGroupPolicy) *v1alpha1.SecurityGroupPolicy {
	p.Spec.RegionID = region
	return p
}

// ownKeys is a world whose manager has keys of its own, in its environment.
func ownKeys(t *testing.T, edits ...func(*Options)) *world {
	t.Helper()
	return newWorld(t, worldOptions{
		env:     map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": keyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": keySecret},
		objects: []client.Object{account("prod", withSecret), keySecretOf(keyID, keySecret)},
		edit: func(o *Options) {
			for _, edit := range edits {
				edit(o)
			}
		},
	})
}

// eachChain runs a test with the manager's own keys, which nobody checks, and with an
// account's.
func eachChain(t *testing.T, test func(t *testing.T, w *world, account string)) {
	t.Helper()
	for name, account := range map[string]string{"the manager's own keys": "", "an account's keys": "prod"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ownKeys(t)
			for _, id := range []string{"sg-1", "sg-2"} {
				w.sim.PutGroup(ecssim.Group{Region: elsewhere, ID: id, Account: cloudAccount, Policy: ecssim.Accept})
			}
			test(t, w, account)
		})
	}
}

// refuseElsewhere has the other site refuse every key, and a few resources learn it.
func (w *world) refuseElsewhere(t *testing.T, account string) {
	t.Helper()
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Region: elsewhere, Status: 404, Code: "InvalidAccessKeyId.NotFound", Message: "m"})
	for range breakerLimit {
		_, err := w.observe(t, in(elsewhere, policy(account, "sg-1")))
		wantFailure(t, err, ecs.Denied, "InvalidAccessKeyId.NotFound")
	}
}

// sent is how many calls a function makes.
func (w *world) sent(f func()) int {
	before := len(w.sim.Calls())
	f()
	return len(w.sim.Calls()) - before
}

func TestAKeyRefusedInOneRegionServesTheOthers(t *testing.T) {
	t.Parallel()
	eachChain(t, func(t *testing.T, w *world, account string) {
		w.refuseElsewhere(t, account)
		refused := 0
		for range 20 { // ten minutes
			for range resources / 10 {
				refused += w.sent(func() { _, _ = w.observe(t, in(elsewhere, policy(account, "sg-1"))) })
			}
			if _, err := w.observe(t, policy(account, "sg-1")); err != nil {
				t.Fatalf("held back by another region: %v", err)
			}
			w.clock.Advance(breakerPause)
		}
		if refused != 19 {
			t.Errorf("%d calls to the region that refuses the key, want one in %v", refused, breakerPause)
		}
	})
}

func TestARegionHealsByItsOwnProbe(t *testing.T) {
	t.Parallel()
	eachChain(t, func(t *testing.T, w *world, account string) {
		w.refuseElsewhere(t, account)
		w.sim.ClearFaults()
		if _, err := w.observe(t, policy(account, "sg-1")); err != nil {
			t.Error(err)
		}
		if _, err := w.observe(t, in(elsewhere, policy(account, "sg-1"))); err == nil {
			t.Error("another region's answer has closed the breaker")
		}
		w.clock.Advance(breakerPause)
		for range 2 * breakerLimit {
			if _, err := w.observe(t, in(elsewhere, policy(account, "sg-1"))); err != nil {
				t.Fatalf("the key is accepted again: %v", err)
			}
		}
	})
}

func TestOneResourcesAnswerIsNotToldToAnother(t *testing.T) {
	t.Parallel()
	eachChain(t, func(t *testing.T, w *world, account string) {
		w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Region: elsewhere, GroupID: "sg-1", Status: 404, Code: "InvalidAccessKeyId.NotFound", Message: "said of sg-1"})
		for range breakerLimit {
			_, err := w.observe(t, in(elsewhere, policy(account, "sg-1")))
			if e, _ := errors.AsType[*ecs.Error](err); e == nil || e.RequestID == "" || e.Message != "said of sg-1" {
				t.Fatalf("its own answer is not told to the one who asked: %v", err)
			}
		}
		_, err := w.observe(t, in(elsewhere, policy(account, "sg-2")))
		wantFailure(t, err, ecs.Denied, "InvalidAccessKeyId.NotFound")
		if e, _ := errors.AsType[*ecs.Error](err); e == nil || e.RequestID != "" || strings.Contains(e.Message, "sg-1") || !strings.Contains(e.Message, "not sent") {
			t.Errorf("told of another's answer: %+v", err)
		}
	})
}

// A probe that has to wait for the rate has not been made.
func TestAProbeThatWaitsForTheRateIsMadeWhenItsTurnComes(t *testing.T) {
	t.Parallel()
	const interval = 35 * time.Second // of tokens, longer than the pause
	w := ownKeys(t, func(o *Options) { o.QPS, o.Burst = 1/interval.Seconds(), 1 })
	observe := func() (time.Duration, error) {
		p := policy("", "sg-1")
		c, _, err := w.Client(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		_, wait, err := c.Observe(t.Context(), ecs.Group{RegionID: region, SecurityGroupID: "sg-1"}, ratelimit.Resync)
		return wait, err
	}
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 404, Code: "InvalidAccessKeyId.NotFound", Times: breakerLimit})
	for range breakerLimit {
		if _, err := observe(); err == nil {
			t.Fatal("not refused")
		}
		w.clock.Advance(interval)
	}
	w.clock.Advance(breakerPause - interval)
	wait, err := observe()
	if err != nil || wait == 0 {
		t.Fatalf("told to wait %v: %v", wait, err)
	}
	w.clock.Advance(wait)
	if wait, err := observe(); err != nil || wait != 0 {
		t.Errorf("told to wait %v once more: %v", wait, err)
	}
}

func TestAKeyIsHeldBackEverywhereOnceTheTokenServiceRefusesIt(t *testing.T) {
	t.Parallel()
	a := account("prod", withSecret)
	w := newWorld(t, worldOptions{objects: []client.Object{a, keySecretOf(otherID, otherSecret)}})
	w.sim.DeleteKey(otherID)
	if _, err := w.observe(t, policy("prod", "sg-2")); err == nil {
		t.Fatal("not refused")
	}
	if _, err := w.Check(t.Context(), a); err == nil {
		t.Fatal("not refused")
	}
	for _, r := range []string{region, elsewhere, "eu-central-1"} {
		if n := w.sent(func() {
			_, err := w.observe(t, in(r, policy("prod", "sg-2")))
			wantFailure(t, err, ecs.Denied, "InvalidAccessKeyId.NotFound")
		}); n != 0 {
			t.Errorf("%d calls to %s", n, r)
		}
	}
	w.sim.PutKey(ecssim.Key{ID: otherID, Secret: otherSecret, Account: otherAccount})
	if _, err := w.Check(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := w.observe(t, policy("prod", "sg-2")); err != nil {
		t.Errorf("the token service accepts the key again: %v", err)
	}
}

func TestTheTokenServicesWordHoldsWhileItIsRepeated(t *testing.T) {
	t.Parallel()
	a := account("prod", withSecret)
	w := newWorld(t, worldOptions{objects: []client.Object{a, keySecretOf(otherID, otherSecret)}})
	w.sim.DeleteKey(otherID)
	_, _ = w.observe(t, policy("prod", "sg-2"))
	for range 10 {
		_, _ = w.Check(t.Context(), a)
		w.clock.Advance(time.Minute)
		if n := w.sent(func() { _, _ = w.observe(t, policy("prod", "sg-2")) }); n != 0 {
			t.Fatalf("%d calls with a key that the token service refuses", n)
		}
	}
	// It can't be asked any more, and the key is good again.
	w.sim.PutKey(ecssim.Key{ID: otherID, Secret: otherSecret, Account: otherAccount})
	w.clock.Advance(refusalHolds)
	if _, err := w.observe(t, policy("prod", "sg-2")); err != nil {
		t.Errorf("held back for ever: %v", err)
	}
}

func TestTheTokenServicesGoodWordSaysNothingOfARegion(t *testing.T) {
	t.Parallel()
	w := ownKeys(t)
	w.refuseElsewhere(t, "prod")
	if _, err := w.Check(t.Context(), account("prod", withSecret)); err != nil {
		t.Fatal(err)
	}
	if n := w.sent(func() { _, _ = w.observe(t, in(elsewhere, policy("prod", "sg-1"))) }); n != 0 {
		t.Errorf("%d calls to a region that refuses the key", n)
	}
}

// A token service of another site than ECS, say: it alone does not stop what works.
func TestTheTokenServiceAloneStopsNothingThatWorks(t *testing.T) {
	t.Parallel()
	w := ownKeys(t)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Action: ecs.ActionIdentity, Status: 404, Code: "InvalidAccessKeyId.NotFound"})
	if _, err := w.Check(t.Context(), account("prod", withSecret)); err == nil {
		t.Fatal("not refused")
	}
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
		t.Error(err)
	}
}

// ECS repeats parameters in its messages, and what a user wrote is no word of ECS.
func TestAnOwnerAccountDoesNotPassForAnExpiredToken(t *testing.T) {
	t.Parallel()
	w := ownKeys(t)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, GroupID: "sg-1", Status: 400, Code: "InvalidParameter", Message: "The specified parameter SecurityToken.Expired is not valid."})
	w.sim.PutGroup(ecssim.Group{Region: region, ID: "sg-3", Account: cloudAccount, Policy: ecssim.Accept})
	for range breakerLimit {
		c, _, err := w.Client(t.Context(), policy("", "sg-1"))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = c.Observe(t.Context(), ecs.Group{RegionID: region, SecurityGroupID: "sg-1", OwnerAccount: "SecurityToken.Expired"}, ratelimit.Edit)
		wantFailure(t, err, ecs.Invalid, "InvalidParameter")
	}
	if _, err := w.observe(t, policy("", "sg-3")); err != nil {
		t.Errorf("an odd owner of one resource holds back another: %v", err)
	}
}

// Resources come back as slowly as the controller lets those that are stalled.
func TestSixHoursBesideARegionThatRefuses(t *testing.T) {
	t.Parallel()
	s, _, c := newScripted(time.Hour)
	served, refused := 0, 0
	for range 6 * 360 {
		for range 10 {
			if key, err := s.Credential(t.Context(), elsewhere); err == nil {
				refused++
				s.Judge(elsewhere, key, refusal())
			}
		}
		if key, err := s.Credential(t.Context(), region); err == nil {
			served++
			s.Judge(region, key, nil)
		}
		c.Advance(10 * time.Second)
	}
	if served != 6*360 {
		t.Errorf("served %d times of %d", served, 6*360)
	}
	if most := 6*120 + breakerLimit; refused > most {
		t.Errorf("%d requests to the region that refuses, want %d at most", refused, most)
	}
}

func TestRegionsThatRefuseAreForgotten(t *testing.T) {
	t.Parallel()
	s, _, c := newScripted(0)
	made := func(i int) string { return fmt.Sprint("cn-", i) }
	for i := range 1000 {
		for range breakerLimit {
			s.Judge(made(i), wantKey(t, s, 1), refusal())
		}
		c.Advance(time.Second)
	}
	if n := len(s.breaker.regions); n != maxRefusing {
		t.Errorf("%d regions are remembered, want %d", n, maxRefusing)
	}
	if _, err := s.Credential(t.Context(), made(999)); err == nil {
		t.Error("the region that has refused last is forgotten first")
	}
	c.Advance(breakerPause)
	for i := range 1000 {
		s.Judge(made(i), wantKey(t, s, 1), nil)
	}
	if n := len(s.breaker.regions); n != 0 {
		t.Errorf("%d regions are remembered that have accepted the credential", n)
	}
}
