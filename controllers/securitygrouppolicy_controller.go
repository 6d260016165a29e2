// Package controllers keeps SecurityGroupPolicies and the cloud in agreement:
// observe, compare, act, record. It sees the cloud as two calls with typed errors
// and knows neither how a request looks nor where credentials come from.
//
// Each decision has one place: what to do about an observation is in
// securitygrouppolicy_decide.go, what a failure means in _outcome.go, what the
// status says and who writes it in _status.go, what wakes a resource in
// _watches.go.
package controllers

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// Cloud is what the controller needs of ECS. Errors are *ecs.Error.
type Cloud interface {
	// Observe reads the policy of a group: Accept or Drop.
	Observe(ctx context.Context, g ecs.Group, p ratelimit.Priority) (string, error)
	// Modify sets it and returns ECS's request id. Repeated with the same client
	// token it has no second effect.
	Modify(ctx context.Context, g ecs.Group, policy, clientToken string) (string, error)
}

// SecurityGroupPolicyReconciler reconciles SecurityGroupPolicies. All fields but
// AllPolicies are required.
type SecurityGroupPolicyReconciler struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// APIReader reads from the API server itself, where a stale answer could
	// lead to a wrong call.
	APIReader client.Reader
	// Clouds gives the client of the account that a resource uses. An
	// *account.NotReadyError says why it has none.
	Clouds func(context.Context, *v1alpha1.SecurityGroupPolicy) (Cloud, error)
	// Recorder writes events.
	Recorder events.EventRecorder
	// Clock is the time.
	Clock clock.PassiveClock
	// ResyncInterval is how often the cloud is observed where a resource says
	// nothing.
	ResyncInterval time.Duration
	// MaxConcurrentReconciles is the number of passes at the same time.
	MaxConcurrentReconciles int
	// AllPolicies holds the resources of all shards, so that a group has one owner
	// among them. Nil if the manager's own cache does.
	AllPolicies cache.Cache

	memory memory
	claims claims
}

// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=securitygrouppolicies,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=securitygrouppolicies/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile makes one pass over a resource: observe the group, compare it with
// the spec, act where it differs, and record what was seen and done.
func (r *SecurityGroupPolicyReconciler) Reconcile(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (ctrl.Result, error) {
	defer r.enter(p)()
	stored := p.Status.DeepCopy()
	if released, err := r.releaseEarly(ctx, p); released || err != nil {
		return quietly(ctrl.Result{}, err)
	}
	if p.Spec.Suspend {
		return r.conclude(ctx, stored, p, suspended(p))
	}
	switch o := r.owner(p); {
	case o.owner != "" && !p.DeletionTimestamp.IsZero():
		return quietly(ctrl.Result{}, r.release(ctx, p, decision{step: stepSkip, because: o.owner + " owns the group"}))
	case o.owner != "":
		return r.conclude(ctx, stored, p, conflict(o.owner))
	case o.wait > 0:
		waited := r.waitedFor(p)
		wait := min(max(o.wait, waited/2), unknownOwner)
		if waited < patience {
			return ctrl.Result{RequeueAfter: wait}, nil
		}
		return r.conclude(ctx, stored, p, awaiting(o.awaited, wait))
	}
	r.noteMayGo(p)
	cloud, err := r.Clouds(ctx, p)
	if err != nil {
		return r.fail(ctx, stored, p, err)
	}

	observed, err := cloud.Observe(ctx, group(p), priority(p))
	if err != nil {
		return r.fail(ctx, stored, p, err)
	}
	r.noteObserved(p)

	d := decide(p, observed, r.leavingSince(p), r.Clock.Now())
	countDrift(p, observed)
	switch d.step {
	case stepChange:
		return r.change(ctx, stored, p, observed, d.change)
	case stepRelease, stepSkip:
		return quietly(ctrl.Result{}, r.release(ctx, p, d))
	case stepNone, stepReport, stepLookAgain, stepHold:
	}
	return r.conclude(ctx, stored, p, r.seen(p, observed, d))
}

// seen puts an observation that calls for no change into the status.
func (r *SecurityGroupPolicyReconciler) seen(p *v1alpha1.SecurityGroupPolicy, observed string, d decision) verdict {
	p.Status.LastError = nil
	if d.step == stepLookAgain {
		return progressing("The change is made; waiting for ECS to show it", d.wait)
	}
	p.Status.InnerAccessPolicy = observed
	switch d.step {
	case stepReport:
		return driftDetected(observed)
	case stepHold:
		return contested(min(d.wait, r.interval(p)))
	case stepNone, stepLookAgain, stepChange, stepRelease, stepSkip:
	}
	v := inSync(p)
	if d.wait > 0 {
		v.retry, v.wait = retryAt, d.wait
	}
	if p.Spec.ManagementPolicy != v1alpha1.ManagementObserve {
		p.Status.PendingModification = nil
	}
	return v
}

// change makes a change, so that a crash at any point leaves behind what is
// needed to go on: the request with its token is in the status before it is sent,
// and goes with the record of its outcome.
func (r *SecurityGroupPolicyReconciler) change(ctx context.Context, stored *v1alpha1.SecurityGroupPolicyStatus, p *v1alpha1.SecurityGroupPolicy, observed string, change v1alpha1.PendingModification) (ctrl.Result, error) {
	fresh := change.ClientToken == ""
	err := r.keepFinalizer(ctx, stored, p, true)
	switch {
	case err != nil:
	case fresh:
		err = r.writeAhead(ctx, stored, p, observed, &change)
	default:
		err = r.confirmNewest(ctx, p)
	}
	if err != nil {
		return quietly(ctrl.Result{}, err)
	}
	stored = p.Status.DeepCopy()

	// Once more, in case the account was withdrawn meanwhile.
	cloud, err := r.Clouds(ctx, p)
	var requestID string
	if err == nil {
		requestID, err = cloud.Modify(ctx, group(p), change.To, change.ClientToken)
	}
	if err != nil {
		p.Status.InnerAccessPolicy = observed
		if tokenRejected(err) || fresh && refused(err) {
			p.Status.PendingModification = nil
		}
		return r.fail(ctx, stored, p, err)
	}
	r.setModified(p, change, requestID)
	r.announceChange(ctx, p, change, requestID)

	if change.Cause == v1alpha1.CauseRestore {
		r.setVerdict(p, progressing("The original inner access policy is put back", 0))
		if err := r.recordChange(ctx, stored, p, change.ClientToken); err != nil {
			return quietly(ctrl.Result{}, err)
		}
		return quietly(ctrl.Result{}, r.removeFinalizer(ctx, p))
	}
	v := r.readBack(ctx, p, cloud, observed, change)
	r.setVerdict(p, v)
	r.noteHandled(p)
	if err := r.recordChange(ctx, stored, p, change.ClientToken); err != nil {
		return quietly(ctrl.Result{}, err)
	}
	return r.next(p, v), nil
}

// writeAhead notes a change before it is sent. The resourceVersion makes sure
// that the spec which asks for it is the newest.
func (r *SecurityGroupPolicyReconciler) writeAhead(ctx context.Context, stored *v1alpha1.SecurityGroupPolicyStatus, p *v1alpha1.SecurityGroupPolicy, observed string, change *v1alpha1.PendingModification) error {
	change.ClientToken = ecs.NewClientToken()
	if p.Status.OriginalInnerAccessPolicy == "" {
		p.Status.OriginalInnerAccessPolicy = observed
	}
	p.Status.InnerAccessPolicy = observed
	p.Status.PendingModification = change
	message := "Changing the inner access policy from " + change.From + " to " + change.To
	if change.Cause == v1alpha1.CauseRestore {
		message = "Putting the inner access policy back from " + change.From + " to " + change.To
	}
	// A resource that is stalled stays so until a retry has succeeded: nobody wants
	// to be told every ten minutes that it might be better now.
	if !stalledAt(p) {
		r.setVerdict(p, progressing(message, 0))
	}
	_, err := r.record(ctx, stored, p)
	return err
}

// confirmNewest makes sure that a change that is repeated is still the newest
// intent, since nothing is written before it.
func (r *SecurityGroupPolicyReconciler) confirmNewest(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) error {
	newest := &v1alpha1.SecurityGroupPolicy{}
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(p), newest); err != nil {
		return err
	}
	if newest.ResourceVersion != p.ResourceVersion {
		return errMovedOn
	}
	return nil
}

