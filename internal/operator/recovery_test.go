package operator_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/controllers/securitygrouppolicy"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	decide "github.com/sgp-operator/sgp-operator/internal/policy"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

func TestACrashBetweenCallAndStatusWriteLosesNothing(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]ecssim.FaultKind{"before the effect": ecssim.HangBefore, "after the effect": ecssim.HangAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
			w.sim.Inject(ecssim.Fault{Kind: kind, Action: modify, Times: 1})
			w.policy("p", "sg-1", "Drop")
			stop := w.start()
			w.eventually("the call is under way", func() bool { return w.calls(modify, "sg-1") == 1 }, func() string { return "" })
			stop()
			p := w.get("p")
			if p.Status.PendingModification == nil || p.Status.PendingModification.From != "Accept" {
				t.Fatalf("left behind: %+v", p.Status)
			}
			w.start()
			p = w.awaitReason("p", v1alpha1.ReasonInSync)
			w.cloudIs("sg-1", "Drop", 1)
			effect := w.sim.Effects(w.region, "sg-1")[0]
			if p.Status.LastModification == nil || p.Status.LastModification.RequestID != effect.RequestID || p.Status.OriginalInnerAccessPolicy != "Accept" {
				t.Errorf("status %+v, want the request id of %+v", p.Status, effect)
			}
			if p.Status.PendingModification != nil {
				t.Error("still pending")
			}
		})
	}
}

func TestATimeoutAfterTheEffectIsRepeatedWithTheSameToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.options.Timeout = time.Second
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangAfter, Action: modify, Times: 1})
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	if p.Status.LastModification.RequestID != w.sim.Effects(w.region, "sg-1")[0].RequestID {
		t.Errorf("the request id is not the first call's: %+v", p.Status.LastModification)
	}
}

func TestAReadThatLagsCausesNoSecondChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.sim.SetReadLag(ecssim.ReadLag{Reads: 2})
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	if n := w.calls(modify, "sg-1"); n != 1 {
		t.Errorf("%d changes", n)
	}
}

func TestAnEditBetweenObservationAndChangeIsHonoured(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*policy){
		"changed back": func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" },
		"Observe":      func(p *policy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve },
		"suspend":      func(p *policy) { p.Spec.Suspend = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
			var once sync.Once
			w.options.Replace.Cloud = func(c cloud) cloud {
				return interceptedCloud{cloud: c, observed: func() { once.Do(func() { w.edit("p", change) }) }}
			}
			w.policy("p", "sg-1", "Drop")
			w.start()
			w.await("p", "the edit was seen", func(p *policy) bool { return p.Status.ObservedGeneration == 2 })
			w.cloudIs("sg-1", "Accept", 0)
			if n := w.calls(modify, "sg-1"); n != 0 {
				t.Errorf("%d changes that nobody wanted any more", n)
			}
		})
	}
}

func TestAnAccountWithdrawnInMidPassIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	var withdrawn atomic.Bool
	w.options.Replace.Cloud = func(c cloud) cloud {
		return interceptedCloud{cloud: c, observed: func() { withdrawn.Store(true) }}
	}
	w.options.Replace.Reconciler = func(r *securitygrouppolicy.Reconciler) {
		inner := r.Clouds
		r.Clouds = func(ctx context.Context, p *policy) (cloud, string, error) {
			if withdrawn.Load() {
				return nil, "", &account.NotReadyError{Reason: "withdrawn"}
			}
			return inner(ctx, p)
		}
	}
	w.policy("p", "sg-1", "Drop")
	w.start()
	if p := w.awaitReason("p", v1alpha1.ReasonAccountNotReady); p.Status.PendingModification != nil {
		t.Errorf("a change that was not sent is pending: %+v", p.Status)
	}
	if n := w.calls(modify, "sg-1"); n != 0 {
		t.Errorf("%d changes", n)
	}
}

func TestAStalledResourceDoesNotFlapWhenItIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept", Enterprise: true})
	n := w.countWrites()
	var seen sync.Map
	n.before.Store(new(func(written *v1alpha1.SecurityGroupPolicyStatus) {
		seen.Store(apimeta.FindStatusCondition(written.Conditions, v1alpha1.ConditionReady).Reason, true)
	}))
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonUnsupportedSecurityGroupType)
	seen.Clear()
	w.reconcileNow("p")
	seen.Range(func(reason, _ any) bool {
		if reason != v1alpha1.ReasonUnsupportedSecurityGroupType {
			t.Errorf("in between it said %s", reason)
		}
		return true
	})
	if w.calls(modify, "sg-1") != 2 {
		t.Errorf("%d tries", w.calls(modify, "sg-1"))
	}
}

