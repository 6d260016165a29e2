package securitygroupclaim

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// cluster is the API server, and one manager with its cache.
type cluster struct {
	*testing.T

	r     *Reconciler
	clock *testclock.FakePassiveClock
	claim *v1alpha1.SecurityGroupClaim
	// live is the holder as the API server has it, cached as this shard's cache has it;
	// nil for none.
	live, cached *v1alpha1.SecurityGroupPolicy
	away         bool
	// reads counts those from the API server.
	reads int
}

// newCluster has a holder in this shard, and its claim.
func newCluster(t *testing.T) *cluster {
	c := &cluster{T: t, clock: testclock.NewFakePassiveClock(noon)}
	c.live = &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "p", UID: "holder"},
		Spec:       v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1"},
	}
	c.cached = c.live
	c.claim = &v1alpha1.SecurityGroupClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claims.GroupOf(c.live).ClaimName(), UID: "claim", ResourceVersion: "1"},
		Spec: v1alpha1.SecurityGroupClaimSpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1",
			Holder: v1alpha1.ClaimHolder{Namespace: "team", Name: "p", UID: "holder"}},
	}
	c.restart()
	return c
}

// restart is what a new process begins with.
func (c *cluster) restart() {
	c.r = &Reconciler{Client: cacheOf{c: c}, APIReader: serverOf{c: c}, Endings: &claims.Endings{}, Clock: c.clock,
		Jitter: func(d time.Duration) time.Duration { return d / 2 }}
}

// reconcile is one reconciliation of the claim as it is.
func (c *cluster) reconcile() time.Duration {
	c.Helper()
	result, err := c.r.Reconcile(c.Context(), c.claim.DeepCopy())
	if err != nil {
		c.Fatal(err)
	}
	return result.RequeueAfter
}

// endsAfter says that the claim ends when so much time has passed, and not before, and
// that its reconciler comes back by itself.
func (c *cluster) endsAfter(d time.Duration) {
	c.Helper()
	if d == 0 {
		if c.reconcile(); c.claim != nil {
			c.Fatal("the claim has not ended")
		}
		return
	}
	end := c.clock.Now().Add(d)
	for c.claim != nil {
		before := c.clock.Now()
		next := c.reconcile()
		switch {
		case c.claim == nil && before.Before(end):
			c.Fatalf("the claim has ended %v too early", end.Sub(before))
		case c.claim == nil:
			return
		case next <= 0 || before.Add(next).After(end.Add(time.Second)):
			c.Fatalf("comes back after %v, %v before the end", next, end.Sub(before))
		}
		c.clock.SetTime(before.Add(next))
	}
}

// stays says that the claim is as it was.
func (c *cluster) stays() {
	c.Helper()
	if next := c.reconcile(); c.claim == nil || next != 0 {
		c.Fatalf("the claim %v, next after %v", c.claim, next)
	}
}

// vanish ends the holder, as a watch tells of it or not.
func (c *cluster) vanish(told bool) {
	c.Helper()
	last := c.cached
	c.live, c.cached = nil, nil
	claim, held := c.r.HolderGone(c.Context(), last, told)
	if !held || claim.Name != c.claim.Name {
		c.Fatalf("the claim of the holder is %v, %v", claim, held)
	}
}

// ask has the holder asked for its group.
func (c *cluster) ask(at time.Time) { c.claim.Spec.RequestedAt = new(metav1.NewTime(at)) }

func notFound(name string) error { return apierrors.NewNotFound(schema.GroupResource{}, name) }

type cacheOf struct {
	client.Client

	c *cluster
}

func (r cacheOf) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *v1alpha1.SecurityGroupClaim:
		if r.c.claim != nil && r.c.claim.Name == key.Name {
			r.c.claim.DeepCopyInto(o)
			return nil
		}
	case *v1alpha1.SecurityGroupPolicy:
		if p := r.c.cached; p != nil && client.ObjectKeyFromObject(p) == key {
			p.DeepCopyInto(o)
			return nil
		}
	}
	return notFound(key.Name)
}

func (r cacheOf) Delete(_ context.Context, o client.Object, opts ...client.DeleteOption) error {
	var with client.DeleteOptions
	with.ApplyOptions(opts)
	if p := with.Preconditions; p == nil || p.UID == nil || p.ResourceVersion == nil || *p.UID != o.GetUID() || *p.ResourceVersion != o.GetResourceVersion() {
		r.c.Errorf("the claim is deleted whatever it has become: %+v", p)
	}
	if o.GetResourceVersion() != r.c.claim.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{}, o.GetName(), nil)
	}
	r.c.claim = nil
	return nil
}

type serverOf struct {
	client.Reader

	c *cluster
}

var errAway = errors.New("the API server is away")

func (r serverOf) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	r.c.reads++
	switch p := r.c.live; {
	case r.c.away:
		return errAway
	case p != nil && client.ObjectKeyFromObject(p) == key:
		o.SetUID(p.UID)
		return nil
	}
	return notFound(key.Name)
}

func TestTheClaimOfAHolderThatIsGoneEnds(t *testing.T) {
	pending := &v1alpha1.PendingModification{ClientToken: "t", From: "Accept", To: "Drop"}
	for name, c := range map[string]struct {
		vanish func(*cluster)
		want   time.Duration
	}{
		"at once, if it left nothing under way": {func(c *cluster) { c.vanish(true) }, 0},
		"after the doubt, if a change may be under way": {func(c *cluster) {
			c.cached.Status.PendingModification = pending
			c.vanish(true)
		}, policy.Doubt},
		"after the doubt, if the watch did not tell how it was last": {func(c *cluster) { c.vanish(false) }, policy.Doubt},
		"after the doubt, if no process saw it": {func(c *cluster) {
			c.vanish(true)
			c.restart()
		}, policy.Doubt},
		"after the doubt, if another of its name is there": {func(c *cluster) {
			c.live = c.live.DeepCopy()
			c.live.UID = "successor"
			c.cached = c.live
		}, policy.Doubt},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCluster(t)
			w.stays()
			c.vanish(w)
			w.endsAfter(c.want)
		})
	}
}

