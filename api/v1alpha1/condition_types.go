package v1alpha1

// Condition types, after the kstatus conventions: Ready is always present, the
// others only while they are True.
const (
	// ConditionReady is True when what was last observed in the cloud is what
	// the spec declares.
	ConditionReady = "Ready"

	// ConditionReconciling is True while the operator works towards the spec on
	// its own: a change is under way, or a passing fault is being retried.
	ConditionReconciling = "Reconciling"

	// ConditionStalled is True when somebody has to act. The operator still
	// observes again, slowly, so that nothing needs a restart to recover.
	ConditionStalled = "Stalled"

	// ConditionSuspended is True while spec.suspend keeps the operator from
	// calling the cloud for this resource.
	ConditionSuspended = "Suspended"
)

// ConditionIsolated tells, where spec.verifyIsolation asks for it, whether the
// members of the group are isolated from one another. It is True only if no two of them
// share another group with Accept and no rule of their groups lets one reach another;
// False with the evidence; Unknown if something could not be read. It says nothing of
// what always passes: load balancers, the metadata service, Alibaba Cloud's probes.
const ConditionIsolated = "Isolated"

// Reasons of the condition Isolated.
const (
	// ReasonNoPath says that no group and no rule connects members.
	ReasonNoPath = "NoPath"

	// ReasonPathFound says that members can reach one another. The message names the
	// groups and rules, three at most.
	ReasonPathFound = "PathFound"

	// ReasonNotDrop says that the group itself is Accept, which connects its members.
	ReasonNotDrop = "NotDrop"

	// ReasonMembersUnread says that the interfaces, a group or a list that a rule names
	// could not be read. The message says what, and the permission if that is missing.
	ReasonMembersUnread = "MembersUnread"
)

// Reasons of the conditions. Failures use the same words for their events.
const (
	// ReasonInSync says that the cloud is as declared. Nothing to do.
	ReasonInSync = "InSync"

	// ReasonProgressing says that a change is under way, one whose answer was
	// lost may still take effect, or another resource of the same group is
	// tried first. Wait a moment.
	ReasonProgressing = "Progressing"

	// ReasonDriftDetected says that the group differs from the spec and
	// managementPolicy Observe does not allow a change. Correct the group or the
	// spec, or set managementPolicy to Enforce.
	ReasonDriftDetected = "DriftDetected"

	// ReasonSuspended says that spec.suspend is true: what the resource shows
	// is what was last observed. Set suspend to false to go on.
	ReasonSuspended = "Suspended"

	// ReasonThrottled says that ECS refuses calls for being too many, or
	// the operator holds them back to stay below the quota. It slows down by
	// itself; lower --ecs-qps or raise the quota if it stays.
	ReasonThrottled = "Throttled"

	// ReasonCloudUnavailable says that the last call failed for a reason that
	// passes: no connection, a timeout, an internal error of ECS, a concurrent
	// operation on the group, or a code that the operator does not know.
	// status.lastError holds it. It is retried with backoff.
	ReasonCloudUnavailable = "CloudUnavailable"

	// ReasonSecurityGroupNotFound says that the region has no such group in
	// this account. Check spec.regionId and spec.securityGroupId; if the group
	// is created later, the operator finds it.
	ReasonSecurityGroupNotFound = "SecurityGroupNotFound"

	// ReasonUnsupportedSecurityGroupType says that the group is an advanced
	// (enterprise) one, whose instances are always isolated from one another.
	// Delete the resource.
	ReasonUnsupportedSecurityGroupType = "UnsupportedSecurityGroupType"

	// ReasonManagedByCloudProduct says that the group belongs to a cloud
	// product, which alone may change it. Delete the resource.
	ReasonManagedByCloudProduct = "ManagedByCloudProduct"

	// ReasonInvalidRequest says that ECS refuses a parameter, or nothing was
	// sent because the region is none that the operator knows (lastError's code is
	// UnknownRegion). Correct the spec; an administrator can add a region with the
	// manager's --extra-regions.
	ReasonInvalidRequest = "InvalidRequest"

	// ReasonAccessDenied says that ECS refuses the key, signature, token or RAM
	// permission. Correct the credentials or the RAM policy.
	ReasonAccessDenied = "AccessDenied"

	// ReasonAccountNotReady says that there are no usable credentials: the
	// account or its Secret is missing or malformed, or may not be used from
	// this namespace. The message says which.
	ReasonAccountNotReady = "AccountNotReady"

	// ReasonConflict says that another resource holds the same group, as its
	// SecurityGroupClaim tells. The message names it if it is in the same
	// namespace. Delete one of the two, or set managementPolicy to Observe.
	ReasonConflict = "Conflict"

	// ReasonContested says that somebody keeps undoing the operator's change:
	// three corrections within an hour. Corrections are spaced further and
	// further apart. Find the other tool, or set managementPolicy to Observe.
	ReasonContested = "Contested"

	// ReasonApprovalRequired says that a change is held. With Stalled somebody has to
	// approve it: it would cut the cluster that the operator runs in, or its account
	// demands an approval. With Reconciling it waits its turn within --change-budget,
	// and goes on by itself. The message says which, and how to approve.
	ReasonApprovalRequired = "ApprovalRequired"

	// ReasonRolledBack says that a change was put back, since nobody confirmed it
	// within spec.rollbackAfter. It is not tried again until the spec is edited.
	ReasonRolledBack = "RolledBack"
)

