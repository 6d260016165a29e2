package operator_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/controllers/securitygrouppolicy"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	contract "github.com/sgp-operator/sgp-operator/internal/policy"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

type (
	policy = v1alpha1.SecurityGroupPolicy
	cloud  = securitygrouppolicy.Cloud
)

const (
	observe = "DescribeSecurityGroupAttribute"
	modify  = "ModifySecurityGroupPolicy"
)

// calls counts the calls of an action for a group.
func (w *world) calls(action, group string) (n int) {
	for _, c := range w.sim.Calls() {
		if c.Action == action && c.GroupID == group {
			n++
		}
	}
	return n
}

// cloudIs checks the policy of a group in the cloud and how often it was changed
// through the API.
func (w *world) cloudIs(group, want string, changes int) {
	w.t.Helper()
	g, _ := w.sim.Group(w.region, group)
	if g.Policy != want {
		w.t.Errorf("the group is %s in the cloud, want %s", g.Policy, want)
	}
	n := 0
	for _, e := range w.sim.Effects(w.region, group) {
		if e.ByAPI {
			n++
		}
	}
	if n != changes {
		w.t.Errorf("the group was changed %d times, want %d: %+v", n, changes, w.sim.Effects(w.region, group))
	}
}

// countWrites has every write of status and metadata counted.
func (w *world) countWrites() *writes {
	counted := &writes{}
	w.wrap = func(inner client.WithWatch) client.Client {
		return interceptor.NewClient(inner, interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				counted.claim(o)
				return c.Create(ctx, o, opts...)
			},
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				counted.claim(o)
				return c.Update(ctx, o, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				counted.meta.Add(1)
				return c.Patch(ctx, o, p, opts...)
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				if hook := counted.before.Load(); hook != nil {
					if written, ok := o.(*policy); ok {
						(*hook)(written.Status.DeepCopy())
					}
				}
				counted.status.Add(1)
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
		})
	}
	return counted
}

type writes struct {
	status, meta, claims atomic.Int64
	before               atomic.Pointer[func(*v1alpha1.SecurityGroupPolicyStatus)]
}

func (n *writes) claim(o client.Object) {
	if _, ok := o.(*v1alpha1.SecurityGroupClaim); ok {
		n.claims.Add(1)
	}
}

func (n *writes) want(t *testing.T, status, metadata, claims int64) {
	t.Helper()
	if n.status.Load() != status || n.meta.Load() != metadata || n.claims.Load() != claims {
		t.Errorf("%d writes of status, %d of metadata and %d of claims, want %d, %d and %d",
			n.status.Load(), n.meta.Load(), n.claims.Load(), status, metadata, claims)
	}
}

func TestAGroupInSyncCostsOneReadOneWriteAndItsClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	n := w.countWrites()
	w.policy("p", "sg-1", "dROP", func(p *policy) { p.Spec.OwnerAccount = "owner@example.com" })
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if p.Status.InnerAccessPolicy != "Drop" || p.Status.LastModification != nil || p.Status.OriginalInnerAccessPolicy != "" || p.Status.ObservedGeneration != 1 {
		t.Errorf("status %+v", p.Status)
	}
	w.awaitHolder("sg-1", "p") // which follows the status
	n.want(t, 1, 0, 1)
	w.reconcileNow("p")
	w.cloudIs("sg-1", "Drop", 0)
	if r, m := w.calls(observe, "sg-1"), w.calls(modify, "sg-1"); r != 2 || m != 0 {
		t.Errorf("%d reads and %d changes, want 2 (one was asked for) and 0", r, m)
	}
	call := w.sim.Calls()[0]
	if call.OwnerAccount != "owner@example.com" || call.Params["MaxResults"] != "10" || call.Params["Direction"] != "ingress" {
		t.Errorf("the read asked %+v", call)
	}
}

