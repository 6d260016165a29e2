package operator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// holder is the name of the resource that the claim of a group names; empty if there is
// no claim.
func (w *world) holder(group string) string {
	w.t.Helper()
	c := &v1alpha1.SecurityGroupClaim{}
	err := api.Get(w.t.Context(), types.NamespacedName{Name: claims.Group{RegionID: w.region, SecurityGroupID: group}.ClaimName()}, c)
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Spec.Holder.Name
}

func (w *world) awaitHolder(group, name string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%q holds %s", name, group), func() bool { return w.holder(group) == name }, func() string { return w.holder(group) })
}

// another second makes the next resource younger than the ones before: within one
// second the UID would decide.
func (w *world) anotherSecond(p *policy) {
	w.t.Helper()
	w.eventually("a second has passed", func() bool { return time.Since(p.CreationTimestamp.Time) > time.Second }, func() string { return "" })
}

func suspendIt(p *policy)   { p.Spec.Suspend = true }
func observeOnly(p *policy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }

func TestOneGroupHasOneHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("first", "sg-1", "Drop")
	w.start()
	w.awaitReason("first", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-1", "first")
	w.policy("second", "sg-1", "Accept")
	p := w.awaitReason("second", v1alpha1.ReasonConflict)
	if !strings.Contains(message(p), "SecurityGroupPolicy first holds") {
		t.Errorf("the message does not name the holder: %q", message(p))
	}
	w.cloudIs("sg-1", "Drop", 0)
	w.deletePolicy("first")
	w.awaitReason("second", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-1", "second")
	w.cloudIs("sg-1", "Accept", 1)
	w.deletePolicy("second")
	w.awaitHolder("sg-1", "")
}

func TestTwoNewResourcesOfOneGroupDoNotFight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	a, b := w.policy("a", "sg-1", "Drop"), w.policy("b", "sg-1", "Accept")
	w.start()
	holds, waits, want, changes := a, b, "Drop", 0
	if b.CreationTimestamp.Before(&a.CreationTimestamp) || b.CreationTimestamp.Equal(&a.CreationTimestamp) && b.UID < a.UID {
		holds, waits, want, changes = b, a, "Accept", 1
	}
	w.awaitReason(holds.Name, v1alpha1.ReasonInSync)
	w.awaitReason(waits.Name, v1alpha1.ReasonConflict)
	w.cloudIs("sg-1", want, changes)
}

// The group passes to the oldest of those who wait, and to nobody else: with three
// claimants, the wrong one would open a network.
func TestTheDeletionOfAHolderPassesTheGroupToTheOldestAlone(t *testing.T) {
	t.Parallel()
	for name, waiting := range map[string][]string{
		"the one that wants another value is the youngest": {"Drop", "Accept", "Accept"},
		"it stands between": {"Drop", "Accept", "Drop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const groups = 4
			w := newWorld(t)
			id := func(g int) string { return fmt.Sprint("sg-", g) }
			of := func(r string, g int) string { return fmt.Sprint(r, "-", g) }
			var last *policy
			for g := range groups {
				w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id(g), Policy: "Drop"})
				last = w.policy(of("holder", g), id(g), "Drop")
			}
			w.start()
			for g := range groups {
				w.awaitHolder(id(g), of("holder", g))
			}
			for i, desired := range waiting {
				w.anotherSecond(last)
				for g := range groups {
					last = w.policy(of(fmt.Sprint("waits", i), g), id(g), desired)
				}
			}
			for g := range groups {
				for i := range waiting {
					w.awaitReason(of(fmt.Sprint("waits", i), g), v1alpha1.ReasonConflict)
				}
				w.deletePolicy(of("holder", g))
			}
			for g := range groups {
				w.awaitHolder(id(g), of("waits0", g))
				w.awaitReason(of("waits0", g), v1alpha1.ReasonInSync)
				for i := range waiting[1:] {
					w.reconcileNow(of(fmt.Sprint("waits", i+1), g))
					w.awaitReason(of(fmt.Sprint("waits", i+1), g), v1alpha1.ReasonConflict)
				}
				w.cloudIs(id(g), "Drop", 0)
			}
		})
	}
}

