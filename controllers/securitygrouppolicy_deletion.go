package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// releaseEarly lets a resource that is being deleted go where that needs no look
// at the cloud.
func (r *SecurityGroupPolicyReconciler) releaseEarly(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (bool, error) {
	switch {
	case p.DeletionTimestamp.IsZero():
		return false, nil
	case !controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore):
		return true, nil
	case p.Annotations[v1alpha1.AnnotationAbandon] == "true":
		return true, r.release(ctx, p, decision{step: stepSkip, because: "the annotation " + v1alpha1.AnnotationAbandon + " gives up on it"})
	case p.Spec.DeletionPolicy != v1alpha1.DeletionRestore, !mayHaveChanged(p):
		return true, r.release(ctx, p, decision{step: stepRelease})
	}
	return false, nil
}

// mayHaveChanged tells whether there may be something to put back.
func mayHaveChanged(p *v1alpha1.SecurityGroupPolicy) bool {
	return p.Status.LastModification != nil || p.Status.PendingModification != nil
}

// release lets a resource go, with a word if its group is left as it is.
func (r *SecurityGroupPolicyReconciler) release(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, d decision) error {
	if d.step == stepSkip {
		r.event(p, corev1.EventTypeWarning, v1alpha1.EventRestoreSkipped, "Restore",
			fmt.Sprintf("Left the inner access policy of %s in %s as it is: %s", p.Spec.SecurityGroupID, p.Spec.RegionID, d.because))
	}
	return r.removeFinalizer(ctx, p)
}

// keepFinalizer has the finalizer there while, and only while, a deletion would
// have something to put back: the group was changed, or is about to be. Stored
// follows, so that the status can be written next.
func (r *SecurityGroupPolicyReconciler) keepFinalizer(ctx context.Context, stored *v1alpha1.SecurityGroupPolicyStatus, p *v1alpha1.SecurityGroupPolicy, changed bool) error {
	if !p.DeletionTimestamp.IsZero() {
		return nil
	}
	want := changed && p.Spec.DeletionPolicy == v1alpha1.DeletionRestore
	if want == controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore) {
		return nil
	}
	status := p.Status
	change := r.removeFinalizer
	if want {
		change = r.addFinalizer
	}
	if err := change(ctx, p); err != nil {
		return err
	}
	*stored = *p.Status.DeepCopy()
	p.Status = status
	return nil
}

func (r *SecurityGroupPolicyReconciler) addFinalizer(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) error {
	before := p.DeepCopy()
	controllerutil.AddFinalizer(p, v1alpha1.FinalizerRestore)
	if err := r.Client.Patch(ctx, p, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("add the finalizer: %w", err)
	}
	return nil
}

func (r *SecurityGroupPolicyReconciler) removeFinalizer(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) error {
	before := p.DeepCopy()
	if !controllerutil.RemoveFinalizer(p, v1alpha1.FinalizerRestore) {
		return nil
	}
	if err := r.Client.Patch(ctx, p, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	return nil
}
