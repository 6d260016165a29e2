package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
)

// repeatedError is how long a failure that repeats unchanged is not written again.
const repeatedError = 5 * time.Minute

// setVerdict puts the conditions of a verdict into the status.
func (r *SecurityGroupPolicyReconciler) setVerdict(p *v1alpha1.SecurityGroupPolicy, v verdict) {
	if v.keepReady && r.stillReady(p) {
		was := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		setCondition(p, v1alpha1.ConditionReady, metav1.ConditionTrue, was.Reason, was.Message)
	} else {
		setCondition(p, v1alpha1.ConditionReady, v.ready, v.reason, v.message)
	}
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionSuspended} {
		if kind == v.also {
			setCondition(p, kind, metav1.ConditionTrue, v.reason, v.message)
			continue
		}
		apimeta.RemoveStatusCondition(&p.Status.Conditions, kind)
	}
	p.Status.ObservedGeneration = p.Generation
}

// stalledAt tells whether the resource is stalled, as it is declared now.
func stalledAt(p *v1alpha1.SecurityGroupPolicy) bool {
	c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionStalled)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == p.Generation
}

func setCondition(p *v1alpha1.SecurityGroupPolicy, kind string, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: p.Generation,
	})
}

// stillReady tells whether Ready may stay True although the cloud could not be
// asked: the spec is the same, and the last observation is younger than two
// resync intervals. After a restart the time at which Ready became True is all
// that is known of it.
func (r *SecurityGroupPolicyReconciler) stillReady(p *v1alpha1.SecurityGroupPolicy) bool {
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != p.Generation {
		return false
	}
	seen := ready.LastTransitionTime.Time
	if t, ok := r.observedAt(client.ObjectKeyFromObject(p)); ok {
		seen = t
	}
	return r.Clock.Since(seen) < 2*r.interval(p)
}

// setError notes a failed call, unless the same one was noted a short while ago.
func (r *SecurityGroupPolicyReconciler) setError(p *v1alpha1.SecurityGroupPolicy, err error) {
	e, ok := errors.AsType[*ecs.Error](err)
	if !ok {
		return
	}
	now := r.Clock.Now()
	if was := p.Status.LastError; was != nil && was.Action == e.Action && was.Code == e.Code &&
		was.HTTPStatus == int32(e.HTTPStatus) && now.Sub(was.Time.Time) < repeatedError { //nolint:gosec // an HTTP status
		return
	}
	p.Status.LastError = &v1alpha1.CallError{
		Action: e.Action, Code: e.Code, HTTPStatus: int32(e.HTTPStatus), //nolint:gosec // an HTTP status
		RequestID: e.RequestID, Message: e.Message, Time: metav1.NewTime(now),
	}
}

// setModified notes a change that ECS has confirmed.
func (r *SecurityGroupPolicyReconciler) setModified(p *v1alpha1.SecurityGroupPolicy, change v1alpha1.PendingModification, requestID string) {
	now := metav1.NewTime(r.Clock.Now())
	p.Status.LastModification = &v1alpha1.Modification{
		RequestID: requestID, From: change.From, To: change.To, Cause: change.Cause, Time: now,
	}
	p.Status.PendingModification = nil
	p.Status.LastError = nil
	p.Status.InnerAccessPolicy = change.From
	if change.Cause != v1alpha1.CauseDrift {
		return
	}
	recent := recentCorrections(p, now.Time)
	p.Status.DriftCorrections = nil
	for _, t := range append(recent, now.Time)[max(0, len(recent)+1-maxCorrections):] {
		p.Status.DriftCorrections = append(p.Status.DriftCorrections, metav1.NewTime(t))
	}
}

// maxCorrections is what the schema allows in status.driftCorrections.
const maxCorrections = 16

// record is the one place that writes status. It writes if, and only if,
// something changed; the resourceVersion guards against a resource that has moved
// on, in which case the pass ends quietly and another follows.
func (r *SecurityGroupPolicyReconciler) record(ctx context.Context, stored *v1alpha1.SecurityGroupPolicyStatus, p *v1alpha1.SecurityGroupPolicy) (written bool, err error) {
	if equality.Semantic.DeepEqual(stored, &p.Status) {
		return false, nil
	}
	// Of the answer only the resourceVersion is needed, for the next write. Metadata
	// come as protobuf, the whole resource would as JSON.
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, ResourceVersion: p.ResourceVersion}}
	answer.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityGroupPolicy"))
	if err := r.Client.Status().Patch(ctx, answer, statusPatch{from: stored, to: &p.Status}); err != nil {
		return false, fmt.Errorf("write status: %w", err)
	}
	p.ResourceVersion = answer.ResourceVersion
	return true, nil
}

// statusPatch is a merge patch from a status to another, for the resourceVersion that
// the object was read at. client.MergeFrom says the same, but finds it by comparing the
// whole objects as JSON; even of the statuses alone that takes three times as much.
type statusPatch struct {
	from, to *v1alpha1.SecurityGroupPolicyStatus
}

