package securitygrouppolicy

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/conditions"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/policy"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

const (
	kind = "SecurityGroupPolicy"

	// repeatedError is how long a failure that repeats unchanged is not written again.
	repeatedError = 5 * time.Minute
	// firstBackoff and maxBackoff bound the wait after a failure that passes.
	firstBackoff = time.Second
	maxBackoff   = 5 * time.Minute
	// minSlow and maxSlow bound the wait after one that does not.
	minSlow = 5 * time.Minute
	maxSlow = 15 * time.Minute
	// maxRetryAfter bounds what ECS may ask for.
	maxRetryAfter = 5 * time.Minute
)

// finish is the one exit of a pass: finalizer, conditions, the status write, events
// and the log line, and the claim. What it returns says when to come back.
func (r *Reconciler) finish(ctx context.Context, s *pass, o outcome) outcome {
	if ctx.Err() != nil {
		return outcome{quiet: true, err: ctx.Err()}
	}
	if o.err != nil {
		return o
	}
	before := s.stored
	r.summarize(s, o)
	if err := r.write(ctx, s); err != nil {
		return outcome{quiet: true, err: err}
	}
	for _, effect := range s.effects {
		r.announceEffect(ctx, s.p, effect)
	}
	for _, tell := range s.told {
		tell()
	}
	r.announce(ctx, s, before, o)
	if o.release {
		if err := r.release(ctx, s, o); err != nil {
			return outcome{quiet: true, err: err}
		}
		return o
	}
	if err := r.settleClaim(ctx, s, o); err != nil {
		return outcome{quiet: true, err: err}
	}
	return o
}

// summarize puts the outcome into the status.
func (r *Reconciler) summarize(s *pass, o outcome) {
	status, now := &s.p.Status, r.Clock.Now()
	if at := requested(s.p); at != "" && !o.quiet && !s.p.Spec.Suspend {
		status.LastHandledReconcileAt = at
	}
	keep := o.keepReady && r.isReadyStill(s, now)
	// A Ready that speaks of an earlier spec misleads nobody.
	if o.quiet && (!o.keepReady || keep || !conditions.IsTrueAt(status.Conditions, v1alpha1.ConditionReady, s.p.Generation)) {
		return
	}
	conditions.Set(&status.Conditions, s.p.Generation, o.Summary, keep, now)
	status.ObservedGeneration = s.p.Generation
}

// isReadyStill tells whether Ready may stay True although there is no new observation:
// the spec is the same, and the last observation equals it and is younger than two
// resync intervals. A process that has not observed the group yet has two intervals for
// it: the last one has taken Ready back where it could not, and at each restart of a
// large fleet most resources have to wait for the rate.
func (r *Reconciler) isReadyStill(s *pass, now time.Time) bool {
	ready := apimeta.FindStatusCondition(s.p.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != s.p.Generation {
		return false
	}
	observed, at := s.seen.Policy, s.observedAt
	if at.IsZero() {
		observed, at = s.known.observed, s.known.observedAt
	}
	if at.IsZero() {
		observed, at = desired(s.p), s.known.since
	}
	return observed == desired(s.p) && policy.Recent(at, now, 2*r.interval(s.p))
}

// write is the status write of a pass, and the finalizer of a resource that lives on:
// it is there while, and only while, a deletion would have something to put back.
func (r *Reconciler) write(ctx context.Context, s *pass) error {
	if s.p.DeletionTimestamp.IsZero() {
		changed := s.p.Status.LastModification != nil || s.p.Status.PendingModification != nil
		if err := r.setFinalizer(ctx, s, changed && putsBack(s.p)); err != nil && !s.sent {
			return err
		}
	}
	written, err := conditions.WriteStatus(ctx, r.Client, s.p, &s.stored.Status, &s.p.Status)
	if s.sent {
		err = r.writeOnNewest(ctx, s, err)
	}
	if err != nil {
		return err
	}
	if written {
		s.stored = s.p.DeepCopy()
	}
	return nil
}

// writeOnNewest makes sure that what became of a request is not lost because the
// resource was edited meanwhile: it is written onto the newest version, if that still
// waits for the outcome of this very request. Where another manager has repeated it, a
// refusal says nothing of the repetition, but ECS's answer is that of both.
func (r *Reconciler) writeOnNewest(ctx context.Context, s *pass, err error) error {
	request := s.stored.Status.PendingModification
	for range 5 {
		if !apierrors.IsConflict(err) || request == nil {
			return err
		}
		newest := &v1alpha1.SecurityGroupPolicy{}
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(s.p), newest); err != nil {
			return client.IgnoreNotFound(err)
		}
		pending := newest.Status.PendingModification
		if newest.UID != s.p.UID || pending == nil || pending.ClientToken != request.ClientToken ||
			pendingID(pending) != pendingID(request) && !s.answered() {
			return nil
		}
		s.stored = newest.DeepCopy()
		newest.Status = s.p.Status
		*s.p = *newest
		_, err = conditions.WriteStatus(ctx, r.Client, s.p, &s.stored.Status, &s.p.Status)
	}
	return err
}

