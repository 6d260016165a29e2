// Package v1alpha1 is what users write and read: the resources of the API group
// ecs.alibabacloud.com with their schema, and the names that scripts and GitOps
// tools rely on (condition types, reasons, annotations, the finalizer). It knows
// neither the cloud nor the controllers, and imports apimachinery only.
//
// +kubebuilder:object:generate=true
// +groupName=ecs.alibabacloud.com
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the API group and version of this package.
	GroupVersion = schema.GroupVersion{Group: "ecs.alibabacloud.com", Version: "v1alpha1"}

	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers the types of this package.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &SecurityGroupPolicy{}, &SecurityGroupPolicyList{}, &SecurityGroupClaim{}, &SecurityGroupClaimList{},
		&ECSAccount{}, &ECSAccountList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
