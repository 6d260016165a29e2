package controllers

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

type policy = v1alpha1.SecurityGroupPolicy

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
	g, _ := w.sim.Group(region, group)
	if g.Policy != want {
		w.t.Errorf("the group is %s in the cloud, want %s", g.Policy, want)
	}
	n := 0
	for _, e := range w.sim.Effects(region, group) {
		if e.ByAPI {
			n++
		}
	}
	if n != changes {
		w.t.Errorf("the group was changed %d times, want %d: %+v", n, changes, w.sim.Effects(region, group))
	}
}

// countWrites has every write of status and metadata counted.
func (w *world) countWrites() *writes {
	counted := &writes{}
	w.wrap = func(inner client.WithWatch) client.Client {
		return interceptor.NewClient(inner, interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				counted.meta.Add(1)
				return c.Patch(ctx, o, p, opts...)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				if hook := counted.before.Load(); hook != nil {
					(*hook)(o.(*policy))
				}
				counted.status.Add(1)
				return c.SubResource(sub).Patch(ctx, o, p, opts...)
			},
		})
	}
	return counted
}

type writes struct {
	status, meta atomic.Int64
	before       atomic.Pointer[func(*policy)]
}

func (n *writes) want(t *testing.T, status, metadata int64) {
	t.Helper()
	if n.status.Load() != status || n.meta.Load() != metadata {
		t.Errorf("%d status and %d metadata writes, want %d and %d", n.status.Load(), n.meta.Load(), status, metadata)
	}
}

func TestAGroupInSyncCostsOneReadAndOneWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	n := w.countWrites()
	w.policy("p", "sg-1", "dROP", func(p *policy) { p.Spec.OwnerAccount = "owner@example.com" })
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if p.Status.InnerAccessPolicy != "Drop" || p.Status.LastModification != nil || p.Status.OriginalInnerAccessPolicy != "" || p.Status.ObservedGeneration != 1 {
		t.Errorf("status %+v", p.Status)
	}
	n.want(t, 1, 0)
	w.lookNow("p")
	w.cloudIs("sg-1", "Drop", 0)
	if r, m := w.calls(observe, "sg-1"), w.calls(modify, "sg-1"); r != 2 || m != 0 {
		t.Errorf("%d reads and %d changes, want 2 (one was asked for) and 0", r, m)
	}
	call := w.sim.Calls()[0]
	if call.OwnerAccount != "owner@example.com" || call.Params["MaxResults"] != "10" || call.Params["Direction"] != "ingress" {
		t.Errorf("the read asked %+v", call)
	}
}

