package conformance

import (
	"context"
	"strings"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// creating are the checks of CreateSecurityGroup.
var creating = []Check{
	{"create-again", "CreateSecurityGroup with the ClientToken of a group: that group's id", Documented, createAgain},
	refusal("create-token-reused", Documented, "CreateSecurityGroup with a used ClientToken and another name", "IdempotentParameterMismatch", actionCreate,
		func(r *run) params { return r.group("other", "ClientToken", r.basicToken) }),
	refusal("create-name", Assumed, "A name with `*`", "InvalidSecurityGroupName.Malformed", actionCreate,
		func(r *run) params { return r.group("*") }),
	refusal("create-description", Assumed, "A description that begins with `http://`", "InvalidDescription.Malformed", actionCreate,
		func(r *run) params { return r.group("described", "Description", "http://example.com") }),
	refusal("create-type", Documented, "A type that there is not", "InvalidParameter.SecurityGroupType", actionCreate,
		func(r *run) params { return r.group("typed", "SecurityGroupType", "other") }),
	refusal("create-no-region", Documented, "CreateSecurityGroup without RegionId", "MissingParameter.RegionId", actionCreate,
		func(r *run) params { return r.group("nowhere", "RegionId", "") }),
	{"create-policy", "A new basic group is Accept", Documented, func(ctx context.Context, r *run) (seen, error) {
		policy, err := r.read(ctx, r.spare)
		if err != nil {
			return seen{}, err
		}
		return saw(policy == ecs.Accept, "%s", policy)
	}},
}

func createAgain(ctx context.Context, r *run) (seen, error) {
	id, err := r.create(ctx, r.group("basic", "ClientToken", r.basicToken))
	if err != nil {
		return seen{}, err
	}
	if id != r.basic {
		return saw(false, "another group")
	}
	return saw(true, "the same id")
}

// reading are the checks of DescribeSecurityGroupAttribute.
var reading = []Check{
	accepted("read-cheap", Documented, "A read with MaxResults 10 and Direction ingress", ecs.ActionObserve, on("MaxResults", "10", "Direction", "ingress")),
	accepted("read-most", Documented, "A read with MaxResults 1000", ecs.ActionObserve, on("MaxResults", "1000")),
	refusal("read-too-few", Assumed, "A read with MaxResults 9", "InvalidParamter", ecs.ActionObserve, on("MaxResults", "9")),
	refusal("read-too-many", Assumed, "A read with MaxResults 1001", "InvalidParamter", ecs.ActionObserve, on("MaxResults", "1001")),
	refusal("read-direction", Assumed, "A read with a Direction that there is not", "InvalidParamter", ecs.ActionObserve, on("Direction", "sideways")),
	refusal("read-page-token", Assumed, "A read with a NextToken that is not ECS's", "InvalidParamter", ecs.ActionObserve, on("NextToken", "nonsense")),
	refusal("read-nic-type", Documented, "A read with a NicType that there is not", "InvalidNicType.ValueNotSupported", ecs.ActionObserve, on("NicType", "other")),
	refusal("read-attribute", Documented, "A read of an Attribute that there is not", "InvalidParameter.AttributeNotSupported", ecs.ActionObserve, on("Attribute", "other")),
	refusal("read-no-region", Documented, "A read without RegionId", "MissingParameter.RegionId", ecs.ActionObserve, on("RegionId", "")),
	refusal("read-region", Documented, "A read in a region that there is not", "InvalidRegionId.NotFound", ecs.ActionObserve, on("RegionId", "cn-nowhere")),
	refusal("read-no-id", Assumed, "A read without SecurityGroupId", "InvalidSecurityGroupId.Malformed", ecs.ActionObserve, over()),
	refusal("read-malformed-id", Documented, "A read of a group with a blank and `!` in its id", "InvalidSecurityGroupId.Malformed", ecs.ActionObserve, onAnother(malformed)),
	refusal("read-unknown-id", Documented, "A read of a group that there is not", "InvalidSecurityGroupId.NotFound", ecs.ActionObserve, onAnother(nobodys)),
}

// changing are the checks of ModifySecurityGroupPolicy.
var changing = []Check{
	{"lag-drop", "Accept to Drop: the first read after the answer shows it", Assumed, lag(ecs.Accept, ecs.Drop)},
	{"lag-accept", "Drop to Accept: the first read after the answer shows it", Assumed, lag(ecs.Drop, ecs.Accept)},
	{"set-again", "The policy that the group has already: success", Documented, func(ctx context.Context, r *run) (seen, error) {
		if err := r.be(ctx, ecs.Accept); err != nil {
			return seen{}, err
		}
		_, err := r.modify(ctx, ecs.Accept, ecs.NewClientToken())
		if err != nil {
			return seen{}, err
		}
		return saw(true, "success")
	}},
	{"letter-case", "`dROP` sets Drop, and is read as `Drop`", Documented, func(ctx context.Context, r *run) (seen, error) {
		if err := r.be(ctx, ecs.Accept); err != nil {
			return seen{}, err
		}
		if _, err := r.modify(ctx, "dROP", ecs.NewClientToken()); err != nil {
			return seen{}, err
		}
		return r.becomes(ctx, ecs.Drop)
	}},
	refusal("modify-policy", Documented, "A policy that is neither Accept nor Drop", "InvalidPolicy.Malformed", ecs.ActionModify, on("InnerAccessPolicy", "Other")),
	refusal("modify-no-policy", Assumed, "A change without a policy", "InvalidPolicy.Malformed", ecs.ActionModify, on()),
	refusal("modify-no-region", Documented, "A change without RegionId", "MissingParamter.RegionId", ecs.ActionModify, on("InnerAccessPolicy", ecs.Accept, "RegionId", "")),
	refusal("modify-no-id", Assumed, "A change without SecurityGroupId", "InvalidSecurityGroupId.Malformed", ecs.ActionModify, over("InnerAccessPolicy", ecs.Accept)),
	refusal("modify-malformed-id", Documented, "A change of a group with a blank and `!` in its id", "InvalidSecurityGroupId.Malformed", ecs.ActionModify,
		onAnother(malformed, "InnerAccessPolicy", ecs.Accept)),
	refusal("modify-two-owners", Documented, "OwnerId and OwnerAccount together", "InvalidOwner", ecs.ActionModify,
		on("InnerAccessPolicy", ecs.Accept, "OwnerId", "1", "OwnerAccount", "nobody@example.com")),
	unknown("modify-managed", Documented, "A change of a cloud product's group: `InvalidOperation.ResourceManagedByCloudProduct`",
		"needs a group of a cloud product, and only this run's own groups are ever written to"),
}

// lag is the check of how late reads show a change.
func lag(from, to string) func(context.Context, *run) (seen, error) {
	return func(ctx context.Context, r *run) (seen, error) {
		if err := r.be(ctx, from); err != nil {
			return seen{}, err
		}
		pause(ctx, r.Breath)
		if _, err := r.modify(ctx, to, ecs.NewClientToken()); err != nil {
			return seen{}, err
		}
		answered := r.Now()
		reads, err := r.await(ctx, to)
		switch {
		case err != nil:
			return seen{}, err
		case reads == 0:
			return saw(false, "no read shows it within %v", r.Patience)
		}
		r.measure("from the answer to "+from+" → "+to+" to the end of the read that shows it", "%d ms, read %d", r.Now().Sub(answered).Milliseconds(), reads)
		if reads > 1 {
			return saw(false, "read %d shows it", reads)
		}
		return saw(true, "the first read shows it")
	}
}

// becomes waits for the basic group's policy.
func (r *run) becomes(ctx context.Context, policy string) (seen, error) {
	reads, err := r.await(ctx, policy)
	switch {
	case err != nil:
		return seen{}, err
	case reads == 0:
		return saw(false, "success, and reads do not show %s within %v", policy, r.Patience)
	}
	return saw(true, "success; read as %s", policy)
}

// repeating are the checks of ClientToken.
var repeating = []Check{
	{"token-again", "The same ClientToken and parameters again: success, with the first RequestId", Documented, tokenAgain},
	{"token-other-policy", "The same ClientToken with the other policy: `IdempotentParameterMismatch`, and no effect", Documented, tokenOtherPolicy},
	{"token-late", "The same ClientToken and parameters after a later change back: success from memory, and no effect", Assumed, tokenLate},
	{"token-other-action", "The ClientToken of a CreateSecurityGroup in a change: success", Assumed, func(ctx context.Context, r *run) (seen, error) {
		if _, err := r.modify(ctx, ecs.Accept, r.basicToken); err != nil {
			return seen{}, err
		}
		return saw(true, "success")
	}},
	{"token-of-refusal", "The ClientToken of a refused change in another one: success", Assumed, tokenOfRefusal},
	{"token-longest", "A ClientToken of 64 characters: success", Documented, func(ctx context.Context, r *run) (seen, error) {
		if _, err := r.modify(ctx, ecs.Accept, ecs.NewClientToken()+strings.Repeat("x", 34)); err != nil {
			return seen{}, err
		}
		return saw(true, "success")
	}},
	refusal("token-too-long", Documented, "A ClientToken of 65 characters", "InvalidClientToken.ValueNotSupported", ecs.ActionModify,
		on("InnerAccessPolicy", ecs.Accept, "ClientToken", strings.Repeat("x", 65))),
	refusal("token-not-ascii", Documented, "A ClientToken with `é`", "InvalidClientToken.ValueNotSupported", ecs.ActionModify,
		on("InnerAccessPolicy", ecs.Accept, "ClientToken", "sgp-é")),
}

func tokenAgain(ctx context.Context, r *run) (seen, error) {
	token := ecs.NewClientToken()
	if err := r.be(ctx, ecs.Accept); err != nil {
		return seen{}, err
	}
	first, err := r.modify(ctx, ecs.Drop, token)
	if err != nil {
		return seen{}, err
	}
	second, err := r.modify(ctx, ecs.Drop, token)
	switch {
	case err != nil:
		return seen{}, err
	case first != second:
		return saw(false, "success, with another RequestId")
	}
	return saw(true, "success, with the first RequestId")
}

func tokenOtherPolicy(ctx context.Context, r *run) (seen, error) {
	token := ecs.NewClientToken()
	if err := r.be(ctx, ecs.Accept); err != nil {
		return seen{}, err
	}
	if _, err := r.modify(ctx, ecs.Accept, token); err != nil {
		return seen{}, err
	}
	_, err := r.modify(ctx, ecs.Drop, token)
	s, err := refusedWith("IdempotentParameterMismatch", err)
	if err != nil {
		return s, err
	}
	policy, err := r.stays(ctx, ecs.Accept)
	if err != nil {
		return seen{}, err
	}
	return saw(s.verdict == Same && policy == ecs.Accept, "%s; the group is %s", s.text, policy)
}

func tokenLate(ctx context.Context, r *run) (seen, error) {
	token := ecs.NewClientToken()
	if err := r.be(ctx, ecs.Accept); err != nil {
		return seen{}, err
	}
	if _, err := r.modify(ctx, ecs.Drop, token); err != nil {
		return seen{}, err
	}
	for _, policy := range []string{ecs.Drop, ecs.Accept} { // the second has a token of its own
		if err := r.be(ctx, policy); err != nil {
			return seen{}, err
		}
	}
	if _, err := r.modify(ctx, ecs.Drop, token); err != nil {
		return seen{}, err
	}
	r.policy = ""
	policy, err := r.stays(ctx, ecs.Accept)
	if err != nil {
		return seen{}, err
	}
	return saw(policy == ecs.Accept, "success; the group is %s", policy)
}

func tokenOfRefusal(ctx context.Context, r *run) (seen, error) {
	token := ecs.NewClientToken()
	_, err := r.modify(ctx, "Other", token)
	if s, err := refusedWith("InvalidPolicy.Malformed", err); err != nil || s.verdict != Same {
		return s, err
	}
	if _, err := r.modify(ctx, ecs.Accept, token); err != nil {
		return seen{}, err
	}
	return saw(true, "success")
}

// enterprise are the checks of a group that is always isolated.
var enterprise = []Check{
	{"enterprise-create", "CreateSecurityGroup with SecurityGroupType enterprise: success", Documented, func(ctx context.Context, r *run) (_ seen, err error) {
		if r.fixed, err = r.create(ctx, r.group("enterprise", "SecurityGroupType", "enterprise")); err != nil {
			return seen{}, err
		}
		return saw(true, "success")
	}},
	refusal("enterprise-modify", Documented, "A change of an enterprise group", "InvalidParameter.InnerAccessPolicy", ecs.ActionModify,
		func(r *run) params {
			return params{"RegionId": r.Region, "SecurityGroupId": r.fixed, "InnerAccessPolicy": ecs.Drop}
		}),
	{"enterprise-read", "A read of an enterprise group: Accept, which means nothing", Assumed, func(ctx context.Context, r *run) (seen, error) {
		if r.fixed == "" {
			return notChecked("there is no group to try it on")
		}
		policy, err := r.read(ctx, r.fixed)
		if err != nil {
			return seen{}, err
		}
		return saw(policy == ecs.Accept, "%s", policy)
	}},
}