func TestACandidateWhoseFirstObservationFailsKeepsItsTurn(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]ecssim.Fault{
		"a reset":           {Kind: ecssim.ResetBefore, Action: observe, Times: 1},
		"an internal error": {Kind: ecssim.Error, Action: observe, Status: 500, Code: "InternalError", Times: 1},
		"a refused key":     {Kind: ecssim.Error, Action: observe, Status: 403, Code: "Forbidden.RAM", Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
			older := w.policy("older", "sg-1", "Drop")
			w.anotherSecond(older)
			w.policy("younger", "sg-1", "Accept")
			w.sim.Inject(fault)
			w.start()
			w.await("older", "has failed", func(p *policy) bool { return p.Status.LastError != nil })
			w.reconcileNow("older")
			w.awaitReason("older", v1alpha1.ReasonInSync)
			w.awaitReason("younger", v1alpha1.ReasonConflict)
			w.cloudIs("sg-1", "Drop", 0)
		})
	}
}

func TestAHolderThatIsRefusedKeepsItsGroup(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys")
	w.policy("holder", "sg-prod", "Accept", using(prod.Name))
	w.start()
	w.awaitHolder("sg-prod", "holder")
	w.policy("other", "sg-prod", "Drop", using(prod.Name))
	w.awaitReason("other", v1alpha1.ReasonConflict)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 403, Code: "Forbidden.RAM"})
	w.reconcileNow("holder")
	w.awaitReason("holder", v1alpha1.ReasonAccessDenied)
	w.reconcileNow("other")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	w.sim.ClearFaults()
	w.updateSecret("keys", "LTAIgone000000000001", "nothing")
	w.awaitAccount(prod.Name, v1alpha1.ReasonAccessDenied)
	w.reconcileNow("other")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	w.updateSecret("keys", prodKey, prodSecret)
	w.awaitReason("holder", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-prod", "holder")
	w.cloudIs("sg-prod", "Accept", 0)
}

func TestAResourceThatNobodyReconcilesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.options.WatchLabelSelector = "team=a"
	mine := func(p *policy) { p.Labels = map[string]string{"team": "a"} }
	older := w.policy("older", "sg-1", "Accept")
	w.anotherSecond(older)
	w.policy("younger", "sg-1", "Drop", mine, restore)
	w.start()
	w.awaitReason("younger", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	w.deletePolicy("younger")
	w.awaitGone("younger")
	w.cloudIs("sg-1", "Accept", 2)
}

func TestAHolderThatLostItsGroupRestoresNothing(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.secret("keys", prodKey, prodSecret)
	lent, own := w.account(w.name("lent"), "keys"), w.account(w.name("own"), "keys")
	w.policy("former", "sg-prod", "Drop", using(lent.Name), restore)
	w.start()
	w.awaitReason("former", v1alpha1.ReasonInSync)
	w.policy("heir", "sg-prod", "Drop", using(own.Name))
	w.awaitReason("heir", v1alpha1.ReasonConflict)
	before := lent.DeepCopy()
	lent.Spec.AllowedNamespaces = nil
	if err := api.Patch(t.Context(), lent, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	w.awaitReason("former", v1alpha1.ReasonAccountNotReady)
	w.awaitReason("heir", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-prod", "heir")
	w.deletePolicy("former")
	w.awaitGone("former")
	w.awaitEvent("former", v1alpha1.EventRestoreSkipped)
	w.cloudIs("sg-prod", "Drop", 1)
}

func TestARightToAGroupEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world){
		"with Observe": func(w *world) { w.edit("holder", observeOnly) },
		"with Observe while it is suspended": func(w *world) {
			w.edit("holder", suspendIt)
			w.awaitReason("holder", v1alpha1.ReasonSuspended)
			w.edit("holder", observeOnly)
		},
		"when there is no such group any more": func(w *world) {
			w.sim.DeleteGroup(w.region, "sg-1")
			w.reconcileNow("holder")
			w.awaitReason("holder", v1alpha1.ReasonSecurityGroupNotFound)
			w.awaitHolder("sg-1", "")
			w.edit("holder", suspendIt) // else it is a candidate like the other, and the older one
			w.awaitReason("holder", v1alpha1.ReasonSuspended)
			w.sim.PutGroup(ecssim.Group{Region: w.region, ID: "sg-1", Policy: "Drop"})
			w.reconcileNow("other")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
			w.policy("holder", "sg-1", "Drop")
			w.start()
			w.awaitHolder("sg-1", "holder")
			w.policy("other", "sg-1", "Accept")
			w.awaitReason("other", v1alpha1.ReasonConflict)
			end(w)
			w.awaitReason("other", v1alpha1.ReasonInSync)
			w.awaitHolder("sg-1", "other")
			w.cloudIs("sg-1", "Accept", 1)
		})
	}
}

func TestObserveHoldsNothingAndConflictsWithNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	watcher := w.policy("watcher", "sg-1", "Accept", observeOnly)
	w.start()
	w.awaitReason("watcher", v1alpha1.ReasonDriftDetected)
	if holder := w.holder("sg-1"); holder != "" {
		t.Errorf("%s holds the group", holder)
	}
	w.anotherSecond(watcher)
	w.policy("enforcer", "sg-1", "Accept")
	w.awaitReason("enforcer", v1alpha1.ReasonInSync)
	w.reconcileNow("watcher")
	w.awaitReason("watcher", v1alpha1.ReasonInSync)
}

// A holder keeps a group that nobody asks for. One that is asked and does not reach the
// group for an hour loses it, whatever the reason.
func TestASuspendedHolderLosesItsGroupAnHourAfterItIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.policy("holder", "sg-1", "Drop")
	stop := w.start()
	w.awaitHolder("sg-1", "holder")
	w.edit("holder", suspendIt)
	w.awaitReason("holder", v1alpha1.ReasonSuspended)
	w.policy("other", "sg-1", "Accept")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	w.eventually("the holder is asked", func() bool { return w.claim("sg-1").Spec.RequestedAt != nil }, func() string { return "" })
	fake.SetTime(fake.Now().Add(claims.Answer - time.Second))
	w.reconcileNow("other")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	stop()
	w.start() // which begins the hour anew: it speaks of what the process has seen
	w.eventually("the claim is reconciled", func() bool { w.touch("sg-1"); return true }, func() string { return "" })
	w.reconcileNow("other")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	w.eventually("the other holds it", func() bool {
		fake.SetTime(fake.Now().Add(claims.Answer + time.Minute))
		w.touch("sg-1")
		return w.holder("sg-1") != "holder"
	}, func() string { return w.holder("sg-1") })
	w.awaitReason("other", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Accept", 1)
}

func TestAHolderThatReachesItsGroupAnswersWhoAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("holder", "sg-1", "Drop")
	w.start()
	w.awaitHolder("sg-1", "holder")
	generation := w.claim("sg-1").Generation
	w.policy("other", "sg-1", "Accept")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	w.eventually("asked and answered", func() bool {
		c := w.claim("sg-1")
		return c.Generation == generation+2 && c.Spec.RequestedAt == nil
	}, func() string { return fmt.Sprintf("%+v", w.claim("sg-1").Spec) })
	w.reconcileNow("other")
	w.reconcileNow("other")
	if c := w.claim("sg-1"); c.Generation != generation+2 {
		t.Errorf("the claim was written %d times", c.Generation-generation)
	}
}

func (w *world) claim(group string) *v1alpha1.SecurityGroupClaim {
	w.t.Helper()
	c := &v1alpha1.SecurityGroupClaim{}
	if err := api.Get(w.t.Context(), types.NamespacedName{Name: claims.Group{RegionID: w.region, SecurityGroupID: group}.ClaimName()}, c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// touch has a claim reconciled, as the clock of the queue does not know of the test's.
func (w *world) touch(group string) {
	w.t.Helper()
	c := &v1alpha1.SecurityGroupClaim{}
	name := types.NamespacedName{Name: claims.Group{RegionID: w.region, SecurityGroupID: group}.ClaimName()}
	if err := api.Get(w.t.Context(), name, c); err != nil {
		return
	}
	before := c.DeepCopy()
	c.Spec.Account += "x"
	_ = api.Patch(w.t.Context(), c, client.MergeFrom(before))
}

// What is told of a holder is what the asking tenant could read anyway.
func TestATenantLearnsNothingOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	neighbour := w.namespace + "-neighbour"
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: neighbour}}); err != nil {
		t.Fatal(err)
	}
	w.options.WatchNamespaces = append(w.options.WatchNamespaces, neighbour)
	w.policy("secret-project", "sg-1", "Drop", func(p *policy) { p.Namespace = neighbour })
	w.start()
	w.awaitHolder("sg-1", "secret-project")
	w.policy("curious", "sg-1", "Accept")
	p := w.awaitReason("curious", v1alpha1.ReasonConflict)
	if strings.Contains(message(p), "secret-project") || strings.Contains(message(p), neighbour) || !strings.Contains(message(p), "in another namespace") {
		t.Errorf("the message tells of the other: %q", message(p))
	}
	w.policy("without-account", "sg-1", "Accept", using(w.name("none")))
	if p := w.awaitReason("without-account", v1alpha1.ReasonAccountNotReady); strings.Contains(message(p), "SecurityGroupPolicy") {
		t.Errorf("who has no account learns that the group is held: %q", message(p))
	}
	w.account(w.name("theirs"), "keys", func(a *ecsAccount) { a.Spec.AllowedNamespaces = nil })
	w.policy("foreign-account", "sg-1", "Accept", using(w.name("theirs")))
	none, theirs := message(w.get("without-account")), message(w.awaitReason("foreign-account", v1alpha1.ReasonAccountNotReady))
	if strings.ReplaceAll(none, w.name("none"), "") != strings.ReplaceAll(theirs, w.name("theirs"), "") {
		t.Errorf("an account that does not exist can be told from one that may not be used:\n%s\n%s", none, theirs)
	}
}

