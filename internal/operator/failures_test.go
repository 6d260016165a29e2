package operator_test

import (
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

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
			w.reconcileNow("p")
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
	p := w.reconcileNow("p")
	if !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) || !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReconciling) {
		t.Errorf("after one failure: %+v", p.Status.Conditions)
	}
	fake.SetTime(fake.Now().Add(20 * time.Minute))
	p = w.reconcileNow("p")
	if apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("two intervals after the last observation: %+v", p.Status.Conditions)
	}
	w.sim.ClearFaults()
	w.reconcileNow("p")
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
	n.want(t, 1, 0, 0)
	fake.SetTime(fake.Now().Add(5 * time.Minute))
	w.await("p", "written again", func(p *policy) bool { return p.Status.LastError.RequestID != first.Status.LastError.RequestID })
}
