package controllers

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// retry says when a resource is looked at again without being asked.
type retry int

const (
	// retryResync: after the resync interval.
	retryResync retry = iota
	// retryBackoff: soon, and each time later.
	retryBackoff
	// retrySlow: in 5 to 15 minutes.
	retrySlow
	// retryAt: after the verdict's wait.
	retryAt
	// retryNever: when something changes.
	retryNever
)

// verdict is what a pass makes of a resource: its conditions and its next time.
type verdict struct {
	ready   metav1.ConditionStatus
	reason  string
	message string
	// also is the condition beside Ready that is True: Reconciling, Stalled,
	// Suspended, or none.
	also string
	// keepReady leaves Ready True where it is, while the last observation is young.
	keepReady bool
	retry     retry
	wait      time.Duration
}

func inSync(p *v1alpha1.SecurityGroupPolicy) verdict {
	return verdict{ready: metav1.ConditionTrue, reason: v1alpha1.ReasonInSync, retry: retryResync,
		message: "The security group's inner access policy is " + ecs.CanonicalPolicy(p.Spec.InnerAccessPolicy) + ", as declared"}
}

func progressing(message string, wait time.Duration) verdict {
	return verdict{ready: metav1.ConditionFalse, reason: v1alpha1.ReasonProgressing, also: v1alpha1.ConditionReconciling,
		message: message, retry: retryAt, wait: wait}
}

func driftDetected(observed string) verdict {
	return verdict{ready: metav1.ConditionFalse, reason: v1alpha1.ReasonDriftDetected, retry: retryResync,
		message: "The security group's inner access policy is " + observed + "; managementPolicy Observe forbids to change it"}
}

func contested(wait time.Duration) verdict {
	return verdict{ready: metav1.ConditionFalse, reason: v1alpha1.ReasonContested, also: v1alpha1.ConditionStalled,
		message: "Somebody keeps changing the inner access policy back: find the other tool, or set managementPolicy to Observe; corrections go on at longer intervals",
		retry:   retryAt, wait: wait}
}

// suspended says of the present spec what the last observation says.
func suspended(p *v1alpha1.SecurityGroupPolicy) verdict {
	v := verdict{ready: metav1.ConditionUnknown, reason: v1alpha1.ReasonSuspended, also: v1alpha1.ConditionSuspended, retry: retryNever,
		message: "Suspended before the security group was ever observed"}
	if seen := p.Status.InnerAccessPolicy; seen != "" {
		v.ready = metav1.ConditionFalse
		if seen == ecs.CanonicalPolicy(p.Spec.InnerAccessPolicy) {
			v.ready = metav1.ConditionTrue
		}
		v.message = "Suspended; the security group's inner access policy was last seen as " + seen
	}
	return v
}

func conflict(owner string) verdict {
	return verdict{ready: metav1.ConditionFalse, reason: v1alpha1.ReasonConflict, also: v1alpha1.ConditionStalled, retry: retrySlow,
		message: "The older SecurityGroupPolicy " + owner + " owns the same security group: delete one of the two"}
}

// awaiting says why nothing happens while an older resource has not been looked at:
// it may belong to a shard that has no manager. Without a name, nobody knows yet
// whether there is one.
func awaiting(older string, wait time.Duration) verdict {
	if older == "" {
		return progressing("Waiting to learn which other SecurityGroupPolicies name the same security group", wait)
	}
	return progressing("The older SecurityGroupPolicy "+older+" names the same security group and has not been looked at yet: if that lasts, no manager is responsible for it", wait)
}

// failure is the contract's table of what a failed call means.
func failure(p *v1alpha1.SecurityGroupPolicy, err error) verdict {
	if notReady, ok := errors.AsType[*account.NotReadyError](err); ok {
		return stalled(v1alpha1.ReasonAccountNotReady, notReady.Reason, retrySlow)
	}
	e, ok := errors.AsType[*ecs.Error](err)
	if !ok {
		e = &ecs.Error{Class: ecs.Unavailable}
	}
	group := fmt.Sprintf("security group %s in %s", p.Spec.SecurityGroupID, p.Spec.RegionID)
	switch e.Class {
	case ecs.Throttled:
		return passing(v1alpha1.ReasonThrottled, "ECS answers that there are too many calls; calls go on more slowly", e.RetryAfter)
	case ecs.NotFound:
		return stalled(v1alpha1.ReasonSecurityGroupNotFound, "There is no "+group+" in this account: check spec.regionId and spec.securityGroupId", retrySlow)
	case ecs.UnsupportedGroup:
		return stalled(v1alpha1.ReasonUnsupportedSecurityGroupType, "The "+group+" is an advanced (enterprise) group, whose instances are always isolated: delete this resource", retrySlow)
	case ecs.ManagedGroup:
		return stalled(v1alpha1.ReasonManagedByCloudProduct, "The "+group+" is managed by a cloud product, which alone may change it: delete this resource", retrySlow)
	case ecs.Invalid:
		return stalled(v1alpha1.ReasonInvalidRequest, "ECS refuses a parameter ("+e.Code+"): correct the spec; status.lastError has the answer", retrySlow)
	case ecs.Denied:
		return stalled(v1alpha1.ReasonAccessDenied, "The call was refused ("+e.Code+"): correct the credentials or the RAM policy; status.lastError has the answer", retrySlow)
	case ecs.NoCredentials:
		return stalled(v1alpha1.ReasonAccountNotReady, e.Message, retrySlow)
	case ecs.Held, ecs.Unavailable, ecs.TokenRejected:
	}
	what := e.Code
	if what == "" {
		what = "unknown"
	}
	return passing(v1alpha1.ReasonCloudUnavailable, "The last call failed ("+what+") and is tried again; status.lastError has the answer", e.RetryAfter)
}

func passing(reason, message string, wait time.Duration) verdict {
	return verdict{ready: metav1.ConditionFalse, reason: reason, message: message, also: v1alpha1.ConditionReconciling,
		keepReady: true, retry: retryBackoff, wait: wait}
}

func stalled(reason, message string, r retry) verdict {
	return verdict{ready: metav1.ConditionFalse, reason: reason, message: message, also: v1alpha1.ConditionStalled, retry: r}
}

// tokenRejected tells whether a change failed because of its client token.
func tokenRejected(err error) bool {
	e, ok := errors.AsType[*ecs.Error](err)
	return ok && e.Class == ecs.TokenRejected
}

// refused tells whether a failed change has certainly had no effect.
func refused(err error) bool {
	if _, notReady := errors.AsType[*account.NotReadyError](err); notReady {
		return true
	}
	e, ok := errors.AsType[*ecs.Error](err)
	if !ok {
		return false
	}
	switch e.Class {
	case ecs.NotFound, ecs.UnsupportedGroup, ecs.ManagedGroup, ecs.Invalid, ecs.Denied, ecs.NoCredentials, ecs.TokenRejected, ecs.Held:
		return true
	case ecs.Throttled, ecs.Unavailable:
	}
	return false
}