// interceptedCloud has something happen right after an observation, or around a
// change.
type interceptedCloud struct {
	cloud
	observed func()
	modified func()
}

func (c interceptedCloud) Observe(ctx context.Context, g ecs.Group, p ratelimit.Priority) (ecs.Observation, time.Duration, error) {
	policy, wait, err := c.cloud.Observe(ctx, g, p)
	if c.observed != nil {
		c.observed()
	}
	return policy, wait, err
}

func (c interceptedCloud) Modify(ctx context.Context, g ecs.Group, policy, token string) (string, time.Duration, error) {
	id, wait, err := c.cloud.Modify(ctx, g, policy, token)
	if c.modified != nil {
		c.modified()
	}
	return id, wait, err
}

func TestTheRecordOfAChangeOutlivesAnEditMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	var once sync.Once
	w.options.Replace.Cloud = func(c cloud) cloud {
		return interceptedCloud{cloud: c, modified: func() { once.Do(func() { w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" }) }) }}
	}
	n := w.countWrites()
	var recorded []string
	n.before.Store(new(func(written *v1alpha1.SecurityGroupPolicyStatus) {
		if m := written.LastModification; m != nil {
			recorded = append(recorded, m.RequestID)
		}
	}))
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.await("p", "changed back", func(p *policy) bool {
		return p.Status.ObservedGeneration == 2 && apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady)
	})
	w.cloudIs("sg-1", "Accept", 2)
	effects := w.sim.Effects(w.region, "sg-1")
	if p.Status.LastModification.RequestID != effects[1].RequestID || p.Status.OriginalInnerAccessPolicy != "Accept" || len(recorded) == 0 || recorded[0] != effects[0].RequestID {
		t.Errorf("status %+v, recorded %v, effects %+v", p.Status, recorded, effects)
	}
}

// TestARequestIDIsKeptWhereAnotherManagerRepeatsTheRequest has one write the request ahead
// once more, as a successor does, while its answer is on the way.
func TestARequestIDIsKeptWhereAnotherManagerRepeatsTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	var once sync.Once
	w.options.Replace.Cloud = func(c cloud) cloud {
		return interceptedCloud{cloud: c, modified: func() {
			once.Do(func() {
				p := w.get("p")
				p.Status.PendingModification.Time = metav1.NewTime(p.Status.PendingModification.Time.Add(time.Second))
				if err := api.Status().Update(w.t.Context(), p); err != nil {
					w.t.Error(err)
				}
			})
		}}
	}
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if last := p.Status.LastModification; last == nil || last.RequestID != w.sim.Effects(w.region, "sg-1")[0].RequestID {
		t.Errorf("lastModification %+v, want the request id of %+v", last, w.sim.Effects(w.region, "sg-1"))
	}
	w.cloudIs("sg-1", "Drop", 1)
}

// The group stays closed to others for as long as the change may take effect, and no
// longer, although nothing else is asked of a suspended resource.
func TestASuspendedHolderThatTurnsToObserveKeepsItsGroupWhileAChangeMayBeUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.sim.Inject(ecssim.Fault{Kind: ecssim.ResetBefore, Action: modify})
	w.policy("holder", "sg-1", "Drop")
	w.start()
	w.awaitReason("holder", v1alpha1.ReasonCloudUnavailable)
	w.awaitHolder("sg-1", "holder")
	w.edit("holder", suspendIt)
	w.awaitReason("holder", v1alpha1.ReasonSuspended)
	w.edit("holder", observeOnly)
	p := w.await("holder", "the edit is handled", func(p *policy) bool { return p.Status.ObservedGeneration == p.Generation })
	if p.Status.PendingModification == nil || w.holder("sg-1") != "holder" {
		t.Errorf("%q holds the group, and the pending change is %+v", w.holder("sg-1"), p.Status.PendingModification)
	}
	fake.SetTime(fake.Now().Add(decide.Doubt + time.Second))
	w.edit("holder", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
	w.awaitHolder("sg-1", "")
}