func TestAResourceThatCannotReachAGroupHoldsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	squatter := w.policy("squatter", "sg-1", "Accept", using("not-mine"))
	w.start()
	w.awaitReason("squatter", v1alpha1.ReasonAccountNotReady)
	w.anotherSecond(squatter)
	w.policy("rightful", "sg-1", "Drop")
	w.awaitReason("rightful", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-1", "rightful")
	w.cloudIs("sg-1", "Drop", 0)
}

func TestAClaimWhoseHolderVanishedWhileNoManagerRanIsEnded(t *testing.T) {
	t.Parallel()
	for name, wanted := range map[string]bool{"nobody wants the group": false, "another wants it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
			w.options.WatchNamespaces = nil // a manager of the whole cluster
			w.options.WatchLabelSelector = ofTest + "=" + w.namespace
			mine := func(p *policy) { p.Labels = map[string]string{ofTest: w.namespace} }
			fake := testclock.NewFakePassiveClock(time.Now())
			w.clock = fake
			w.policy("vanished", "sg-1", "Drop", mine)
			stop := w.start()
			w.awaitHolder("sg-1", "vanished")
			stop()
			w.deletePolicy("vanished")
			want := ""
			if wanted {
				want = "other"
				w.policy("other", "sg-1", "Drop", mine)
			}
			w.start()
			w.eventually("the claim is ended", func() bool {
				w.ask("sg-1")
				fake.SetTime(fake.Now().Add(time.Minute))
				return w.holder("sg-1") == want
			}, func() string { return w.holder("sg-1") })
			w.cloudIs("sg-1", "Drop", 0)
		})
	}
}

// ask has the holder of a group asked for it, as a resource of another shard would.
func (w *world) ask(group string) {
	w.t.Helper()
	c := &v1alpha1.SecurityGroupClaim{}
	name := types.NamespacedName{Name: claims.Group{RegionID: w.region, SecurityGroupID: group}.ClaimName()}
	if err := api.Get(w.t.Context(), name, c); err != nil {
		return
	}
	before := c.DeepCopy()
	c.Spec.RequestedAt = new(metav1.Now())
	c.Spec.Account += "x"
	_ = api.Patch(w.t.Context(), c, client.MergeFrom(before))
}

// A backup brings resources back under new uids, which the claims do not know.
func TestABackupThatBringsAllBackChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.policy("p", "sg-1", "Drop")
	stop := w.start()
	was := w.awaitReason("p", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-1", "p")
	stop()
	w.deletePolicy("p")
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.eventually("the new one holds the group", func() bool {
		w.ask("sg-1")
		fake.SetTime(fake.Now().Add(time.Minute))
		c := &v1alpha1.SecurityGroupClaim{}
		name := types.NamespacedName{Name: claims.Group{RegionID: w.region, SecurityGroupID: "sg-1"}.ClaimName()}
		return api.Get(t.Context(), name, c) == nil && c.Spec.Holder.UID != string(was.UID)
	}, func() string { return w.holder("sg-1") })
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
}

// Resources from before there were claims get theirs without a write to the cloud, and
// without a word that would not have been said.
func TestResourcesWithoutAClaimGetOneQuietly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	first := w.policy("holder", "sg-1", "Drop")
	stop := w.start()
	w.awaitReason("holder", v1alpha1.ReasonInSync)
	w.anotherSecond(first)
	w.policy("other", "sg-1", "Accept")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	stop()
	if err := api.Delete(t.Context(), w.claim("sg-1")); err != nil {
		t.Fatal(err)
	}
	n := w.countWrites()
	w.start()
	w.awaitHolder("sg-1", "holder")
	w.reconcileNow("holder")
	w.awaitReason("holder", v1alpha1.ReasonInSync)
	w.reconcileNow("other")
	w.awaitReason("other", v1alpha1.ReasonConflict)
	n.want(t, 2, 0, n.claims.Load()) // those of the two requests
	w.cloudIs("sg-1", "Drop", 1)
}
