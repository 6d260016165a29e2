// Package failures gives what can go wrong its one meaning and its words: the status of a
// resource and a command say the same of the same answer.
package failures

import (
	"errors"
	"fmt"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// Of sorts an error.
func Of(err error) policy.Failure {
	if notReady, ok := errors.AsType[*account.NotReadyError](err); ok {
		if notReady.NotAllowed {
			return policy.NotAllowed
		}
		return policy.NoAccount
	}
	e, ok := errors.AsType[*ecs.Error](err)
	if !ok {
		return policy.Unavailable
	}
	switch e.Class {
	case ecs.Unavailable:
		return policy.Unavailable
	case ecs.Throttled:
		return policy.Throttled
	case ecs.NotFound:
		return policy.NotFound
	case ecs.UnsupportedGroup:
		return policy.UnsupportedGroup
	case ecs.ManagedGroup:
		return policy.ManagedGroup
	case ecs.Invalid:
		return policy.Invalid
	case ecs.Denied:
		return policy.Denied
	case ecs.TokenRejected:
		return policy.TokenRejected
	case ecs.NoCredentials:
		return policy.NoAccount
	}
	return policy.Unavailable
}

// Words are the contract's reason of a failure of a call for a group, and what a user
// reads. The answer of ECS is in what answer says.
func Words(f policy.Failure, err error, g ecs.Group, answer string) (reason, message string) {
	code := v1alpha1.CodeAPIServerUnavailable
	if e, ok := errors.AsType[*ecs.Error](err); ok {
		code, message = e.Code, e.Message
	}
	group := fmt.Sprintf("security group %s in %s", g.SecurityGroupID, g.RegionID)
	switch f {
	case policy.NotAllowed, policy.NoAccount:
		if notReady, ok := errors.AsType[*account.NotReadyError](err); ok {
			message = notReady.Reason
		}
		return v1alpha1.ReasonAccountNotReady, message
	case policy.Throttled:
		return v1alpha1.ReasonThrottled, "ECS answers that there are too many calls; calls continue more slowly"
	case policy.NotFound:
		return v1alpha1.ReasonSecurityGroupNotFound, "There is no " + group + " in this account: check spec.regionId, spec.securityGroupId and spec.accountRef"
	case policy.UnsupportedGroup:
		return v1alpha1.ReasonUnsupportedSecurityGroupType, "The " + group + " is an advanced (enterprise) group, whose instances are always isolated: delete this resource"
	case policy.ManagedGroup:
		return v1alpha1.ReasonManagedByCloudProduct, "The " + group + " is managed by a cloud product, which alone may change it: delete this resource"
	case policy.Invalid:
		if code == ecs.CodeUnknownRegion {
			return v1alpha1.ReasonInvalidRequest, "spec.regionId names " + g.RegionID +
				", which is no region that the operator knows, and nothing was sent: correct it in a new resource, or have an administrator add the region to the manager's --extra-regions"
		}
		return v1alpha1.ReasonInvalidRequest, "ECS refuses a parameter (" + code + "): correct the spec; " + answer
	case policy.Denied:
		return v1alpha1.ReasonAccessDenied, "The call was refused (" + code + "): correct the credentials or the RAM policy; " + answer
	case policy.Unavailable, policy.TokenRejected:
		if code == ecs.CodeUnreachable {
			return v1alpha1.ReasonCloudUnavailable, "ECS does not answer in " + g.RegionID + ": one call at a time tries again until it does"
		}
	}
	return v1alpha1.ReasonCloudUnavailable, "The last call failed (" + code + ") and is retried; " + answer
}