func TestAChangeCostsTwoReadsOneCallAndTwoWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	n := w.countWrites()
	var ahead policy
	n.before.Store(new(func(p *policy) {
		if n.status.Load() == 0 {
			ahead = *p.DeepCopy()
		}
	}))
	w.policy("p", "sg-1", "drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	n.want(t, 2, 0)
	if r, m := w.calls(observe, "sg-1"), w.calls(modify, "sg-1"); r != 2 || m != 1 {
		t.Errorf("%d reads and %d changes, want 2 and 1", r, m)
	}
	effect := w.sim.Effects(region, "sg-1")[0]
	last := p.Status.LastModification
	if last == nil || last.RequestID != effect.RequestID || last.From != "Accept" || last.To != "Drop" || last.Cause != v1alpha1.CauseSpec || last.Time.IsZero() {
		t.Errorf("lastModification %+v, want what ECS answered: %+v", last, effect)
	}
	if p.Status.OriginalInnerAccessPolicy != "Accept" || p.Status.PendingModification != nil || p.Status.LastError != nil {
		t.Errorf("status %+v", p.Status)
	}
	pending := ahead.Status.PendingModification
	if pending == nil || pending.ClientToken != effect.ClientToken || ahead.Status.OriginalInnerAccessPolicy != "Accept" || !apimeta.IsStatusConditionTrue(ahead.Status.Conditions, v1alpha1.ConditionReconciling) {
		t.Errorf("written ahead: %+v", ahead.Status)
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
	effects := w.sim.Effects(region, "sg-1")
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
	w.sim.SetPolicy(region, "sg-1", "Accept")
	w.lookNow("p")
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

// TestEveryFailureHasItsReasonAndHeals walks the contract's table.
func TestEveryFailureHasItsReasonAndHeals(t *testing.T) {
	t.Parallel()
	type fault = ecssim.Fault
	refusal := func(action string, status int, code string) fault {
		return fault{Kind: ecssim.Error, Action: action, Status: status, Code: code, Message: "as ECS says"}
	}
	for name, c := range map[string]struct {
		fault  fault
		reason string
		code   string
		status int32
		also   string
	}{
		"throttled":                          {fault{Kind: ecssim.Throttle, Action: observe}, v1alpha1.ReasonThrottled, "Throttling.User", 400, v1alpha1.ConditionReconciling},
		"throttled when changing":            {fault{Kind: ecssim.Throttle, Action: modify}, v1alpha1.ReasonThrottled, "Throttling.User", 400, v1alpha1.ConditionReconciling},
		"an internal error":                  {refusal(observe, 500, "InternalError"), v1alpha1.ReasonCloudUnavailable, "InternalError", 500, v1alpha1.ConditionReconciling},
		"unavailable":                        {refusal(modify, 503, "ServiceUnavailable"), v1alpha1.ReasonCloudUnavailable, "ServiceUnavailable", 503, v1alpha1.ConditionReconciling},
		"a concurrent operation":             {refusal(modify, 409, "OperationConflict"), v1alpha1.ReasonCloudUnavailable, "OperationConflict", 409, v1alpha1.ConditionReconciling},
		"the first call is still running":    {refusal(modify, 403, "LastTokenProcessing"), v1alpha1.ReasonCloudUnavailable, "LastTokenProcessing", 403, v1alpha1.ConditionReconciling},
		"a code nobody knows":                {refusal(modify, 404, "Brand.New"), v1alpha1.ReasonCloudUnavailable, "Brand.New", 404, v1alpha1.ConditionReconciling},
		"a lost connection":                  {fault{Kind: ecssim.ResetBefore, Action: observe}, v1alpha1.ReasonCloudUnavailable, ecs.CodeConnectionFailed, 0, v1alpha1.ConditionReconciling},
		"a page of a proxy":                  {fault{Kind: ecssim.HTML, Action: observe, Status: 404}, v1alpha1.ReasonCloudUnavailable, ecs.CodeInvalidResponse, 404, v1alpha1.ConditionReconciling},
		"an answer without content":          {fault{Kind: ecssim.WrongJSON, Action: observe}, v1alpha1.ReasonCloudUnavailable, ecs.CodeInvalidResponse, 200, v1alpha1.ConditionReconciling},
		"an empty answer to a change":        {fault{Kind: ecssim.Empty, Action: modify}, v1alpha1.ReasonCloudUnavailable, ecs.CodeInvalidResponse, 200, v1alpha1.ConditionReconciling},
		"an answer that breaks off":          {fault{Kind: ecssim.Truncated, Action: observe}, v1alpha1.ReasonCloudUnavailable, ecs.CodeInvalidResponse, 200, v1alpha1.ConditionReconciling},
		"a giant answer":                     {fault{Kind: ecssim.Giant, Action: observe}, v1alpha1.ReasonCloudUnavailable, ecs.CodeInvalidResponse, 200, v1alpha1.ConditionReconciling},
		"no such group":                      {refusal(observe, 404, "InvalidSecurityGroupId.NotFound"), v1alpha1.ReasonSecurityGroupNotFound, "InvalidSecurityGroupId.NotFound", 404, v1alpha1.ConditionStalled},
		"an enterprise group":                {refusal(modify, 404, "InvalidParameter.InnerAccessPolicy"), v1alpha1.ReasonUnsupportedSecurityGroupType, "InvalidParameter.InnerAccessPolicy", 404, v1alpha1.ConditionStalled},
		"a group of a cloud product":         {refusal(modify, 403, "InvalidOperation.ResourceManagedByCloudProduct"), v1alpha1.ReasonManagedByCloudProduct, "InvalidOperation.ResourceManagedByCloudProduct", 403, v1alpha1.ConditionStalled},
		"an unknown region":                  {refusal(observe, 404, "InvalidRegionId.NotFound"), v1alpha1.ReasonInvalidRequest, "InvalidRegionId.NotFound", 404, v1alpha1.ConditionStalled},
		"a refused parameter":                {refusal(modify, 400, "InvalidPolicy.Malformed"), v1alpha1.ReasonInvalidRequest, "InvalidPolicy.Malformed", 400, v1alpha1.ConditionStalled},
		"an unknown key":                     {refusal(observe, 404, "InvalidAccessKeyId.NotFound"), v1alpha1.ReasonAccessDenied, "InvalidAccessKeyId.NotFound", 404, v1alpha1.ConditionStalled},
		"a wrong secret":                     {refusal(observe, 400, "SignatureDoesNotMatch"), v1alpha1.ReasonAccessDenied, "SignatureDoesNotMatch", 400, v1alpha1.ConditionStalled},
		"a wrong secret, as ECS used to say": {refusal(observe, 400, "IncompleteSignature"), v1alpha1.ReasonAccessDenied, "IncompleteSignature", 400, v1alpha1.ConditionStalled},
		"an expired token":                   {refusal(observe, 400, "InvalidSecurityToken.Expired"), v1alpha1.ReasonAccessDenied, "InvalidSecurityToken.Expired", 400, v1alpha1.ConditionStalled},
		"an expired token, as ECS used to say": {fault{Kind: ecssim.Error, Action: observe, Status: 400, Code: "InvalidParameter", Message: "The specified parameter SecurityToken.Expired is not valid."},
			v1alpha1.ReasonAccessDenied, "InvalidParameter", 400, v1alpha1.ConditionStalled},
		"no permission": {refusal(modify, 403, "Forbidden.RAM"), v1alpha1.ReasonAccessDenied, "Forbidden.RAM", 403, v1alpha1.ConditionStalled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
			w.sim.Inject(c.fault)
			w.policy("p", "sg-1", "Drop")
			w.start()
			p := w.awaitReason("p", c.reason)
			e := p.Status.LastError
			if e == nil || e.Code != c.code || e.HTTPStatus != c.status || e.Action != c.fault.Action || e.Time.IsZero() || e.Message == "" {
				t.Errorf("lastError %+v, want %s %s (%d)", e, c.fault.Action, c.code, c.status)
			}
			if !apimeta.IsStatusConditionTrue(p.Status.Conditions, c.also) || apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) {
				t.Errorf("conditions %+v, want %s", p.Status.Conditions, c.also)
			}
			if c.also == v1alpha1.ConditionStalled && p.Status.PendingModification != nil {
				t.Errorf("a change that was refused is still pending: %+v", p.Status.PendingModification)
			}
			w.awaitEvent("p", c.reason)
			w.sim.ClearFaults()
			w.lookNow("p")
			p = w.awaitReason("p", v1alpha1.ReasonInSync)
			if p.Status.LastError != nil || p.Status.PendingModification != nil {
				t.Errorf("left behind: %+v", p.Status)
			}
			w.cloudIs("sg-1", "Drop", 1)
		})
	}
}

func TestAFailureThatPassesHealsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 500, Code: "InternalError", Times: 2})
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
}

func TestReadyOutlivesAFaultButNotAnEdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 503, Code: "ServiceUnavailable"})
	p := w.lookNow("p")
	if !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) || !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReconciling) {
		t.Errorf("after one failure: %+v", p.Status.Conditions)
	}
	fake.SetTime(fake.Now().Add(20 * time.Minute))
	p = w.lookNow("p")
	if apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("two intervals after the last observation: %+v", p.Status.Conditions)
	}
	w.sim.ClearFaults()
	w.lookNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 503, Code: "ServiceUnavailable"})
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
	w.awaitReason("p", v1alpha1.ReasonCloudUnavailable)
}

func TestARepeatedFailureIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	n := w.countWrites()
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 500, Code: "InternalError"})
	w.policy("p", "sg-1", "Drop")
	w.start()
	first := w.awaitReason("p", v1alpha1.ReasonCloudUnavailable)
	w.eventually("three more tries", func() bool { return w.calls(observe, "sg-1") > 3 }, func() string { return "" })
	n.want(t, 1, 0)
	fake.SetTime(fake.Now().Add(repeatedError))
	w.await("p", "written again", func(p *policy) bool { return p.Status.LastError.RequestID != first.Status.LastError.RequestID })
}

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
			if p.Status.PendingModification == nil || p.Status.OriginalInnerAccessPolicy != "Accept" {
				t.Fatalf("left behind: %+v", p.Status)
			}
			w.start()
			p = w.awaitReason("p", v1alpha1.ReasonInSync)
			w.cloudIs("sg-1", "Drop", 1)
			effect := w.sim.Effects(region, "sg-1")[0]
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
	w.timeout = 300 * time.Millisecond
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangAfter, Action: modify, Times: 1})
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	if p.Status.LastModification.RequestID != w.sim.Effects(region, "sg-1")[0].RequestID {
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
			w.cloud = func(c Cloud) Cloud {
				return interceptedCloud{Cloud: c, observed: func() { once.Do(func() { w.edit("p", change) }) }}
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
	w.cloud = func(c Cloud) Cloud {
		return interceptedCloud{Cloud: c, observed: func() { withdrawn.Store(true) }}
	}
	w.options = append(w.options, func(r *SecurityGroupPolicyReconciler) {
		inner := r.Clouds
		r.Clouds = func(ctx context.Context, p *policy) (Cloud, error) {
			if withdrawn.Load() {
				return nil, &account.NotReadyError{Reason: "withdrawn"}
			}
			return inner(ctx, p)
		}
	})
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
	n.before.Store(new(func(p *policy) {
		seen.Store(apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Reason, true)
	}))
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonUnsupportedSecurityGroupType)
	seen.Clear()
	w.lookNow("p")
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
	Cloud
	observed func()
	modified func()
}

