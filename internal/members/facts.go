package members

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/isolation"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// factsFor is for how long interfaces, other groups and prefix lists count for a verdict.
const factsFor = time.Hour

// OfAnotherAccount says why nothing is read of a group with spec.ownerAccount: an account
// lists its own interfaces only.
const OfAnotherAccount = "spec.ownerAccount names another account, whose interfaces cannot be listed"

// Isolation reads what connects the members of a group.
type Isolation struct {
	// Cloud gives the client of the account that a resource uses.
	Cloud func(context.Context, *v1alpha1.SecurityGroupPolicy) (Cloud, error)
	// Store keeps what is read.
	Store *Store
}

// Facts gives what a verdict follows from, for a group that an account just observed with
// its rules. Unread says what could not be read. A wait other than zero says when to come
// back.
func (i *Isolation) Facts(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, account string, o ecs.Observation) (facts isolation.Facts, unread string, wait time.Duration) {
	id, region := p.Spec.SecurityGroupID, p.Spec.RegionID
	cloud, err := i.Cloud(ctx, p)
	if err != nil {
		return facts, "the account cannot be used", 0
	}
	i.Store.Keep(account, ecs.Group{RegionID: region, SecurityGroupID: id}, o)
	switch {
	case p.Spec.OwnerAccount != "":
		return facts, OfAnotherAccount, 0
	case o.VpcID == "":
		return facts, "the group is one of the classic network, whose interfaces cannot be listed by VPC", 0
	}
	snapshot, wait, err := i.Store.OfVPC(ctx, cloud, region, o.VpcID, factsFor)
	if err != nil || wait > 0 {
		return facts, why(err), wait
	}
	facts = isolation.Facts{ID: id, Interfaces: snapshot.Of(id), Groups: map[string]isolation.Group{}, Lists: map[string][]netip.Prefix{}}
	for _, group := range groupsOf(facts.Interfaces) {
		seen := o
		if group != id {
			if seen, wait, err = i.Store.Group(ctx, cloud, ecs.Group{RegionID: region, SecurityGroupID: group, Tenant: p.Namespace}, factsFor); err != nil || wait > 0 {
				return facts, why(err), wait
			}
		}
		facts.Groups[group] = isolation.Group{Accept: seen.Policy != ecs.Drop, Rules: seen.Rules, More: seen.MoreRules}
		if wait, err := i.Store.lists(ctx, cloud, region, seen.Rules, facts.Lists); err != nil || wait > 0 {
			return facts, why(err), wait
		}
	}
	return facts, "", 0
}

// lists reads the prefix lists that rules name, beside those that were read.
func (s *Store) lists(ctx context.Context, c Cloud, region string, rules []ecs.Rule, known map[string][]netip.Prefix) (time.Duration, error) {
	for _, rule := range rules {
		if rule.FromList == "" || !rule.Accept || known[rule.FromList] != nil {
			continue
		}
		list, wait, err := s.prefixList(ctx, c, region, rule.FromList)
		if err != nil || wait > 0 {
			return wait, err
		}
		known[rule.FromList] = slices.Concat([]netip.Prefix{}, list)
	}
	return 0, nil
}

func (s *Store) prefixList(ctx context.Context, c Cloud, region, id string) ([]netip.Prefix, time.Duration, error) {
	return read(ctx, s, key{c.Account, region, "list", id}, factsFor, func(ctx context.Context, _ *kept) ([]netip.Prefix, time.Duration, error) {
		return c.Client.PrefixList(ctx, region, id, ratelimit.Resync)
	})
}

// groupsOf are all groups that interfaces are in, in order.
func groupsOf(all []ecs.Interface) []string {
	var ids []string
	for _, i := range all {
		ids = append(ids, i.GroupIDs...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// why tells a user of a failed call.
func why(err error) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*ecs.Error](err)
	switch {
	case !ok:
		return "the API server did not answer"
	case e.Class == ecs.Denied:
		return "the account may not call ecs:" + e.Action
	}
	return "ecs:" + e.Action + " failed (" + e.Code + ")"
}
