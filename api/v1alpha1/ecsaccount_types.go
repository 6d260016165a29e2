package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ECSAccountSpec says where credentials for an Alibaba Cloud account come from,
// who may use them, for what, and how fast. A field that is not known, since it is
// misspelt for example, is refused: the object that it stands in has "too many".
type ECSAccountSpec struct {
	// credentials says where the keys come from. Without any of its fields the
	// manager's own are used: its environment, RRSA, or, with --instance-role, the
	// RAM role of its ECS instance.
	// +optional
	Credentials AccountCredentials `json:"credentials,omitempty"`

	// allowedNamespaces says from which namespaces the account may be used. Nobody
	// may use it unless this says so.
	// +optional
	AllowedNamespaces *AllowedNamespaces `json:"allowedNamespaces,omitempty"`

	// allowedRegions bounds the regions that users of the account may name, as
	// patterns in which * stands for any characters, for example cn-*. All if
	// empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	AllowedRegions []string `json:"allowedRegions,omitempty"`

	// allowedSecurityGroupIds bounds the groups that users of the account may name,
	// as patterns in which * stands for any characters. All if empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=100
	AllowedSecurityGroupIDs []string `json:"allowedSecurityGroupIds,omitempty"`

	// changeApproval lists the values to which no group is changed through this account
	// without an approval: Accept, Drop, or both. An approval is the annotation
	// ecs.alibabacloud.com/approve with the generation of the SecurityGroupPolicy, set
	// by somebody whom RBAC allows the verb approve on it. Without the
	// ValidatingAdmissionPolicy approvals.ecs.alibabacloud.com, which asks RBAC, every
	// such change is held.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=Accept;Drop
	ChangeApproval []string `json:"changeApproval,omitempty"`

	// endpoint of ECS, for example https://ecs-vpc.{region}.aliyuncs.com. What follows
	// {region} must be a fixed domain. Without it the manager's --ecs-endpoint holds.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^https?://([A-Za-z0-9.-]|\\\\{region\\\\})+(:[0-9]{1,5})?$') || self.matches('^https?://\\\\[[0-9a-fA-F:.]+\\\\](:[0-9]{1,5})?$')",message="endpoint must be a scheme and a host, for example https://ecs-vpc.{region}.aliyuncs.com"
	// +kubebuilder:validation:XValidation:rule="!self.contains('{region}') || self.matches('\\\\{region\\\\}[A-Za-z0-9-]*(\\\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?){2,}(:[0-9]{1,5})?$')",message="endpoint needs a fixed domain after {region}, for example https://ecs-vpc.{region}.aliyuncs.com"
	Endpoint string `json:"endpoint,omitempty"`

	// rateLimit bounds the calls for this account, for each region and action.
	// Without it the manager's --ecs-qps and --ecs-burst hold.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
}

// AccountCredentials says where keys come from.
type AccountCredentials struct {
	// secretRef names a Secret with the keys accessKeyId, accessKeySecret and, for
	// a temporary key, securityToken.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// assumeRole takes on a RAM role with the keys of secretRef, or else with the
	// manager's own.
	// +optional
	AssumeRole *AssumeRole `json:"assumeRole,omitempty"`
}

// SecretReference names a Secret in one of the namespaces from which the manager
// may read Secrets (--secret-namespaces).
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
}

// AssumeRole says which RAM role to take on.
type AssumeRole struct {
	// roleArn is the role, for example acs:ram::123456789012:role/sgp.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^acs:ram::[0-9]+:role/[A-Za-z0-9._/-]+$')",message="roleArn must be the ARN of a RAM role, for example acs:ram::123456789012:role/sgp"
	RoleARN string `json:"roleArn"`
	// externalId that the role's trust policy demands.
	// +optional
	// +kubebuilder:validation:MaxLength=1224
	ExternalID string `json:"externalId,omitempty"`
	// sessionDuration is how long a session lasts, from 15m to 12h; the role's own
	// limit holds too. An hour if it is missing.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(s|m|h)){1,3}$') && duration(self) >= duration('15m') && duration(self) <= duration('12h')",message="sessionDuration must be a duration from 15m to 12h"
	SessionDuration *metav1.Duration `json:"sessionDuration,omitempty"`
}

// AllowedNamespaces chooses namespaces: all of them, or those with certain labels.
//
// +kubebuilder:validation:XValidation:rule="(has(self.all) && self.all) != has(self.selector)",message="allowedNamespaces must say either all: true or a selector"
type AllowedNamespaces struct {
	// all lets every namespace use the account, those that come later included.
	// +optional
	All bool `json:"all,omitempty"`
	// selector matches the labels of the namespaces that may use the account. It is
	// not empty: all says that every namespace may. The label
	// kubernetes.io/metadata.name holds a namespace's name.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="selector must not be empty: name a label or an expression, or say all: true in its place"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RateLimit bounds calls.
type RateLimit struct {
	// qps is the number of calls per second, for each region and action.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	QPS int32 `json:"qps"`
	// burst is the number of calls at once; twice qps if it is missing.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Burst int32 `json:"burst,omitempty"`
}

// ECSAccountStatus tells whether an account can be used.
type ECSAccountStatus struct {
	// observedGeneration is the generation of the spec that the status speaks of;
	// -1 until the account has been reconciled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// accountId is the Alibaba Cloud account that the credentials belong to.
	// +optional
	AccountID string `json:"accountId,omitempty"`
	// conditions follow kstatus: Ready always, Reconciling and Stalled only while
	// they are True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ECSAccount says where credentials for an Alibaba Cloud account come from, for
// whom, and how fast they may be used.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=alibabacloud
// +kubebuilder:printcolumn:name="Account",type=string,JSONPath=`.status.accountId`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type ECSAccount struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says where credentials come from and who may use them.
	// +optional
	Spec ECSAccountSpec `json:"spec,omitempty"`

	// status tells whether the account can be used.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ECSAccountStatus `json:"status,omitempty"`
}

// ECSAccountList is a list of ECSAccount.
//
// +kubebuilder:object:root=true
type ECSAccountList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ECSAccount `json:"items"`
}