// answered tells whether ECS has answered the request of this pass with its effect.
func (s *pass) answered() bool {
	return len(s.effects) > 0 && s.effects[len(s.effects)-1].RequestID != ""
}

// release lets a resource go, with a word if its group is left as it is.
func (r *Reconciler) release(ctx context.Context, s *pass, o outcome) error {
	if o.because != "" {
		conditions.Event(r.Recorder, kind, s.p, corev1.EventTypeWarning, v1alpha1.EventRestoreSkipped, "Restore",
			fmt.Sprintf("Left the inner access policy of %s in %s as it is: %s", s.p.Spec.SecurityGroupID, s.p.Spec.RegionID, o.because))
	}
	return r.setFinalizer(ctx, s, false)
}

// announce tells of a failure by an event, once for each time that it is written to
// the status, and by a log line when it is new.
func (r *Reconciler) announce(ctx context.Context, s *pass, before *v1alpha1.SecurityGroupPolicy, o outcome) {
	if at := s.p.Annotations[v1alpha1.AnnotationReconcileRequestedAt]; len(at) > v1alpha1.MaxReconcileRequest {
		conditions.Event(r.Recorder, kind, s.p, corev1.EventTypeWarning, v1alpha1.EventRequestIgnored, "Observe",
			fmt.Sprintf("The annotation %s is ignored: shorten its value to %d bytes", v1alpha1.AnnotationReconcileRequestedAt, v1alpha1.MaxReconcileRequest))
	}
	if o.eventType() == "" || o.quiet {
		return
	}
	action, newError := "Observe", !sameError(before.Status.LastError, s.p.Status.LastError)
	values := []any{"region", s.p.Spec.RegionID, "securityGroup", s.p.Spec.SecurityGroupID, "account", s.account}
	if e := s.p.Status.LastError; e != nil {
		if e.Action == ecs.ActionModify {
			action = "Modify"
		}
		values = append(values, "action", e.Action, "code", e.Code, "requestID", e.RequestID, "error", e.Message)
	}
	transition := conditions.Transition(before.Status.Conditions, s.p.Status.Conditions)
	if (transition || newError) && (o.Reason != v1alpha1.ReasonRolledBack || len(s.effects) == 0) {
		conditions.Event(r.Recorder, kind, s.p, o.eventType(), o.Reason, action, o.Message)
	}
	if transition {
		ctrl.LoggerFrom(ctx).Info("Not ready", append(values, "reason", o.Reason, "message", o.Message)...)
	}
}

// sameError tells whether two errors are one, written once.
func sameError(a, b *v1alpha1.CallError) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Time.Equal(&b.Time) && a.Code == b.Code && a.Action == b.Action
}

// noteError notes a failed call, unless the same one was noted a short while ago.
func (r *Reconciler) noteError(s *pass, err error) {
	if _, notReady := errors.AsType[*account.NotReadyError](err); notReady {
		return // no call was made
	}
	now := r.now()
	noted := &v1alpha1.CallError{Action: "Resolve", Code: v1alpha1.CodeAPIServerUnavailable, Message: "the API server did not answer", Time: now}
	if e, ok := errors.AsType[*ecs.Error](err); ok {
		noted = &v1alpha1.CallError{Action: e.Action, Code: e.Code, HTTPStatus: int32(e.HTTPStatus), //nolint:gosec // an HTTP status
			RequestID: e.RequestID, Message: e.Message, Time: now}
	}
	if was := s.p.Status.LastError; was != nil && was.Action == noted.Action && was.Code == noted.Code &&
		was.HTTPStatus == noted.HTTPStatus && policy.Recent(was.Time.Time, now.Time, repeatedError) {
		return
	}
	s.p.Status.LastError = noted
}

// requested is the value of the annotation that asks for a reconciliation, if it has
// not been handled.
func requested(p *v1alpha1.SecurityGroupPolicy) string {
	at := p.Annotations[v1alpha1.AnnotationReconcileRequestedAt]
	if at == p.Status.LastHandledReconcileAt || len(at) > v1alpha1.MaxReconcileRequest {
		return ""
	}
	return at
}