// readBack observes a group after its change: that is what the status shows.
func (r *SecurityGroupPolicyReconciler) readBack(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, cloud Cloud, before string, change v1alpha1.PendingModification) verdict {
	observed := before
	if before != change.To {
		var err error
		if observed, err = cloud.Observe(ctx, group(p), ratelimit.Finish); err != nil {
			if e, ok := errors.AsType[*ecs.Error](err); ok && e.Class == ecs.Held {
				return progressing("The change is made; waiting to see it", e.RetryAfter)
			}
			r.setError(p, err)
			return failure(p, err)
		}
		r.noteObserved(p)
	}
	switch d := decide(p, observed, r.leavingSince(p), r.Clock.Now()); d.step {
	case stepNone, stepLookAgain, stepReport:
		return r.seen(p, observed, d)
	case stepHold, stepChange, stepRelease, stepSkip:
	}
	p.Status.InnerAccessPolicy = observed
	return progressing("The spec asks for another change", time.Millisecond)
}

// fail records a failed call, or waits for a turn.
func (r *SecurityGroupPolicyReconciler) fail(ctx context.Context, stored *v1alpha1.SecurityGroupPolicyStatus, p *v1alpha1.SecurityGroupPolicy, err error) (ctrl.Result, error) {
	e, isCall := errors.AsType[*ecs.Error](err)
	switch {
	case ctx.Err() != nil:
		return ctrl.Result{}, ctx.Err()
	case isCall && e.Class == ecs.Held:
		return ctrl.Result{RequeueAfter: e.RetryAfter}, nil
	case isCall && e.Class == ecs.NotFound:
		if !p.DeletionTimestamp.IsZero() {
			return quietly(ctrl.Result{}, r.release(ctx, p, decision{step: stepSkip, because: "it does not exist any more"}))
		}
		p.Status.InnerAccessPolicy = ""
	}
	r.setError(p, err)
	return r.conclude(ctx, stored, p, failure(p, err))
}

// conclude records a verdict and says when the next pass is due.
func (r *SecurityGroupPolicyReconciler) conclude(ctx context.Context, stored *v1alpha1.SecurityGroupPolicyStatus, p *v1alpha1.SecurityGroupPolicy, v verdict) (ctrl.Result, error) {
	if v.reason != v1alpha1.ReasonSuspended {
		r.noteHandled(p)
	}
	if err := r.keepFinalizer(ctx, stored, p, mayHaveChanged(p)); err != nil {
		return quietly(ctrl.Result{}, err)
	}
	r.setVerdict(p, v)
	written, err := r.record(ctx, stored, p)
	if err != nil {
		return quietly(ctrl.Result{}, err)
	}
	if written {
		r.announce(p, v)
	}
	return r.next(p, v), nil
}

// noteHandled marks a request for a look at once as done.
func (r *SecurityGroupPolicyReconciler) noteHandled(p *v1alpha1.SecurityGroupPolicy) {
	if at := p.Annotations[v1alpha1.AnnotationReconcileRequestedAt]; at != "" {
		p.Status.LastHandledReconcileAt = at
	}
}

// countDrift counts a difference that somebody else made, when it is first seen.
func countDrift(p *v1alpha1.SecurityGroupPolicy, observed string) {
	desired := ecs.CanonicalPolicy(p.Spec.InnerAccessPolicy)
	if p.DeletionTimestamp.IsZero() && p.Status.InnerAccessPolicy == desired && observed != desired {
		metrics.Drift.WithLabelValues(p.Spec.RegionID).Inc()
	}
}

// errMovedOn says that a resource is not the one that the pass has read.
var errMovedOn = errors.New("the resource has changed meanwhile")

// quietly turns a resource that has moved on, or is gone, into a short wait: its
// change wakes it anyway.
func quietly(result ctrl.Result, err error) (ctrl.Result, error) {
	switch {
	case apierrors.IsNotFound(err):
		return result, nil
	case apierrors.IsConflict(err), errors.Is(err, errMovedOn):
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return result, err
}

func group(p *v1alpha1.SecurityGroupPolicy) ecs.Group {
	return ecs.Group{RegionID: p.Spec.RegionID, SecurityGroupID: p.Spec.SecurityGroupID, OwnerAccount: p.Spec.OwnerAccount}
}

// priority puts what a user has asked for before periodic work, until it is done or
// stalled: a refusal or a timeout on the way does not send it to the end of the line.
func priority(p *v1alpha1.SecurityGroupPolicy) ratelimit.Priority {
	asked := p.Annotations[v1alpha1.AnnotationReconcileRequestedAt]
	underWay := apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReconciling) &&
		!apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady)
	if p.Status.ObservedGeneration != p.Generation || p.Status.PendingModification != nil || underWay ||
		!p.DeletionTimestamp.IsZero() || (asked != "" && asked != p.Status.LastHandledReconcileAt) {
		return ratelimit.Edit
	}
	return ratelimit.Resync
}