func TestAChangeCostsTwoReadsOneCallTwoWritesAndItsClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	n := w.countWrites()
	var ahead v1alpha1.SecurityGroupPolicyStatus
	n.before.Store(new(func(written *v1alpha1.SecurityGroupPolicyStatus) {
		if n.status.Load() == 0 {
			ahead = *written.DeepCopy()
		}
	}))
	w.policy("p", "sg-1", "drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	n.want(t, 2, 0, 1)
	if r, m := w.calls(observe, "sg-1"), w.calls(modify, "sg-1"); r != 2 || m != 1 {
		t.Errorf("%d reads and %d changes, want 2 and 1", r, m)
	}
	effect := w.sim.Effects(w.region, "sg-1")[0]
	last := p.Status.LastModification
	if last == nil || last.RequestID != effect.RequestID || last.From != "Accept" || last.To != "Drop" || last.Cause != v1alpha1.CauseSpec || last.Time.IsZero() {
		t.Errorf("lastModification %+v, want what ECS answered: %+v", last, effect)
	}
	if p.Status.OriginalInnerAccessPolicy != "Accept" || p.Status.PendingModification != nil || p.Status.LastError != nil {
		t.Errorf("status %+v", p.Status)
	}
	pending := ahead.PendingModification
	if pending == nil || pending.ClientToken != effect.ClientToken || pending.From != "Accept" || pending.Time.IsZero() || pending.Account != v1alpha1.OwnAccount || !apimeta.IsStatusConditionTrue(ahead.Conditions, v1alpha1.ConditionReconciling) {
		t.Errorf("written ahead: %+v", ahead)
	}
	w.awaitEvent("p", v1alpha1.EventModified)
}

func (w *world) awaitEvent(name, reason string) {
	w.t.Helper()
	w.eventually("event "+reason, func() bool {
		list := &eventsv1.EventList{}
		if err := api.List(w.t.Context(), list, client.InNamespace(w.namespace)); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.Regarding.Name == name && e.Reason == reason {
				return true
			}
		}
		return false
	}, func() string { return "no such event" })
}

func TestAnEditedSpecChangesTheGroupAndKeepsTheOriginal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "ACCEPT" })
	p := w.await("p", "accepts", func(p *policy) bool {
		return p.Status.InnerAccessPolicy == "Accept" && apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady)
	})
	w.cloudIs("sg-1", "Accept", 2)
	if p.Status.OriginalInnerAccessPolicy != "Accept" || p.Status.LastModification.Cause != v1alpha1.CauseSpec || p.Status.LastModification.From != "Drop" {
		t.Errorf("status %+v", p.Status)
	}
	effects := w.sim.Effects(w.region, "sg-1")
	if effects[0].ClientToken == effects[1].ClientToken {
		t.Error("a later change has used the token of an earlier one")
	}
}

func TestADriftIsPutRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.SetPolicy(w.region, "sg-1", "Accept")
	w.reconcileNow("p")
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	if last := p.Status.LastModification; last == nil || last.Cause != v1alpha1.CauseDrift || len(p.Status.DriftCorrections) != 1 {
		t.Errorf("status %+v", p.Status)
	}
	w.awaitEvent("p", v1alpha1.EventDriftCorrected)
}

func TestObserveReportsADriftAndNeverWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", func(p *policy) {
		p.Spec.ManagementPolicy, p.Spec.DeletionPolicy = v1alpha1.ManagementObserve, v1alpha1.DeletionRestore
	})
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonDriftDetected)
	if p.Status.InnerAccessPolicy != "Accept" || len(p.Finalizers) != 0 {
		t.Errorf("status %+v, finalizers %v", p.Status, p.Finalizers)
	}
	w.awaitEvent("p", v1alpha1.ReasonDriftDetected)
	w.cloudIs("sg-1", "Accept", 0)
	w.edit("p", func(p *policy) { p.Spec.ManagementPolicy = v1alpha1.ManagementEnforce })
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
}

func TestSuspendMakesNoCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"}, ecssim.Group{ID: "sg-2", Policy: "Accept"})
	w.policy("never", "sg-1", "Drop", func(p *policy) { p.Spec.Suspend = true })
	w.policy("seen", "sg-2", "Drop")
	w.start()
	ready := func(p *policy) metav1.ConditionStatus {
		return apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Status
	}
	if p := w.awaitReason("never", v1alpha1.ReasonSuspended); ready(p) != metav1.ConditionUnknown || !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionSuspended) {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	w.awaitReason("seen", v1alpha1.ReasonInSync)
	w.edit("seen", func(p *policy) { p.Spec.Suspend = true })
	if p := w.awaitReason("seen", v1alpha1.ReasonSuspended); ready(p) != metav1.ConditionTrue {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	w.sim.ResetCalls()
	w.edit("seen", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
	if p := w.awaitReason("seen", v1alpha1.ReasonSuspended); ready(p) != metav1.ConditionFalse {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	if n := len(w.sim.Calls()); n != 0 {
		t.Errorf("%d calls while suspended", n)
	}
	w.edit("seen", func(p *policy) { p.Spec.Suspend = false })
	w.awaitReason("seen", v1alpha1.ReasonInSync)
	w.edit("never", func(p *policy) { p.Spec.Suspend = false })
	w.awaitReason("never", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	w.cloudIs("sg-2", "Accept", 2)
}

func TestTwoToolsDoNotFlapANetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	for i := range contract.ContestLimit {
		w.sim.SetPolicy(w.region, "sg-1", "Accept")
		w.reconcileNow("p")
		w.awaitReason("p", v1alpha1.ReasonInSync)
		w.cloudIs("sg-1", "Drop", i+1)
		fake.SetTime(fake.Now().Add(contract.Lag)) // before that, a difference may be an old read
	}
	w.sim.SetPolicy(w.region, "sg-1", "Accept")
	w.reconcileNow("p")
	p := w.awaitReason("p", v1alpha1.ReasonContested)
	if !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	w.awaitEvent("p", v1alpha1.ReasonContested)
	w.cloudIs("sg-1", "Accept", contract.ContestLimit)
	fake.SetTime(fake.Now().Add(contract.FirstSpacing))
	w.reconcileNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", contract.ContestLimit+1)
}

func TestARestartCausesNoWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"}, ecssim.Group{ID: "sg-2", Policy: "Drop"})
	w.policy("changed", "sg-1", "Drop")
	w.policy("same", "sg-2", "Drop")
	stop := w.start()
	w.awaitReason("changed", v1alpha1.ReasonInSync)
	w.awaitReason("same", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-1", "changed") // which follows the status
	w.awaitHolder("sg-2", "same")
	stop()
	w.sim.ResetCalls()
	n := w.countWrites()
	w.start()
	w.eventually("each was looked at once", func() bool { return w.calls(observe, "sg-1") == 1 && w.calls(observe, "sg-2") == 1 }, func() string { return "" })
	w.reconcileNow("changed") // a pass later than those of the start
	n.want(t, 1, 0, 0)        // that of the request
	w.cloudIs("sg-1", "Drop", 1)
}

func TestEventsOfOneFailureAreOneSeries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.policy("p", "sg-none", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonSecurityGroupNotFound)
	for range 2 {
		fake.SetTime(fake.Now().Add(5 * time.Minute))
		w.reconcileNow("p")
	}
	w.eventually("one event, repeated", func() bool {
		list := &eventsv1.EventList{}
		if err := api.List(t.Context(), list, client.InNamespace(w.namespace)); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) > 1 {
			t.Fatalf("%d events of one failure", len(list.Items))
		}
		return len(list.Items) == 1 && list.Items[0].Series != nil && list.Items[0].Series.Count >= 2
	}, func() string { return "" })
}

func TestWithoutCredentialsTheResourceSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.options.Replace.Cloud = func(cloud) cloud { return noCloud{} }
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonAccountNotReady)
	if ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "set the key") {
		t.Errorf("the message does not say what to do: %q", ready.Message)
	}
}

type noCloud struct{}

func (noCloud) Observe(context.Context, ecs.Group, ratelimit.Priority) (ecs.Observation, time.Duration, error) {
	return ecs.Observation{}, 0, &ecs.Error{Action: observe, Class: ecs.NoCredentials, Code: ecs.CodeNoCredentials, Message: "no credentials: set the key"}
}

func (noCloud) Modify(context.Context, ecs.Group, string, string) (string, time.Duration, error) {
	return "", 0, errors.New("not reached")
}