func (c interceptedCloud) Observe(ctx context.Context, g ecs.Group, p ratelimit.Priority) (string, error) {
	policy, err := c.Cloud.Observe(ctx, g, p)
	if c.observed != nil {
		c.observed()
	}
	return policy, err
}

func (c interceptedCloud) Modify(ctx context.Context, g ecs.Group, policy, token string) (string, error) {
	id, err := c.Cloud.Modify(ctx, g, policy, token)
	if c.modified != nil {
		c.modified()
	}
	return id, err
}

func TestTheRecordOfAChangeOutlivesAnEditMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	var once sync.Once
	w.cloud = func(c Cloud) Cloud {
		return interceptedCloud{Cloud: c, modified: func() { once.Do(func() { w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" }) }) }}
	}
	n := w.countWrites()
	var recorded []string
	n.before.Store(new(func(p *policy) {
		if m := p.Status.LastModification; m != nil {
			recorded = append(recorded, m.RequestID)
		}
	}))
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.await("p", "changed back", func(p *policy) bool {
		return p.Status.ObservedGeneration == 2 && apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady)
	})
	w.cloudIs("sg-1", "Accept", 2)
	effects := w.sim.Effects(region, "sg-1")
	if p.Status.LastModification.RequestID != effects[1].RequestID || p.Status.OriginalInnerAccessPolicy != "Accept" || len(recorded) == 0 || recorded[0] != effects[0].RequestID {
		t.Errorf("status %+v, recorded %v, effects %+v", p.Status, recorded, effects)
	}
}

func TestTwoToolsDoNotFlapANetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	for i := range contestLimit {
		w.sim.SetPolicy(region, "sg-1", "Accept")
		w.lookNow("p")
		w.awaitReason("p", v1alpha1.ReasonInSync)
		w.cloudIs("sg-1", "Drop", i+1)
	}
	w.sim.SetPolicy(region, "sg-1", "Accept")
	w.lookNow("p")
	p := w.awaitReason("p", v1alpha1.ReasonContested)
	if !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	w.awaitEvent("p", v1alpha1.ReasonContested)
	w.cloudIs("sg-1", "Accept", contestLimit)
	fake.SetTime(fake.Now().Add(firstSpacing))
	w.lookNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", contestLimit+1)
}

func TestOneGroupHasOneOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	first := w.policy("older", "sg-1", "Drop")
	w.start()
	w.awaitReason("older", v1alpha1.ReasonInSync)
	// Within one second the UID decides; this is about the age.
	w.eventually("a second has passed", func() bool { return time.Since(first.CreationTimestamp.Time) > time.Second }, func() string { return "" })
	w.policy("younger", "sg-1", "Accept")
	p := w.awaitReason("younger", v1alpha1.ReasonConflict)
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if !strings.Contains(ready.Message, w.namespace+"/older") {
		t.Errorf("the message does not name the owner: %q", ready.Message)
	}
	w.cloudIs("sg-1", "Drop", 0)
	if err := api.Delete(t.Context(), w.get("older")); err != nil {
		t.Fatal(err)
	}
	w.awaitReason("younger", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Accept", 1)
}

func TestTwoNewResourcesOfOneGroupDoNotFight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	a, b := w.policy("a", "sg-1", "Drop"), w.policy("b", "sg-1", "Accept")
	w.start()
	winner, loser, want, changes := "a", "b", "Drop", 0
	if older(b, a) {
		winner, loser, want, changes = "b", "a", "Accept", 1
	}
	w.awaitReason(winner, v1alpha1.ReasonInSync)
	w.awaitReason(loser, v1alpha1.ReasonConflict)
	w.cloudIs("sg-1", want, changes)
}

func TestAResourceThatCannotReachAGroupOwnsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("squatter", "sg-1", "Accept", func(p *policy) { p.Spec.AccountRef = &v1alpha1.AccountReference{Name: "not-mine"} })
	w.start()
	w.awaitReason("squatter", v1alpha1.ReasonAccountNotReady)
	w.policy("rightful", "sg-1", "Drop")
	w.awaitReason("rightful", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 0)
}

