package controllers

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// Compact strips a SecurityGroupPolicy of what no pass looks at, and has equal texts
// share their memory: for the manager's cache, where there may be tens of thousands.
func Compact(object any) (any, error) {
	p, ok := object.(*v1alpha1.SecurityGroupPolicy)
	if !ok {
		return object, nil // a tombstone
	}
	p.ManagedFields = nil
	delete(p.Annotations, corev1.LastAppliedConfigAnnotation)
	share(&p.Kind, &p.APIVersion, &p.Namespace, &p.Spec.RegionID, &p.Spec.InnerAccessPolicy,
		&p.Status.InnerAccessPolicy, &p.Status.OriginalInnerAccessPolicy)
	share(&p.Spec.ManagementPolicy)
	share(&p.Spec.DeletionPolicy)
	if m := p.Status.LastModification; m != nil {
		share(&m.From, &m.To)
		share(&m.Cause)
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		share(&c.Type, &c.Reason, &c.Message)
		share(&c.Status)
	}
	return p, nil
}

func share[T ~string](texts ...*T) {
	for _, text := range texts {
		*text = unique.Make(*text).Value()
	}
}

// OnlyClaim strips a SecurityGroupPolicy of everything but what ownership asks of
// it: for the cache that holds the resources of all shards.
func OnlyClaim(object any) (any, error) {
	p, ok := object.(*v1alpha1.SecurityGroupPolicy)
	if !ok {
		return object, nil // a tombstone
	}
	share(&p.Namespace, &p.Spec.RegionID, &p.Status.InnerAccessPolicy)
	stripped := &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
			CreationTimestamp: p.CreationTimestamp, DeletionTimestamp: p.DeletionTimestamp,
		},
		Spec:   v1alpha1.SecurityGroupPolicySpec{RegionID: p.Spec.RegionID, SecurityGroupID: p.Spec.SecurityGroupID, Suspend: p.Spec.Suspend},
		Status: v1alpha1.SecurityGroupPolicyStatus{InnerAccessPolicy: p.Status.InnerAccessPolicy},
	}
	if ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		share(&ready.Type, &ready.Reason)
		share(&ready.Status)
		stripped.Status.Conditions = []metav1.Condition{{Type: ready.Type, Status: ready.Status, Reason: ready.Reason}}
	}
	return stripped, nil
}
