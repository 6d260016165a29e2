package securitygrouppolicy

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/conditions"
	"github.com/sgp-operator/sgp-operator/internal/failures"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
	"github.com/sgp-operator/sgp-operator/internal/policy"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// sendWithin is how long after it was written ahead a request may be under way. What
// is not answered by then is given up, so that it can take effect no later than
// package policy assumes.
const sendWithin = 20 * time.Second

// maxCorrections is what the schema allows in status.driftCorrections.
const maxCorrections = 16

// apply makes a change, so that a crash at any point leaves behind what is needed to
// go on: the finalizer that a deletion needs is there first, the request with its
// token is in the status before it is sent, the claim is confirmed by the API server
// after that, and the outcome is recorded together with the end of the request.
func (r *Reconciler) apply(ctx context.Context, s *pass) outcome {
	fresh, rollback := s.plan.Action == policy.Modify, s.p.Status.Rollback
	if fresh || openRollback(s.p) == nil { // the spec may ask for one since the request was written
		r.planRollback(s)
	}
	refund := func() {
		if fresh {
			r.budget.refund(spendingOf{s.account, s.plan.Change.To}, s.p.UID)
		}
	}
	if err := r.setFinalizer(ctx, s, putsBack(s.p)); err != nil {
		s.p.Status.Rollback = rollback // nothing is changed that could be put back
		refund()
		return r.failed(s, err)
	}
	if err := r.writeAhead(ctx, s, fresh); err != nil {
		refund() // should it be written all the same, the repetition counts
		return r.failed(s, err)
	}
	request := *s.p.Status.PendingModification
	// A request that was certainly not sent, or had no effect, is none.
	drop := func() {
		if fresh {
			s.p.Status.PendingModification, s.p.Status.Rollback = nil, rollback
		}
		refund()
	}
	if held, err := r.hold(ctx, s); err != nil || !held {
		drop()
		if err != nil {
			return r.failed(s, err)
		}
		return lostClaim(s)
	}
	requestID, wait, err := r.send(ctx, s, request)
	switch {
	case err != nil:
		if !s.sent || failures.Of(err).Means().NoEffect {
			drop()
		}
		return r.failed(s, err)
	case wait > 0:
		drop()
		return waitingForRate(wait)
	}
	r.recordEffect(s, requestID)
	if request.Cause == v1alpha1.CauseRestore {
		return restored()
	}
	return r.readBack(ctx, s, request)
}

// writeAhead records a request right before it is sent. It succeeds only on the
// version that the pass has read, so that the spec which asks for the change is the
// newest.
func (r *Reconciler) writeAhead(ctx context.Context, s *pass, fresh bool) error {
	status, change := &s.p.Status, s.plan.Change
	if fresh {
		status.PendingModification = &v1alpha1.PendingModification{
			ClientToken: r.NewClientToken(), From: change.From, To: change.To, Cause: v1alpha1.ModificationCause(change.Cause),
			Account: s.account, OwnerAccount: s.p.Spec.OwnerAccount, Generation: s.p.Generation,
		}
	}
	status.PendingModification.Time = r.now()
	message := "Changing the inner access policy from " + change.From + " to " + change.To
	if change.Cause == policy.Restore || change.Cause == policy.Rollback {
		message = "Putting the inner access policy back from " + change.From + " to " + change.To
	}
	// A resource that is stalled stays so until a retry has succeeded: nobody wants
	// to be told every ten minutes that it might be better now.
	if !conditions.IsTrueAt(status.Conditions, v1alpha1.ConditionStalled, s.p.Generation) {
		conditions.Set(&status.Conditions, s.p.Generation, progressing(message, 0).Summary, false, r.Clock.Now())
		status.ObservedGeneration = s.p.Generation
	}
	if err := conditions.PutStatus(ctx, r.Client, s.p); err != nil {
		return err
	}
	s.stored = s.p.DeepCopy()
	return nil
}

