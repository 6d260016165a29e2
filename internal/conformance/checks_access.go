package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

const needsSecondKey = "needs a second key, in SGP_SECOND_ACCESS_KEY_ID and SGP_SECOND_ACCESS_KEY_SECRET"

// keys are the checks of who may do what.
var keys = []Check{
	{"key-unknown", "A key that there is not: `InvalidAccessKeyId.NotFound`", Documented, func(ctx context.Context, r *run) (seen, error) {
		return r.refusedKey(ctx, r.Clients.UnknownKey, "InvalidAccessKeyId.NotFound")
	}},
	{"key-wrong-secret", "A wrong secret: `SignatureDoesNotMatch`", Documented, func(ctx context.Context, r *run) (seen, error) {
		return r.refusedKey(ctx, r.Clients.WrongSecret, "SignatureDoesNotMatch")
	}},
	{"key-token", "A key with a SecurityToken that is none: `InvalidSecurityToken.Malformed`", Documented, func(ctx context.Context, r *run) (seen, error) {
		return r.refusedKey(ctx, r.Clients.WrongToken, "InvalidSecurityToken.Malformed")
	}},
	{"action-unknown", "An action that there is not: `InvalidAction.NotFound`", Documented, func(ctx context.Context, r *run) (seen, error) {
		_, err := r.call(ctx, "DescribeNothingAtAll", r.with())
		return refusedWith("InvalidAction.NotFound", err)
	}},
	{"ram-denied", "A change without the permission: `Forbidden.RAM`", Documented, func(ctx context.Context, r *run) (seen, error) {
		if r.Clients.Second == nil || r.SecondKeyTag.Key != "" {
			return notChecked(needsSecondKey + " that may not change policies at all")
		}
		return refusedWith("Forbidden.RAM", r.modifyBySecond(ctx))
	}},
	{"ram-tag", "Permission under `acs:ResourceTag` alone: `Forbidden.RAM` without the tag, success with it", Assumed, ramTag},
}

// refusedKey is a read with a key that is none.
func (r *run) refusedKey(ctx context.Context, client *ecs.Client, code string) (seen, error) {
	if client == nil {
		return notChecked("needs a key in ALIBABA_CLOUD_ACCESS_KEY_ID")
	}
	_, err := r.callBy(ctx, client, ecs.ActionObserve, r.cheapest(r.basic))
	if e, ok := errors.AsType[*ecs.Error](err); ok && e.RefusesCredential() {
		return saw(e.Code == code, "%s", describe(e))
	}
	return refusedWith(code, err)
}

// modifyBySecond sets the policy that the group has already.
func (r *run) modifyBySecond(ctx context.Context) error {
	if err := r.be(ctx, ecs.Accept); err != nil {
		return err
	}
	_, err := r.callBy(ctx, r.Clients.Second, ecs.ActionModify, on("InnerAccessPolicy", ecs.Accept)(r))
	return err
}