func (w *world) deletePolicy(name string) {
	w.t.Helper()
	if err := api.Delete(w.t.Context(), w.get(name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) awaitGone(name string) {
	w.t.Helper()
	w.eventually(name+" is gone", func() bool {
		err := api.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, &policy{})
		return apierrors.IsNotFound(err)
	}, func() string { return "still there" })
}

func restore(p *policy) { p.Spec.DeletionPolicy = v1alpha1.DeletionRestore }

func TestRestorePutsTheOriginalBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if !controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore) {
		t.Error("no finalizer although there is something to put back")
	}
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Accept", 2)
	w.awaitEvent("p", v1alpha1.EventRestored)
}

func TestRestoreAsksForNoFinalizerWhereNothingWasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	if p := w.awaitReason("p", v1alpha1.ReasonInSync); len(p.Finalizers) != 0 {
		t.Errorf("finalizers %v", p.Finalizers)
	}
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Drop", 0)
}

func TestTheFinalizerFollowsTheDeletionPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop")
	w.start()
	if p := w.awaitReason("p", v1alpha1.ReasonInSync); len(p.Finalizers) != 0 {
		t.Errorf("a finalizer without Restore: %v", p.Finalizers)
	}
	w.edit("p", restore)
	w.await("p", "has the finalizer", func(p *policy) bool { return len(p.Finalizers) == 1 })
	w.edit("p", func(p *policy) { p.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	w.await("p", "has no finalizer", func(p *policy) bool { return len(p.Finalizers) == 0 })
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Drop", 1)
}

func TestRestoreLeavesAGroupThatSomebodyElseHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("p", "sg-1", "Accept", restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Drop" })
	w.await("p", "drops", func(p *policy) bool {
		return p.Status.InnerAccessPolicy == "Drop" && apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady)
	})
	w.sim.SetPolicy(region, "sg-1", "Accept")
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Accept", 2)
	w.awaitEvent("p", v1alpha1.EventRestoreSkipped)
}

func TestRestoreWaitsForTheCloudAndCanBeAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 403, Code: "Forbidden.RAM"})
	w.deletePolicy("p")
	p := w.await("p", "says why it waits", func(p *policy) bool { return p.Status.LastError != nil })
	if ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); ready.Reason != v1alpha1.ReasonAccessDenied {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	w.edit("p", func(p *policy) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationAbandon, "true") })
	w.awaitGone("p")
	w.cloudIs("sg-1", "Drop", 1)
	w.awaitEvent("p", v1alpha1.EventRestoreSkipped)
}

func TestRestoreLetsGoWhenTheGroupIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.DeleteGroup(region, "sg-1")
	w.deletePolicy("p")
	w.awaitGone("p")
}

func TestACrashWhileRestoringRestoresOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	stop := w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangAfter, Action: modify, Times: 1})
	w.deletePolicy("p")
	w.eventually("the call is under way", func() bool { return w.calls(modify, "sg-1") == 2 }, func() string { return "" })
	stop()
	w.start()
	w.awaitGone("p")
	w.cloudIs("sg-1", "Accept", 2)
}

func TestARestartCausesNoWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"}, ecssim.Group{ID: "sg-2", Policy: "Drop"})
	w.policy("changed", "sg-1", "Drop")
	w.policy("same", "sg-2", "Drop")
	stop := w.start()
	w.awaitReason("changed", v1alpha1.ReasonInSync)
	w.awaitReason("same", v1alpha1.ReasonInSync)
	stop()
	w.sim.ResetCalls()
	n := w.countWrites()
	w.start()
	w.eventually("each was looked at once", func() bool { return w.calls(observe, "sg-1") == 1 && w.calls(observe, "sg-2") == 1 }, func() string { return "" })
	w.lookNow("changed") // a pass later than those of the start
	n.want(t, 1, 0)      // that of the look which was asked for
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
		fake.SetTime(fake.Now().Add(repeatedError))
		w.lookNow("p")
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
	w.options = append(w.options, func(r *SecurityGroupPolicyReconciler) {
		r.Clouds = func(context.Context, *policy) (Cloud, error) { return noCloud{}, nil }
	})
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonAccountNotReady)
	if ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "set the key") {
		t.Errorf("the message does not say what to do: %q", ready.Message)
	}
}

type noCloud struct{}

func (noCloud) Observe(context.Context, ecs.Group, ratelimit.Priority) (string, error) {
	return "", &ecs.Error{Action: observe, Class: ecs.NoCredentials, Code: ecs.CodeNoCredentials, Message: "no credentials: set the key"}
}

func (noCloud) Modify(context.Context, ecs.Group, string, string) (string, error) {
	return "", errors.New("not reached")
}