func TestAHolderThatLivesKeepsItsClaim(t *testing.T) {
	c := newCluster(t)
	c.stays()
	c.clock.SetTime(noon.Add(30 * 24 * time.Hour))
	c.stays()
	if c.reads != 0 {
		t.Errorf("%d reads from the API server for a holder in the cache", c.reads)
	}
}

func TestAHolderThatIsAskedAndDoesNotAnswerLosesItsClaimAfterAnHour(t *testing.T) {
	for name, skew := range map[string]time.Duration{"": 0, " of a clock that is ahead": 2 * time.Hour, " of a clock that is behind": -2 * time.Hour} {
		t.Run("by a request"+name, func(t *testing.T) {
			c := newCluster(t)
			c.ask(noon.Add(skew))
			c.endsAfter(claims.Answer)
		})
	}
	t.Run("whose hour begins anew with the process", func(t *testing.T) {
		c := newCluster(t)
		c.ask(noon)
		c.reconcile()
		c.clock.SetTime(noon.Add(claims.Answer - time.Second))
		c.restart()
		c.endsAfter(claims.Answer)
	})
}

func TestAHolderThatAnswersKeepsItsClaim(t *testing.T) {
	c := newCluster(t)
	c.ask(noon)
	c.reconcile()
	c.clock.SetTime(noon.Add(claims.Answer - time.Second))
	c.claim.Spec.RequestedAt, c.claim.ResourceVersion = nil, "2"
	c.stays()
	if kept := c.r.Endings.Len(); kept != 0 {
		t.Errorf("%d holders are remembered", kept)
	}
	c.clock.SetTime(c.clock.Now().Add(time.Minute))
	c.ask(c.clock.Now())
	c.endsAfter(claims.Answer)
}

func TestAnAnswerThatComesBetweenSavesTheClaim(t *testing.T) {
	c := newCluster(t)
	c.ask(noon)
	c.reconcile()
	c.clock.SetTime(noon.Add(claims.Answer))
	stale := c.claim.DeepCopy()
	c.claim.Spec.RequestedAt, c.claim.ResourceVersion = nil, "2"
	if _, err := c.r.Reconcile(t.Context(), stale); err != nil || c.claim == nil {
		t.Errorf("the claim is %v, %v", c.claim, err)
	}
}

func TestAResourceThatMovedToAnotherShardIsNotGone(t *testing.T) {
	c := newCluster(t)
	last := c.cached
	c.cached = nil
	if _, held := c.r.HolderGone(t.Context(), last, true); !held {
		t.Fatal("its claim is not found")
	}
	c.stays()
	if c.reads != 1 {
		t.Errorf("%d reads from the API server", c.reads)
	}
	c.live = nil // and when it goes there, nobody here knows how it ended
	c.endsAfter(policy.Doubt)
}

func TestAnotherShardsHolderIsNotAskedForAtOnce(t *testing.T) {
	c := newCluster(t)
	c.cached = nil
	c.r.putOff(c.claim)
	if next := c.reconcile(); next < time.Hour || next > foreign+time.Second || c.reads != 0 {
		t.Fatalf("%d reads from the API server, next after %v", c.reads, next)
	}
	c.stays() // when its time has come
	if c.reads != 1 {
		t.Errorf("%d reads from the API server", c.reads)
	}
}

func TestAnotherShardsHolderIsCheckedAtOnceIfItsGroupIsWanted(t *testing.T) {
	c := newCluster(t)
	c.live, c.cached = nil, nil
	c.ask(noon)
	c.r.putOff(c.claim)
	c.endsAfter(policy.Doubt)
}

func TestAnAPIServerThatIsAwayEndsNoClaim(t *testing.T) {
	c := newCluster(t)
	c.vanish(true)
	c.away = true
	if _, err := c.r.Reconcile(t.Context(), c.claim.DeepCopy()); !errors.Is(err, errAway) || c.claim == nil {
		t.Errorf("the claim is %v, %v", c.claim, err)
	}
	c.away = false
	c.endsAfter(0)
}

func TestOnlyTheClaimOfWhoIsGoneIsTakenUp(t *testing.T) {
	c := newCluster(t)
	for name, change := range map[string]func(*v1alpha1.SecurityGroupPolicy){
		"another resource of the group": func(p *v1alpha1.SecurityGroupPolicy) { p.UID = "other" },
		"a resource of another group":   func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.SecurityGroupID = "sg-2" },
	} {
		p := c.live.DeepCopy()
		change(p)
		if claim, held := c.r.HolderGone(t.Context(), p, true); held {
			t.Errorf("%s takes up %v", name, claim)
		}
	}
	if kept := c.r.Endings.Len(); kept != 0 {
		t.Errorf("%d endings are kept", kept)
	}
}

func TestAClaimThatIsGoneLeavesNothingInMemory(t *testing.T) {
	c := newCluster(t)
	c.ask(noon)
	c.reconcile()
	c.vanish(true)
	c.r.putOff(c.claim)
	c.r.forget(c.claim)
	if kept := c.r.Endings.Len() + len(c.r.unchecked); kept != 0 {
		t.Errorf("%d entries are kept", kept)
	}
	if holder := types.UID("holder"); !c.r.Endings.FreeAt(holder, noon).After(noon) {
		t.Error("what is forgotten counts")
	}
}