func ramTag(ctx context.Context, r *run) (seen, error) {
	if r.Clients.Second == nil || r.SecondKeyTag.Key == "" {
		return notChecked(needsSecondKey + ", and the tag of its condition in --second-key-tag")
	}
	without, err := refusedWith("Forbidden.RAM", r.modifyBySecond(ctx))
	if err != nil {
		return seen{}, err
	}
	if _, err := r.call(ctx, actionTag, tagged(r, "Tag.1.Key", r.SecondKeyTag.Key, "Tag.1.Value", r.SecondKeyTag.Value)); err != nil {
		return seen{}, err
	}
	times, err := r.until(ctx, func() (bool, error) {
		err := r.modifyBySecond(ctx)
		if e, ok := errors.AsType[*ecs.Error](err); ok && e.Code == "Forbidden.RAM" {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return seen{}, err
	}
	with := "success"
	if times == 0 {
		with = fmt.Sprintf("`Forbidden.RAM` for %v", r.Patience)
	}
	return saw(without.verdict == Same && times > 0, "without: %s, with: %s", without.text, with)
}

// rate is the check of calls above the rate.
var rate = []Check{
	{"rate", "Too many reads at once: a code that contains `Throttling`", Documented, aboveRate},
}

// callers is how many make calls at the same time.
const callers = 32

// aboveRate makes reads until one is refused for rate.
func aboveRate(ctx context.Context, r *run) (seen, error) {
	if r.Clients.Fast == nil {
		return notChecked("needs --above-rate")
	}
	until, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var begun, passed atomic.Int32
	var wait sync.WaitGroup
	from := r.Now()
	for range callers {
		wait.Go(func() {
			for int(begun.Add(1)) <= r.AboveRate {
				_, err := r.Clients.Fast.Raw(until, r.Region, ecs.ActionObserve, r.cheapest(r.basic))
				if err != nil {
					cancel(err)
					return
				}
				passed.Add(1)
			}
		})
	}
	wait.Wait()
	took := r.Now().Sub(from).Milliseconds()
	e, failed := errors.AsType[*ecs.Error](context.Cause(until))
	switch {
	case !failed:
		return notChecked(fmt.Sprintf("none of %d reads was refused", r.AboveRate))
	case e.Class != ecs.Throttled:
		return seen{}, e
	}
	r.note(e.RequestID)
	asked := "no header says how long to wait"
	if e.RetryAfter > 0 {
		asked = fmt.Sprintf("a header asks to wait %v", e.RetryAfter)
	}
	r.measure("reads at once before the first refusal", "%d in %d ms; %s", passed.Load(), took, asked)
	return saw(true, "%s", describe(e))
}

// deleting are the checks of DeleteSecurityGroup, and of a group that is gone.
var deleting = []Check{
	{"delete", "DeleteSecurityGroup: success, and the first read after it does not find the group", Assumed, func(ctx context.Context, r *run) (seen, error) {
		pause(ctx, r.Breath)
		if err := r.delete(ctx, r.spare); err != nil {
			return seen{}, err
		}
		begun := r.Now()
		times, err := r.until(ctx, func() (bool, error) {
			_, err := r.read(ctx, r.spare)
			if e, ok := errors.AsType[*ecs.Error](err); ok && e.Class == ecs.NotFound {
				return true, nil
			}
			return false, err
		})
		return r.shown("from the answer to DeleteSecurityGroup to a read that does not find the group", "read", times, begun, err)
	}},
	refusal("delete-again", Documented, "DeleteSecurityGroup of a deleted group", "InvalidSecurityGroupId.NotFound", actionDelete, onGone()),
	refusal("modify-gone", Documented, "A change of a deleted group", "InvalidSecurityGroupId.NotFound", ecs.ActionModify, onGone("InnerAccessPolicy", ecs.Drop)),
	refusal("tag-gone", Documented, "TagResources of a deleted group", "InvalidResourceId.NotFound", actionTag, func(r *run) params {
		return tagged(r, "ResourceId.1", r.spare, "Tag.1.Key", "x", "Tag.1.Value", "x")
	}),
}

// onGone are the parameters of a call about the group that was deleted first.
func onGone(pairs ...string) func(*run) params {
	return func(r *run) params { return onAnother(r.spare, pairs...)(r) }
}

// elsewhere are the questions that need more than security groups.
var elsewhere = []Check{
	{"instances-of-others", "DescribeInstances with an id that is not the account's: an empty list", Assumed, func(ctx context.Context, r *run) (seen, error) {
		answer, err := r.call(ctx, "DescribeInstances", r.with("InstanceIds", `["i-00000000000000000000"]`))
		if err != nil {
			return seen{}, err
		}
		var body struct {
			Instances struct{ Instance []struct{} }
		}
		if json.Unmarshal(answer.Body, &body) != nil {
			return seen{}, errors.New("DescribeInstances: the answer does not hold instances")
		}
		return saw(len(body.Instances.Instance) == 0, "%d instances", len(body.Instances.Instance))
	}},
	unknown("interfaces-primary", Assumed, "DescribeNetworkInterfaces with SecurityGroupId leaves out primary interfaces", "needs a running instance"),
	unknown("event-fields", Assumed, "EventBridge tells changes of groups by a type and source of its own", "needs EventBridge"),
	unknown("event-delay", Assumed, "EventBridge tells them within minutes", "needs EventBridge"),
	unknown("drop-sessions", Assumed, "Drop ends no live connection", "needs two running instances"),
	unknown("drop-egress", Assumed, "Accept overrides an outbound rule that drops", "needs two running instances"),
	unknown("accept-other-vpc", Assumed, "Accept reaches no instance of another VPC or account", "needs instances in two VPCs"),
}
