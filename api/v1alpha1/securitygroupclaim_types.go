package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SecurityGroupClaimSpec says which SecurityGroupPolicy holds a security group.
type SecurityGroupClaimSpec struct {
	// regionId is the region of the security group.
	// +required
	// +kubebuilder:validation:MaxLength=64
	RegionID string `json:"regionId"`

	// securityGroupId is the id of the security group.
	// +required
	// +kubebuilder:validation:MaxLength=256
	SecurityGroupID string `json:"securityGroupId"`

	// holder is the SecurityGroupPolicy that alone may change the group.
	// +required
	Holder ClaimHolder `json:"holder"`

	// account is the ECSAccount through which the holder reaches the group, or
	// (manager) for the manager's own credentials.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Account string `json:"account,omitempty"`

	// since is when the holder took the group.
	// +optional
	Since metav1.Time `json:"since,omitzero"`

	// requestedAt is since when another SecurityGroupPolicy asks for the group
	// without an answer. The holder answers by reaching the group, which removes
	// it. A holder that does not within an hour has lost its claim.
	// +optional
	RequestedAt *metav1.Time `json:"requestedAt,omitempty"`
}

// ClaimHolder names a SecurityGroupPolicy.
type ClaimHolder struct {
	// namespace of the SecurityGroupPolicy.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name of the SecurityGroupPolicy.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the SecurityGroupPolicy: one that is made anew under the same name is
	// another.
	// +required
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`
}

// SecurityGroupClaim says which SecurityGroupPolicy holds a security group: the
// only one that may change it. The manager writes it, and nobody else needs to.
// To pass a group on, delete or edit the SecurityGroupPolicy that holds it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=sgclaim,categories=alibabacloud
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.spec.regionId`
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=`.spec.securityGroupId`
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.holder.namespace`
// +kubebuilder:printcolumn:name="Holder",type=string,JSONPath=`.spec.holder.name`
// +kubebuilder:printcolumn:name="Account",type=string,JSONPath=`.spec.account`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Requested",type=date,priority=1,JSONPath=`.spec.requestedAt`
type SecurityGroupClaim struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says who holds the group.
	// +required
	Spec SecurityGroupClaimSpec `json:"spec"`
}

// SecurityGroupClaimList is a list of SecurityGroupClaim.
//
// +kubebuilder:object:root=true
type SecurityGroupClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecurityGroupClaim `json:"items"`
}

// OwnAccount stands for the manager's own credentials where an account is named.
// No ECSAccount can have this name.
const OwnAccount = "(manager)"