// commit remembers what the pass leaves behind, and says when the next one is due.
func (r *Reconciler) commit(s *pass, o outcome) (ctrl.Result, error) {
	now, e := r.Clock.Now(), s.known
	if !s.observedAt.IsZero() {
		e.observed, e.observedAt = s.seen.Policy, s.observedAt
	}
	e.modification.note(modificationID(s.p.Status.LastModification), now)
	e.pending.note(pendingID(s.p.Status.PendingModification), now)
	if s.sent {
		e.pending.since = now
	}
	if s.asked {
		e.askedAt = now
	}
	switch {
	case !o.waits:
		e.waitingSince = time.Time{}
	case e.waitingSince.IsZero():
		e.waitingSince = now
	}
	if s.gaveUp {
		r.memory.unsettle(claims.GroupOf(s.p), now, e.stillLags(s.p, now))
	}
	if !s.waitsForBudget {
		r.budget.leave(s.p.UID)
	}
	result, err := r.next(s, &e, o, now)
	sooner := func(wait time.Duration) bool {
		return err == nil && wait > 0 && (result.RequeueAfter == 0 || wait < result.RequeueAfter)
	}
	if sooner(s.verifyIn) {
		result.RequeueAfter = s.verifyIn + r.Jitter(s.verifyIn)
	}
	if wait := r.wakeForRollback(s); sooner(wait) {
		result = ctrl.Result{RequeueAfter: wait}
	}
	r.memory.keep(s.p.UID, e)
	r.leaveLine(s, o, now)
	return result, err
}

// next says when a resource is reconciled again.
func (r *Reconciler) next(s *pass, e *entry, o outcome, now time.Time) (ctrl.Result, error) {
	late := s.heldByAnother() && o.Reason != v1alpha1.ReasonConflict // somebody else was faster
	switch {
	case apierrors.IsConflict(o.err), apierrors.IsNotFound(o.err), errors.Is(o.err, errMovedOn), o.err == nil && late:
		// The change that came between wakes the resource; a cache that stands still
		// must not make it run in circles.
		return ctrl.Result{RequeueAfter: min(r.backoff(e), maxConflict)}, nil
	case o.err != nil:
		return ctrl.Result{}, o.err
	case o.retry != retryBackoff:
		e.failures = 0
	}
	low := handler.LowPriority
	switch o.retry {
	case retryResync:
		return ctrl.Result{RequeueAfter: ratelimit.Spread(string(s.p.UID), now, r.interval(s.p)), Priority: &low}, nil
	case retryBackoff:
		return ctrl.Result{RequeueAfter: max(o.wait, r.backoff(e))}, nil
	case retrySlow:
		wait := max(o.wait, minSlow+r.Jitter(maxSlow-minSlow))
		if left := s.untilCertain(e, now); left > 0 {
			wait = min(wait, left) // an observation decides then
		}
		return ctrl.Result{RequeueAfter: wait, Priority: &low}, nil
	case retryAt:
		return ctrl.Result{RequeueAfter: max(o.wait, time.Millisecond)}, nil
	case retryNever:
		if claims.HeldBy(s.claim, s.p) && leaves(s.p) { // and could not give it up yet
			return ctrl.Result{RequeueAfter: max(firstBackoff, s.untilCertain(e, now)), Priority: &low}, nil
		}
	}
	return ctrl.Result{}, nil
}

// backoff grows with each failure in a row.
func (r *Reconciler) backoff(e *entry) time.Duration {
	wait := min(firstBackoff<<min(e.failures, 10), maxBackoff)
	e.failures++
	return wait/2 + r.Jitter(wait)
}

// untilCertain is how long the pending change may still take effect; zero if there is
// none, or it can't any more.
func (s *pass) untilCertain(e *entry, now time.Time) time.Duration {
	if s.p.Status.PendingModification == nil {
		return 0
	}
	return max(0, policy.Doubt-e.pending.age(pendingID(s.p.Status.PendingModification), now))
}

// maxConflict bounds the wait after a conflict.
const maxConflict = time.Minute

// leaveLine takes a resource out of line that has the group, or cannot have it, and
// wakes the next one where nobody has it.
func (r *Reconciler) leaveLine(s *pass, o outcome, now time.Time) {
	if !s.first {
		return
	}
	holds := claims.HeldBy(s.claim, s.p)
	if !holds && !o.yields && !o.release {
		return
	}
	r.Lines.Leave(s.p.UID)
	if next, found := r.Lines.Next(claims.GroupOf(s.p), now); found && s.claim == nil {
		r.waker.wake(next.NamespacedName)
	}
}