// Reasons of the conditions of an ECSAccount, beside AccessDenied, Throttled and
// CloudUnavailable.
const (
	// ReasonAuthenticated says that Alibaba Cloud accepts the credentials.
	ReasonAuthenticated = "Authenticated"

	// ReasonNotVerified says that there are credentials, and the token
	// service could not be asked whose they are. Calls to ECS go on.
	ReasonNotVerified = "NotVerified"

	// ReasonCredentialsNotFound says that the Secret is missing, malformed, or in
	// a namespace from which the manager does not read Secrets. The message says
	// which.
	ReasonCredentialsNotFound = "CredentialsNotFound"

	// ReasonInvalidSpec says that the spec cannot be used; the message says why.
	ReasonInvalidSpec = "InvalidSpec"
)

// CodeAPIServerUnavailable is a request to which the API server did not
// answer, so that the account or the claim could not be read.
const CodeAPIServerUnavailable = "APIServerUnavailable"

// DefaultAccountName is the ECSAccount that is used where a resource names none.
const DefaultAccountName = "default"

// Reasons of events that are not reasons of a condition as well.
const (
	// EventModified tells of a change that the spec asked for.
	EventModified = "Modified"

	// EventDriftCorrected tells of a change that put a drift right.
	EventDriftCorrected = "DriftCorrected"

	// EventRestored tells that the original value was put back at deletion.
	EventRestored = "Restored"

	// EventRestoreSkipped tells that the group was left as it is at deletion
	// although deletionPolicy is Restore, and why.
	EventRestoreSkipped = "RestoreSkipped"

	// EventConfirmationAwaited tells of a change that is put back unless it is confirmed,
	// and how to confirm it.
	EventConfirmationAwaited = "ConfirmationAwaited"

	// EventConfirmed tells that a change is kept.
	EventConfirmed = "Confirmed"

	// EventRollbackSkipped tells that a change that nobody confirmed is not put back,
	// because the spec does not allow it any more.
	EventRollbackSkipped = "RollbackSkipped"

	// EventRequestIgnored tells that the value of the annotation
	// ecs.alibabacloud.com/reconcile-requested-at is too long to be handled.
	EventRequestIgnored = "RequestIgnored"
)

const (
	// FinalizerRestore holds a resource with deletionPolicy Restore until the
	// original value is back, or there is nothing to put back.
	FinalizerRestore = "ecs.alibabacloud.com/restore"

	// AnnotationReconcileRequestedAt has the cloud observed at once whenever it
	// gets a new value, of any text of up to MaxReconcileRequest bytes.
	AnnotationReconcileRequestedAt = "ecs.alibabacloud.com/reconcile-requested-at"

	// MaxReconcileRequest is the length in bytes up to which a value of that
	// annotation is handled. A longer one is ignored, with an event.
	MaxReconcileRequest = 256

	// AnnotationApprove lets a held change through: its value is the generation of the
	// resource. It counts for that generation, drift corrections included.
	AnnotationApprove = "ecs.alibabacloud.com/approve"

	// AnnotationConfirm keeps a change that spec.rollbackAfter would put back: its
	// value is status.rollback.generation.
	AnnotationConfirm = "ecs.alibabacloud.com/confirm"

	// ApprovalPolicyName names the ValidatingAdmissionPolicy, and its binding, that lets
	// only those set AnnotationApprove whom RBAC allows the verb approve.
	ApprovalPolicyName = "approvals.ecs.alibabacloud.com"

	// AnnotationAbandon set to "true" gives up on putting back the original
	// value, so that a resource whose deletion waits for the cloud can go.
	AnnotationAbandon = "ecs.alibabacloud.com/abandon"
)