// Type implements client.Patch.
func (statusPatch) Type() types.PatchType { return types.MergePatchType }

// Data implements client.Patch.
func (s statusPatch) Data(o client.Object) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]string{"resourceVersion": o.GetResourceVersion()},
		"status":   changedFields(reflect.ValueOf(s.from).Elem(), reflect.ValueOf(s.to).Elem()),
	})
}

// changedFields are the fields of a struct that differ from before, as a merge patch
// names them: null for what is gone, and of a struct that was there before only what
// differs.
func changedFields(before, after reflect.Value) map[string]any {
	changed := map[string]any{}
	for i := range after.NumField() {
		was, is := before.Field(i), after.Field(i)
		name, options, _ := strings.Cut(after.Type().Field(i).Tag.Get("json"), ",")
		switch {
		case equality.Semantic.DeepEqual(was.Interface(), is.Interface()):
		case options == "omitempty" && (is.IsZero() || is.Kind() == reflect.Slice && is.Len() == 0):
			changed[name] = nil
		case is.Kind() == reflect.Pointer && !was.IsNil():
			changed[name] = changedFields(was.Elem(), is.Elem())
		default:
			changed[name] = is.Interface()
		}
	}
	return changed
}

// recordChange is record after a change of the group. What was done must not be
// lost because the resource was edited meanwhile: the record goes onto the newest
// version, if that still waits for the outcome of this very request.
func (r *SecurityGroupPolicyReconciler) recordChange(ctx context.Context, stored *v1alpha1.SecurityGroupPolicyStatus, p *v1alpha1.SecurityGroupPolicy, clientToken string) error {
	_, err := r.record(ctx, stored, p)
	for range 5 {
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh := &v1alpha1.SecurityGroupPolicy{}
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(p), fresh); err != nil {
			return client.IgnoreNotFound(err)
		}
		pending := fresh.Status.PendingModification
		if fresh.UID != p.UID || pending == nil || pending.ClientToken != clientToken {
			return nil
		}
		status := p.Status
		stored = fresh.Status.DeepCopy()
		fresh.Status = status
		*p = *fresh
		_, err = r.record(ctx, stored, p)
	}
	return err
}

// announce tells of a failure by an event, once for each time that it is written
// to the status.
func (r *SecurityGroupPolicyReconciler) announce(p *v1alpha1.SecurityGroupPolicy, v verdict) {
	switch v.reason {
	case v1alpha1.ReasonInSync, v1alpha1.ReasonProgressing, v1alpha1.ReasonSuspended:
		return
	}
	action := "Observe"
	if e := p.Status.LastError; e != nil && e.Action == ecs.ActionModify {
		action = "Modify"
	}
	r.event(p, corev1.EventTypeWarning, v.reason, action, v.message)
}

// event writes an event. The reference carries no resourceVersion: with one, each
// write of the status would begin a new series.
func (r *SecurityGroupPolicyReconciler) event(p *v1alpha1.SecurityGroupPolicy, kind, reason, action, note string) {
	r.Recorder.Eventf(&corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "SecurityGroupPolicy",
		Namespace: p.Namespace, Name: p.Name, UID: p.UID,
	}, nil, kind, reason, action, "%s", note)
}

// announceChange tells of a confirmed change by event, metric and log line.
func (r *SecurityGroupPolicyReconciler) announceChange(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, change v1alpha1.PendingModification, requestID string) {
	reason := v1alpha1.EventModified
	switch change.Cause {
	case v1alpha1.CauseDrift:
		reason = v1alpha1.EventDriftCorrected
	case v1alpha1.CauseRestore:
		reason = v1alpha1.EventRestored
	case v1alpha1.CauseSpec:
	}
	metrics.Modifications.WithLabelValues(p.Spec.RegionID, change.To).Inc()
	ctrl.LoggerFrom(ctx).Info("Changed the inner access policy", "region", p.Spec.RegionID, "securityGroup", p.Spec.SecurityGroupID,
		"from", change.From, "to", change.To, "cause", change.Cause, "requestID", requestID)
	r.event(p, corev1.EventTypeNormal, reason, "Modify", fmt.Sprintf("Changed the inner access policy of %s in %s from %s to %s (request id %s)",
		p.Spec.SecurityGroupID, p.Spec.RegionID, change.From, change.To, requestID))
}

// countPolicies counts the resources in the cache by their Ready condition.
func (r *SecurityGroupPolicyReconciler) countPolicies() map[metrics.PolicyState]int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:forbidigo // a scrape has no context
	defer cancel()
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	counts := map[metrics.PolicyState]int{}
	for i := range list.Items {
		state := metrics.PolicyState{Ready: string(metav1.ConditionUnknown), Reason: "NotObserved"}
		if ready := apimeta.FindStatusCondition(list.Items[i].Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			state = metrics.PolicyState{Ready: string(ready.Status), Reason: ready.Reason}
		}
		counts[state]++
	}
	return counts
}
