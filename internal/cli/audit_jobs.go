package cli

import (
	"cmp"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/manifests"
)

// job says who has to see to a group.
func job(p *v1alpha1.SecurityGroupPolicy, claim *v1alpha1.SecurityGroupClaim) string {
	switch {
	case isHeld(p):
		return whoApproves
	case !p.DeletionTimestamp.IsZero() && (p.Spec.DeletionPolicy == v1alpha1.DeletionRestore || p.Status.Rollback.IsOpen()):
		return "the operator, which puts back what was before"
	case !p.DeletionTimestamp.IsZero():
		return "nobody: the resource is being deleted"
	case p.Spec.Suspend:
		return "nobody: it is suspended"
	}
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return "the operator, which has not looked at it yet"
	}
	if ready.Status != metav1.ConditionTrue {
		if who := jobOf(ready.Reason, claim); who != "" {
			return who
		}
	}
	if p.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return "people: the operator only reports"
	}
	switch {
	case ready.Status != metav1.ConditionTrue:
		return "the operator: " + ready.Reason
	case awaitsConfirmation(p):
		return "who declared it: confirm the change by " + p.Status.Rollback.Deadline.UTC().Format(time.RFC3339) + ", or it is put back"
	}
	return "the operator"
}

// whoApproves has the job of a change that is held.
const whoApproves = "who may approve it: " + v1alpha1.ReasonApprovalRequired

// isHeld tells whether a change waits for somebody to approve it, and not for its turn.
func isHeld(p *v1alpha1.SecurityGroupPolicy) bool {
	c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionStalled)
	return c != nil && c.Reason == v1alpha1.ReasonApprovalRequired && !p.Spec.Suspend
}

// awaitsConfirmation tells whether a change is put back unless somebody confirms it.
func awaitsConfirmation(p *v1alpha1.SecurityGroupPolicy) bool {
	return p.Status.Rollback.IsOpen() && p.Status.InnerAccessPolicy != p.Status.Rollback.To && p.DeletionTimestamp.IsZero() && !p.Spec.Suspend
}

// jobOf says who alone can help where the operator cannot; empty where nobody has to.
func jobOf(reason string, claim *v1alpha1.SecurityGroupClaim) string {
	switch reason {
	case v1alpha1.ReasonConflict:
		if claim == nil {
			return "the operator, for another resource, which holds the group"
		}
		return "the operator, for " + claim.Spec.Holder.Namespace + "/" + claim.Spec.Holder.Name + ", which holds the group"
	case v1alpha1.ReasonAccessDenied, v1alpha1.ReasonAccountNotReady:
		return "who administers the account: " + reason
	case v1alpha1.ReasonSecurityGroupNotFound, v1alpha1.ReasonUnsupportedSecurityGroupType, v1alpha1.ReasonManagedByCloudProduct, v1alpha1.ReasonInvalidRequest,
		v1alpha1.ReasonRolledBack:
		return "who declared it: " + reason
	case v1alpha1.ReasonContested:
		return "who changes the group besides the operator: " + reason
	}
	return ""
}

// declaredBy is what tool keeps the resource, as it marks it, or else who last wrote the
// spec.
func declaredBy(p *v1alpha1.SecurityGroupPolicy) string {
	get := func(key string) string { return cmp.Or(p.Labels[key], p.Annotations[key]) }
	if name := get("kustomize.toolkit.fluxcd.io/name"); name != "" {
		return "Flux Kustomization " + manifests.ResourceName(get("kustomize.toolkit.fluxcd.io/namespace"), name)
	}
	if name := get("helm.toolkit.fluxcd.io/name"); name != "" {
		return "Flux HelmRelease " + manifests.ResourceName(get("helm.toolkit.fluxcd.io/namespace"), name)
	}
	if id, _, _ := strings.Cut(get("argocd.argoproj.io/tracking-id"), ":"); id != "" {
		return "Argo CD application " + id
	}
	if name := get("argocd.argoproj.io/instance"); name != "" {
		return "Argo CD application " + name
	}
	if name := get("meta.helm.sh/release-name"); name != "" {
		return "Helm release " + manifests.ResourceName(get("meta.helm.sh/release-namespace"), name)
	}
	var last string
	var at time.Time
	for _, entry := range p.ManagedFields {
		if entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:spec"`) && entry.Time != nil && !entry.Time.Time.Before(at) {
			last, at = entry.Manager, entry.Time.Time
		}
	}
	return last
}
