package securitygrouppolicy

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/conditions"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/failures"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// retry says when a resource is reconciled again without being asked.
type retry int

const (
	// retryNever: when something changes.
	retryNever retry = iota
	// retryResync: after the resync interval.
	retryResync
	// retryBackoff: soon, and each time later.
	retryBackoff
	// retrySlow: in 5 to 15 minutes.
	retrySlow
	// retryAt: after the outcome's wait.
	retryAt
)

// outcome is what a pass comes to: what is said, and what follows.
type outcome struct {
	conditions.Summary

	// quiet says that there is nothing new to say, and the status stays as it is. Only
	// a Ready that has grown too old is taken back.
	quiet bool
	// keepReady leaves Ready True while the last observation is young.
	keepReady bool
	retry     retry
	wait      time.Duration
	// release lets a resource that is being deleted go. The group is left as it is for
	// the reason that because gives, if there is one.
	release bool
	because string
	// endsClaim says that the resource has no right to its group any more.
	endsClaim bool
	// waits says that the resource waits for another one.
	waits bool
	// yields says that the next candidate for the group is to be tried.
	yields bool
	// err ends the pass without another word: the resource has changed meanwhile, or
	// the operator is wrong.
	err error
}

func inSync(p *v1alpha1.SecurityGroupPolicy) outcome {
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync,
		Message: "The security group's inner access policy is " + desired(p) + ", as declared"}, retry: retryResync}
}

func progressing(message string, wait time.Duration) outcome {
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonProgressing,
		Message: message, Beside: v1alpha1.ConditionReconciling}, retry: retryAt, wait: wait}
}

func driftDetected(observed string) outcome {
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonDriftDetected,
		Message: "The security group's inner access policy is " + observed + "; managementPolicy Observe does not allow a change"}, retry: retryResync}
}

// reported is for a group that differs and is left as it is.
func reported(s *pass) outcome {
	if isRolledBack(s.p) {
		return rolledBack(s.p)
	}
	return driftDetected(s.seen.Policy)
}

func rolledBack(p *v1alpha1.SecurityGroupPolicy) outcome {
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonRolledBack, Beside: v1alpha1.ConditionStalled,
		Message: "Nobody confirmed the change within spec.rollbackAfter, and it was put back to " + p.Status.Rollback.To + ": edit the spec to try it again, and confirm it in time by the annotation " + v1alpha1.AnnotationConfirm},
		retry: retryResync}
}

// approvalRequired is for a change that is not made yet.
func approvalRequired(message, beside string, again retry, wait time.Duration) outcome {
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonApprovalRequired, Message: message, Beside: beside}, retry: again, wait: wait}
}

func contested(wait time.Duration) outcome {
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonContested, Beside: v1alpha1.ConditionStalled,
		Message: "Somebody keeps changing the inner access policy back: find the other tool, or set managementPolicy to Observe; corrections continue at longer intervals"},
		retry: retryAt, wait: wait}
}

// suspended says of the present spec what the last observation says.
func suspended(p *v1alpha1.SecurityGroupPolicy) outcome {
	o := outcome{Summary: conditions.Summary{Ready: metav1.ConditionUnknown, Reason: v1alpha1.ReasonSuspended, Beside: v1alpha1.ConditionSuspended,
		Message: "Suspended before the security group was ever observed"}}
	if seen := p.Status.InnerAccessPolicy; seen != "" {
		o.Ready = metav1.ConditionFalse
		if seen == desired(p) {
			o.Ready = metav1.ConditionTrue
		}
		o.Message = "Suspended; the security group's inner access policy was last observed as " + seen
	}
	return o
}

// conflict names the holder only to those who can read it anyway.
func conflict(s *pass) outcome {
	holder := "A SecurityGroupPolicy in another namespace"
	if h := s.claim.Spec.Holder; h.Namespace == s.p.Namespace {
		holder = "The SecurityGroupPolicy " + h.Name
	}
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonConflict, Beside: v1alpha1.ConditionStalled,
		Message: holder + " holds the same security group: delete one of the two, or set managementPolicy to Observe"}, retry: retrySlow}
}

