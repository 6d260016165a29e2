package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ManagementPolicy says what the operator may do to the cloud.
// +kubebuilder:validation:Enum=Enforce;Observe
type ManagementPolicy string

const (
	// ManagementEnforce makes the group as declared, and keeps it so.
	ManagementEnforce ManagementPolicy = "Enforce"
	// ManagementObserve reports a difference and never writes to the cloud.
	ManagementObserve ManagementPolicy = "Observe"
)

// DeletionPolicy says what happens to the group when the resource is deleted.
// +kubebuilder:validation:Enum=Retain;Restore
type DeletionPolicy string

const (
	// DeletionRetain leaves the group as it is.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionRestore puts back what stood before the first change.
	DeletionRestore DeletionPolicy = "Restore"
)

// ModificationCause says why the operator changed a group.
// +kubebuilder:validation:Enum=Spec;Drift;Restore;Rollback
type ModificationCause string

const (
	// CauseSpec is a change that the spec asked for.
	CauseSpec ModificationCause = "Spec"
	// CauseDrift is a change that put right what somebody else had changed.
	CauseDrift ModificationCause = "Drift"
	// CauseRestore is a change that put back the original value at deletion.
	CauseRestore ModificationCause = "Restore"
	// CauseRollback is a change that put back what stood before a change that
	// nobody confirmed in time.
	CauseRollback ModificationCause = "Rollback"
)

// SecurityGroupPolicySpec declares the inner access policy of one ECS security
// group.
type SecurityGroupPolicySpec struct {
	// regionId is the region of the security group, for example cn-hangzhou.
	// It cannot be changed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]{2,3}(-[a-z0-9]+){1,4}$')",message="regionId must be the id of an Alibaba Cloud region in lower case, for example cn-hangzhou"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="regionId cannot be changed: delete this resource and create one for the other region"
	RegionID string `json:"regionId"`

	// securityGroupId is the id of the security group, for example
	// sg-bp1abcdefgh. Basic groups only: instances of an advanced (enterprise)
	// group are always isolated. It cannot be changed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-]{1,100}$')",message="securityGroupId must be 1 to 100 letters, digits, hyphens or underscores, for example sg-bp1abcdefgh"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="securityGroupId cannot be changed: delete this resource and create one for the other group"
	SecurityGroupID string `json:"securityGroupId"`

	// innerAccessPolicy says whether instances of the group reach one another
	// over the internal network. Accept connects them and overrides every
	// custom rule of the group; Drop isolates them, save for what custom rules
	// allow. Any letter case will do.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() in ['accept', 'drop']",message="innerAccessPolicy must be Accept or Drop, in any letter case"
	InnerAccessPolicy string `json:"innerAccessPolicy"`

	// managementPolicy is Enforce to make the group as declared and keep it so,
	// or Observe to report a difference and never write to the cloud.
	// +optional
	// +kubebuilder:default=Enforce
	ManagementPolicy ManagementPolicy `json:"managementPolicy,omitempty"`

	// deletionPolicy is Retain to leave the group as it is when this resource is
	// deleted, or Restore to put back what stood before this resource's first
	// change, if the group still is as this resource last left it.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// suspend set to true stops every call to the cloud for this resource, reads
	// included.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// resyncInterval is how often the cloud is observed again, for example 10m
	// or 1h30m; 30s at least. Without it the manager's --resync-interval holds.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,3})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('30s')",message="resyncInterval must be a duration of at least 30s, for example 10m or 1h30m"
	ResyncInterval *metav1.Duration `json:"resyncInterval,omitempty"`

	// verifyIsolation set to true has the condition Isolated say whether the
	// instances of a group with Drop are in fact isolated from one another: other
	// groups that they share, and rules, may connect them all the same.
	// +optional
	VerifyIsolation bool `json:"verifyIsolation,omitempty"`

	// rollbackAfter has a change that this spec asks for put back, unless the
	// annotation ecs.alibabacloud.com/confirm with the generation of the spec comes
	// within this time, for example 15m; from 1m to 24h. It is not tried again until
	// the spec is edited.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(s|m|h)){1,3}$') && duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="rollbackAfter must be a duration from 1m to 24h, for example 15m"
	RollbackAfter *metav1.Duration `json:"rollbackAfter,omitempty"`

	// accountRef names the ECSAccount whose credentials are used. Without it the
	// account called default is used. The manager's own credentials are used in its
	// place only with --lend-own-credentials.
	// +optional
	AccountRef *AccountReference `json:"accountRef,omitempty"`

	// ownerAccount is passed to ECS as OwnerAccount: the Alibaba Cloud account
	// that owns the group, for example ECSforCloud@Alibaba.com. Rarely needed.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]{1,128}$')",message="ownerAccount must be 1 to 128 printable ASCII characters without blanks, for example ECSforCloud@Alibaba.com"
	OwnerAccount string `json:"ownerAccount,omitempty"`
}