// send sends a request as it was written ahead.
func (r *Reconciler) send(ctx context.Context, s *pass, request v1alpha1.PendingModification) (requestID string, wait time.Duration, err error) {
	// Once more, in case the account was withdrawn meanwhile.
	cloud, account, err := r.Clouds(ctx, s.p)
	if err != nil {
		return "", 0, err
	}
	left := sendWithin - max(0, r.Clock.Since(request.Time.Time))
	if left <= 0 || request.Account != "" && request.Account != account {
		return "", 0, errMovedOn
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	to := group(s.p)
	to.OwnerAccount = request.OwnerAccount
	s.sent = true
	requestID, wait, err = cloud.Modify(ctx, to, request.To, request.ClientToken)
	if wait > 0 {
		s.sent = false
	}
	return requestID, wait, err
}

// readBack observes a group after its change: that is what the status shows.
func (r *Reconciler) readBack(ctx context.Context, s *pass, request v1alpha1.PendingModification) outcome {
	// The change is new to everybody: its age is none.
	s.known.modification = sighting{id: modificationID(s.p.Status.LastModification), since: r.Clock.Now()}
	if s.seen.Policy != request.To {
		observed, wait, err := s.cloud.Observe(ctx, group(s.p), ratelimit.Finish)
		switch {
		case err != nil:
			return r.failed(s, err)
		case wait > 0:
			return progressing("The change is made; waiting to observe it", wait)
		}
		s.seen, s.observedAt = observed, r.Clock.Now()
	}
	r.decide(s)
	switch s.plan.Action {
	case policy.InSync, policy.ObserveAgain:
		return r.act(ctx, s)
	case policy.Report, policy.Postpone, policy.Modify, policy.Repeat, policy.Release, policy.Leave:
		if isRolledBack(s.p) {
			return rolledBack(s.p)
		}
		return progressing("The spec asks for another change", time.Millisecond)
	case policy.Undecided:
	}
	return broken(fmt.Errorf("no action was decided on after the change"))
}

// recordEffect records that the pending change took effect. Without a request id only
// an observation tells so.
func (r *Reconciler) recordEffect(s *pass, requestID string) {
	status, now := &s.p.Status, r.now()
	change := status.PendingModification
	if status.OriginalInnerAccessPolicy == "" {
		status.OriginalInnerAccessPolicy = change.From
	}
	status.LastModification = &v1alpha1.Modification{
		RequestID: requestID, From: change.From, To: change.To, Cause: change.Cause, Time: now, Account: change.Account, Generation: change.Generation,
	}
	s.effects = append(s.effects, status.LastModification)
	r.settleRollback(s, status.LastModification)
	status.PendingModification, status.LastError = nil, nil
	if change.Cause == v1alpha1.CauseDrift {
		var times []time.Time
		for _, t := range status.DriftCorrections {
			times = append(times, t.Time)
		}
		recent := policy.RecentCorrections(times, now.Time)
		status.DriftCorrections = nil
		for _, t := range append(recent, now.Time)[max(0, len(recent)+1-maxCorrections):] {
			status.DriftCorrections = append(status.DriftCorrections, metav1.NewTime(t))
		}
	}
}

// setFinalizer has the finalizer there, or not there.
func (r *Reconciler) setFinalizer(ctx context.Context, s *pass, want bool) error {
	if want == hasFinalizer(s.p) {
		return nil
	}
	if len(s.stored.Finalizers) > maxFinalizers { // the cache does not hold them all
		newest := &v1alpha1.SecurityGroupPolicy{}
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(s.p), newest); err != nil {
			return fmt.Errorf("read the finalizers: %w", err)
		}
		if newest.ResourceVersion != s.stored.ResourceVersion {
			return errMovedOn
		}
		s.stored = newest
	}
	changed := s.stored.DeepCopy()
	if want {
		if !s.p.DeletionTimestamp.IsZero() {
			return nil // it can't be added any more
		}
		controllerutil.AddFinalizer(changed, v1alpha1.FinalizerRestore)
	} else {
		controllerutil.RemoveFinalizer(changed, v1alpha1.FinalizerRestore)
	}
	if err := r.Client.Patch(ctx, changed, client.MergeFromWithOptions(s.stored, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write the finalizer: %w", err)
	}
	s.stored = changed
	s.p.ResourceVersion, s.p.Finalizers = changed.ResourceVersion, changed.Finalizers
	return nil
}

func hasFinalizer(p *v1alpha1.SecurityGroupPolicy) bool {
	return controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore)
}

// announceEffect tells of a change that took effect by event, metric and log line.
func (r *Reconciler) announceEffect(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, m *v1alpha1.Modification) {
	reason := v1alpha1.EventModified
	switch m.Cause {
	case v1alpha1.CauseDrift:
		reason = v1alpha1.EventDriftCorrected
	case v1alpha1.CauseRestore:
		reason = v1alpha1.EventRestored
	case v1alpha1.CauseRollback:
		reason = v1alpha1.ReasonRolledBack
	case v1alpha1.CauseSpec:
	}
	metrics.Modifications.WithLabelValues(p.Spec.RegionID, m.To).Inc()
	ctrl.LoggerFrom(ctx).Info("Changed the inner access policy", "region", p.Spec.RegionID, "securityGroup", p.Spec.SecurityGroupID,
		"account", m.Account, "from", m.From, "to", m.To, "cause", m.Cause, "requestID", m.RequestID)
	note := fmt.Sprintf("Changed the inner access policy of %s in %s from %s to %s (request id %s)", p.Spec.SecurityGroupID, p.Spec.RegionID, m.From, m.To, m.RequestID)
	if m.RequestID == "" {
		note = fmt.Sprintf("Changed the inner access policy of %s in %s from %s to %s; the answer with the request id was lost", p.Spec.SecurityGroupID, p.Spec.RegionID, m.From, m.To)
	}
	conditions.Event(r.Recorder, kind, p, corev1.EventTypeNormal, reason, "Modify", note)
}

// now is the time as a status holds it.
func (r *Reconciler) now() metav1.Time { return metav1.NewTime(r.Clock.Now()).Rfc3339Copy() }

// priority puts what a user has asked for before periodic work, until it is done or
// stalled: a refusal or a timeout on the way does not send it to the end of the line.
func (r *Reconciler) priority(p *v1alpha1.SecurityGroupPolicy) ratelimit.Priority {
	_, reason := conditions.Ready(p.Status.Conditions)
	underWay := conditions.IsTrue(p.Status.Conditions, v1alpha1.ConditionReconciling) &&
		!conditions.IsTrue(p.Status.Conditions, v1alpha1.ConditionReady) && reason != v1alpha1.ReasonApprovalRequired
	if r.rollsBack(p) || p.Status.ObservedGeneration != p.Generation || p.Status.PendingModification != nil || underWay ||
		!p.DeletionTimestamp.IsZero() || requested(p) != "" {
		return ratelimit.Edit
	}
	return ratelimit.Resync
}