// quietly is how long a candidate waits for its turn without a word: mostly it learns
// by then who holds the group.
const quietly = 10 * time.Second

// waitingForTurn is for a candidate that is not the next one.
func waitingForTurn(s *pass) outcome {
	o := progressing("Waiting until another SecurityGroupPolicy that names the same security group has been tried", 0)
	o.retry, o.waits, o.quiet = retryBackoff, true, s.waited < quietly
	return o
}

// waitingForRate is for a resource that has no token yet to call the cloud with.
func waitingForRate(wait time.Duration) outcome {
	return outcome{Summary: conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonThrottled, Beside: v1alpha1.ConditionReconciling,
		Message: "Waiting for the rate limit: more calls are due than the account may make"}, quiet: true, keepReady: true, retry: retryAt, wait: wait}
}

// released lets a resource that is being deleted go.
func released(because string) outcome { return outcome{quiet: true, release: true, because: because} }

// restored is released after the original value was put back.
func restored() outcome {
	o := progressing("The original inner access policy is put back", 0)
	o.release, o.retry = true, retryNever
	return o
}

// gone is for a resource that is being deleted and does not concern the operator.
func gone() outcome { return outcome{quiet: true} }

// broken is for what must not happen.
func broken(err error) outcome { return outcome{quiet: true, err: err} }

// errMovedOn says that a resource is not the one that the pass has read.
var errMovedOn = errors.New("the resource has changed meanwhile")

// minUnreachable spreads those who wait until a region answers again.
const minUnreachable = 2 * time.Second

// failed is the outcome of a failed call, which is noted in the status.
func (r *Reconciler) failed(s *pass, err error) outcome {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || errors.Is(err, errMovedOn) {
		return outcome{quiet: true, err: err}
	}
	f := failures.Of(err)
	if f == policy.NotFound {
		if !s.p.DeletionTimestamp.IsZero() && s.madeThroughThisAccount() {
			return released("it does not exist any more")
		}
		s.p.Status.InnerAccessPolicy = ""
	}
	r.noteError(s, err)
	means := f.Means()
	reason, message := failures.Words(f, err, group(s.p), "status.lastError has the answer")
	o := outcome{Summary: conditions.Summary{Reason: reason, Message: message}, keepReady: means.KeepsReady, endsClaim: means.EndsClaim, yields: means.Yields, retry: retryBackoff}
	o.Ready, o.Beside = metav1.ConditionFalse, v1alpha1.ConditionReconciling
	if means.Stalled {
		o.Beside, o.retry = v1alpha1.ConditionStalled, retrySlow
	}
	if e, ok := errors.AsType[*ecs.Error](err); ok {
		o.wait = min(e.RetryAfter, maxRetryAfter)
		if e.Code == ecs.CodeUnreachable { // one of them asks on then, and the others soon after
			o.retry, o.wait = retryAt, o.wait+r.Jitter(minUnreachable)
		}
	}
	return o
}

// madeThroughThisAccount tells whether the changes of the group, and the one that may
// be under way, were made through the account that is used now: only then its word
// that there is no such group counts for them.
func (s *pass) madeThroughThisAccount() bool {
	same := func(name string) bool { return name == "" || name == s.account }
	last, pending := s.p.Status.LastModification, s.p.Status.PendingModification
	return (last == nil || same(last.Account)) && (pending == nil || same(pending.Account))
}

// eventType is that of the event which tells of an outcome; empty where none does.
func (o outcome) eventType() string {
	switch o.Reason {
	case v1alpha1.ReasonInSync, v1alpha1.ReasonProgressing, v1alpha1.ReasonSuspended:
		return ""
	}
	return corev1.EventTypeWarning
}