// AccountReference names an ECSAccount.
type AccountReference struct {
	// name of the ECSAccount.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="accountRef.name must be the name of an ECSAccount: lower-case letters, digits, hyphens and dots"
	Name string `json:"name"`
}

// SecurityGroupPolicyStatus tells what was seen in the cloud, what was done and
// what went wrong.
type SecurityGroupPolicyStatus struct {
	// observedGeneration is the generation of the spec that the status speaks
	// of; -1 until the resource has been reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// innerAccessPolicy is what was last observed in the cloud: Accept or Drop.
	// +optional
	InnerAccessPolicy string `json:"innerAccessPolicy,omitempty"`

	// originalInnerAccessPolicy is what was observed before this resource's
	// first change that took effect. It is never overwritten.
	// +optional
	OriginalInnerAccessPolicy string `json:"originalInnerAccessPolicy,omitempty"`

	// lastModification is the last change of the group that took effect.
	// +optional
	LastModification *Modification `json:"lastModification,omitempty"`

	// pendingModification is written before a change is sent and goes once its
	// outcome is known. While it is there the change may still take effect. It is
	// repeated only while the spec asks for its value, and then as the same
	// request, so that ECS answers with the first one's effect.
	// +optional
	PendingModification *PendingModification `json:"pendingModification,omitempty"`

	// rollback is the change that is put back unless it is confirmed. It is written
	// before the change is sent, and says what became of it.
	// +optional
	Rollback *Rollback `json:"rollback,omitempty"`

	// members is what the group protected right before the last change, or when one
	// was held back. It is read only then, and only where the cluster itself runs in
	// the group's region and account.
	// +optional
	Members *Members `json:"members,omitempty"`

	// driftCorrections holds the times of the corrections of the last hour. The
	// fourth one in an hour is held back: see the reason Contested.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	DriftCorrections []metav1.Time `json:"driftCorrections,omitempty"`

	// lastError is the last failed call, to the cloud or to what a call needs; the
	// next success clears it. A failure that repeats unchanged is written again every 5 minutes at
	// most.
	// +optional
	LastError *CallError `json:"lastError,omitempty"`

	// lastHandledReconcileAt is the last value of the annotation
	// ecs.alibabacloud.com/reconcile-requested-at for which the cloud was
	// observed.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// conditions follow kstatus: Ready always, Reconciling, Stalled and
	// Suspended only while they are True. Isolated is there where
	// spec.verifyIsolation asks for it.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Modification is a change of a group that took effect.
type Modification struct {
	// requestId is what ECS answered, for its audit log and support. It is absent
	// where the answer was lost and only a later observation showed the effect.
	// +optional
	RequestID string `json:"requestId,omitempty"`
	// from is the policy before.
	From string `json:"from"`
	// to is the policy after.
	To string `json:"to"`
	// cause is Spec, Drift, Restore or Rollback.
	Cause ModificationCause `json:"cause"`
	// time at which ECS confirmed it, or an observation first showed it.
	Time metav1.Time `json:"time"`
	// account is the ECSAccount it was made through, or (manager) for the
	// manager's own credentials.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Account string `json:"account,omitempty"`
	// generation of the spec that it was made for.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

// PendingModification is a change of a group that was sent, or is about to be,
// and whose outcome is not known, with everything that the request is made of.
type PendingModification struct {
	// clientToken makes a repetition of the request have no second effect.
	ClientToken string `json:"clientToken"`
	// from is the policy before.
	From string `json:"from"`
	// to is the policy after.
	To string `json:"to"`
	// cause is Spec, Drift, Restore or Rollback.
	Cause ModificationCause `json:"cause"`
	// time at which the request was written down, right before it was sent.
	// +optional
	Time metav1.Time `json:"time,omitzero"`
	// account is the ECSAccount whose credentials sign the request, or (manager)
	// for the manager's own.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Account string `json:"account,omitempty"`
	// ownerAccount is the parameter OwnerAccount of the request.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	OwnerAccount string `json:"ownerAccount,omitempty"`
	// generation of the spec that asks for the change.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

// Rollback is a change that is put back at a deadline unless it is confirmed.
type Rollback struct {
	// generation of the spec that asked for the change: the value of the annotation
	// ecs.alibabacloud.com/confirm that keeps it.
	Generation int64 `json:"generation"`
	// to is the policy that stood before the change.
	To string `json:"to"`
	// deadline is when the change is put back. It counts from when the change was sent.
	Deadline metav1.Time `json:"deadline"`
	// confirmed says that the change is kept, and so are corrections of drift from it.
	// +optional
	Confirmed bool `json:"confirmed,omitempty"`
	// rolledBack says that the change was put back, or was so already at the deadline.
	// Nothing more is done for this generation of the spec. An earlier generation only
	// tells that the next change is none that brings back an older one.
	// +optional
	RolledBack bool `json:"rolledBack,omitempty"`
}

// IsOpen tells whether the change is still to be put back unless it is confirmed. No rollback
// at all, nil, is not open.
func (b *Rollback) IsOpen() bool { return b != nil && !b.Confirmed && !b.RolledBack }

// Members is what a security group protects.
type Members struct {
	// interfaces is the number of elastic network interfaces.
	Interfaces int32 `json:"interfaces"`
	// instances is the number of ECS instances that they belong to.
	Instances int32 `json:"instances"`
}

// CallError is a failed call to the cloud, or to what a call needs.
type CallError struct {
	// action of the API, for example ModifySecurityGroupPolicy.
	Action string `json:"action"`
	// code that ECS answered, for example InvalidSecurityGroupId.NotFound, or one
	// of the operator's own: Timeout, ConnectionFailed, InvalidResponse,
	// NoCredentials, APIServerUnavailable.
	// +optional
	Code string `json:"code,omitempty"`
	// httpStatus of the answer; 0 if there was none.
	// +optional
	HTTPStatus int32 `json:"httpStatus,omitempty"`
	// requestId of the answer.
	// +optional
	RequestID string `json:"requestId,omitempty"`
	// message tells what went wrong. Secrets are taken out of it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// time of the failure.
	Time metav1.Time `json:"time"`
}

// SecurityGroupPolicy keeps the inner access policy of one Alibaba Cloud ECS
// security group as declared.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=sgp,categories=alibabacloud
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=`.spec.securityGroupId`
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.spec.regionId`
// +kubebuilder:printcolumn:name="Desired",type=string,JSONPath=`.spec.innerAccessPolicy`
// +kubebuilder:printcolumn:name="Observed",type=string,JSONPath=`.status.innerAccessPolicy`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="RequestId",type=string,priority=1,JSONPath=`.status.lastModification.requestId`
// +kubebuilder:printcolumn:name="Isolated",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Isolated")].status`
// +kubebuilder:printcolumn:name="Error",type=string,priority=1,JSONPath=`.status.lastError.code`
type SecurityGroupPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the group should be.
	// +required
	Spec SecurityGroupPolicySpec `json:"spec"`

	// status is what was seen, done and went wrong.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status SecurityGroupPolicyStatus `json:"status,omitempty"`
}

// SecurityGroupPolicyList is a list of SecurityGroupPolicy.
//
// +kubebuilder:object:root=true
type SecurityGroupPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecurityGroupPolicy `json:"items"`
}
