package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// listing are the checks of DescribeSecurityGroups.
var listing = []Check{
	{"list-fields", "A listing has a group's name, VPC, type and tags", Documented, func(ctx context.Context, r *run) (seen, error) {
		page, _, err := r.list(ctx, "SecurityGroupId", r.basic)
		switch {
		case err != nil:
			return seen{}, err
		case len(page.SecurityGroups.SecurityGroup) != 1:
			return saw(false, "%d groups", len(page.SecurityGroups.SecurityGroup))
		}
		g := page.SecurityGroups.SecurityGroup[0]
		return saw(g.SecurityGroupName == r.name("basic") && g.VpcID == r.VPC && g.SecurityGroupType == "normal" && g.tags()[TagKey] == r.id,
			"name: %t, VPC: %t, type normal: %t, tag: %t", g.SecurityGroupName == r.name("basic"), g.VpcID == r.VPC, g.SecurityGroupType == "normal", g.tags()[TagKey] == r.id)
	}},
	{"list-enterprise", "A listing has SecurityGroupType `enterprise` for an enterprise group", Documented, func(ctx context.Context, r *run) (seen, error) {
		if r.fixed == "" {
			return notChecked("there is no group to try it on")
		}
		page, _, err := r.list(ctx, "SecurityGroupId", r.fixed, "SecurityGroupType", "enterprise")
		if err != nil {
			return seen{}, err
		}
		groups := page.SecurityGroups.SecurityGroup
		return saw(len(groups) == 1 && groups[0].SecurityGroupType == "enterprise", "%d enterprise group", len(groups))
	}},
	{"list-no-policy", "A listing has no InnerAccessPolicy", Documented, func(ctx context.Context, r *run) (seen, error) {
		_, body, err := r.list(ctx, "SecurityGroupId", r.basic)
		if err != nil {
			return seen{}, err
		}
		if bytes.Contains(body, []byte("InnerAccessPolicy")) {
			return saw(false, "it has")
		}
		return saw(true, "it has none")
	}},
	{"list-by-ids", "SecurityGroupIds as a JSON list: those groups", Documented, func(ctx context.Context, r *run) (seen, error) {
		ids, _ := json.Marshal([]string{r.basic, r.spare})
		return r.lists(ctx, 2, "SecurityGroupIds", string(ids))
	}},
	{"list-unknown-id", "A group that there is not: an empty list", Documented, func(ctx context.Context, r *run) (seen, error) {
		return r.lists(ctx, 0, "SecurityGroupId", nobodys)
	}},
	{"list-by-tag", "A filter by key and value of a tag, right after the groups were made: all of them", Assumed, listByTag},
	{"list-by-tag-key", "A filter by the key of a tag alone: groups that bear it, and no others", Assumed, func(ctx context.Context, r *run) (seen, error) {
		page, _, err := r.list(ctx, "Tag.1.Key", TagKey, "MaxResults", "100")
		if err != nil {
			return seen{}, err
		}
		own, others := 0, 0
		for _, g := range page.SecurityGroups.SecurityGroup {
			switch value, bears := g.tags()[TagKey]; {
			case !bears:
				others++
			case value == r.id:
				own++
			}
		}
		return saw(own == len(r.own) && others == 0, "%d of %d groups, and %d without the key", own, len(r.own), others)
	}},
	{"list-pages", "MaxResults 1 and NextToken: each group on one page, an empty NextToken on the last", Documented, listPages},
	{"list-total", "TotalCount without a page token, and none with MaxResults", Documented, func(ctx context.Context, r *run) (seen, error) {
		old, _, err := r.list(ctx, "SecurityGroupId", r.basic)
		if err != nil {
			return seen{}, err
		}
		page, _, err := r.list(ctx, "SecurityGroupId", r.basic, "MaxResults", "10")
		if err != nil {
			return seen{}, err
		}
		return saw(old.TotalCount != nil && page.TotalCount == nil, "without: %t, with MaxResults: %t", old.TotalCount != nil, page.TotalCount != nil)
	}},
	accepted("list-most", Documented, "A listing with MaxResults 100", ecs.ActionList, over("MaxResults", "100")),
	refusal("list-too-many", Assumed, "A listing with MaxResults 101", "InvalidParamter", ecs.ActionList, over("MaxResults", "101")),
	refusal("list-page-token", Documented, "A listing with a NextToken that is not ECS's", "InValidParameter.NextToken", ecs.ActionList, over("MaxResults", "10", "NextToken", "nonsense")),
	refusal("list-malformed-id", Documented, "A listing of a group with a blank and `!` in its id", "InvalidSecurityGroupId.Malformed", ecs.ActionList, onAnother(malformed)),
	refusal("list-name", Documented, "A listing of a name with `*`", "InvalidSecurityGroupName.Malformed", ecs.ActionList, over("SecurityGroupName", "web*")),
	refusal("list-type", Documented, "A listing of a type that there is not", "InvalidParameter.SecurityGroupType", ecs.ActionList, over("SecurityGroupType", "other")),
	refusal("list-no-region", Documented, "A listing without RegionId", "MissingParameter.RegionId", ecs.ActionList, over("RegionId", "")),
	refusal("list-dry-run", Documented, "A listing with DryRun", "DryRunOperation", ecs.ActionList, over("DryRun", "true")),
}

// list lists groups.
func (r *run) list(ctx context.Context, pairs ...string) (page groupList, body []byte, err error) {
	answer, err := r.call(ctx, ecs.ActionList, r.with(pairs...))
	if err != nil {
		return page, nil, err
	}
	if json.Unmarshal(answer.Body, &page) != nil {
		return page, nil, errors.New("DescribeSecurityGroups: the answer does not hold security groups")
	}
	return page, answer.Body, nil
}

// lists checks how many groups there are.
func (r *run) lists(ctx context.Context, wanted int, pairs ...string) (seen, error) {
	page, _, err := r.list(ctx, pairs...)
	if err != nil {
		return seen{}, err
	}
	return saw(len(page.SecurityGroups.SecurityGroup) == wanted, "%d groups", len(page.SecurityGroups.SecurityGroup))
}

func listByTag(ctx context.Context, r *run) (seen, error) {
	pause(ctx, r.Breath)
	begun := r.Now()
	times, err := r.until(ctx, func() (bool, error) {
		page, _, err := r.list(ctx, "Tag.1.Key", TagKey, "Tag.1.Value", r.id, "MaxResults", "100")
		return len(page.SecurityGroups.SecurityGroup) == len(r.own), err
	})
	return r.shown("from the first listing by tag to one with all new groups", "listing", times, begun, err)
}

// shown tells when something showed that was asked for again and again.
func (r *run) shown(what, ask string, times int, since time.Time, err error) (seen, error) {
	switch {
	case err != nil:
		return seen{}, err
	case times == 0:
		return saw(false, "no %s shows it within %v", ask, r.Patience)
	}
	r.measure(what, "%d ms, %s %d", r.Now().Sub(since).Milliseconds(), ask, times)
	if times > 1 {
		return saw(false, "%s %d shows it", ask, times)
	}
	return saw(true, "the first %s shows it", ask)
}

func listPages(ctx context.Context, r *run) (seen, error) {
	found := map[string]int{}
	token := ""
	for pages := 1; ; pages++ {
		page, _, err := r.list(ctx, "Tag.1.Key", TagKey, "Tag.1.Value", r.id, "MaxResults", "1", "NextToken", token)
		if err != nil {
			return seen{}, err
		}
		for _, g := range page.SecurityGroups.SecurityGroup {
			found[g.SecurityGroupID]++
		}
		if token = page.NextToken; token == "" || pages > 2*len(r.own) {
			break
		}
	}
	if token != "" {
		return saw(false, "the pages do not end")
	}
	once := len(found) == len(r.own) && !slices.ContainsFunc(slices.Collect(maps.Values(found)), func(n int) bool { return n != 1 })
	if !once {
		return saw(false, "some groups are missing, or on two pages")
	}
	return saw(true, "each group on one page")
}

const (
	ownKey   = "sgp-operator-try"
	firstTry = "first"
)

// tagging are the checks of TagResources and UntagResources.
var tagging = []Check{
	{"tag", "A new tag: the first listing after the answer shows it", Assumed, tag(firstTry)},
	{"tag-overwrite", "A key that is there: overwritten, and the first listing after the answer shows it", Assumed, tag("second")},
	{"untag", "UntagResources: the first listing after the answer is without the tag", Assumed, func(ctx context.Context, r *run) (seen, error) {
		pause(ctx, r.Breath)
		if _, err := r.call(ctx, actionUntag, tagged(r, "TagKey.1", ownKey)); err != nil {
			return seen{}, err
		}
		begun := r.Now()
		times, err := r.until(ctx, func() (bool, error) {
			_, has, err := r.tagOf(ctx, ownKey)
			return !has, err
		})
		return r.shown("from the answer to UntagResources to a listing without the tag", "listing", times, begun, err)
	}},
	refusal("tag-reserved", Documented, "A key that begins with `aliyun`", "InvalidTagKey.Malformed", actionTag, onTags("Tag.1.Key", "aliyun-x", "Tag.1.Value", "x")),
	refusal("tag-twice", Documented, "A key twice in a call", "Duplicate.TagKey", actionTag, onTags("Tag.1.Key", "x", "Tag.1.Value", "x", "Tag.2.Key", "x", "Tag.2.Value", "y")),
	refusal("tag-many", Documented, "21 tags in a call", "NumberExceed.Tags", actionTag, func(r *run) params { return tagged(r, tags(21)...) }),
	refusal("tag-groups", Documented, "51 groups in a call", "NumberExceed.ResourceIds", actionTag, func(r *run) params { return tagged(r, groups(r.basic, 51)...) }),
	refusal("tag-quota", Documented, "20 more tags of a group that has one", "OperationDenied.QuotaExceed", actionTag, func(r *run) params { return tagged(r, tags(20)...) }),
	refusal("tag-type", Assumed, "A ResourceType that there is not", "InvalidResourceType.NotFound", actionTag, onTags("ResourceType", "other", "Tag.1.Key", "x", "Tag.1.Value", "x")),
}

// tagged are the parameters of a call about the tags of the basic group.
func tagged(r *run, pairs ...string) params {
	return r.with(append([]string{"ResourceType", "securitygroup", "ResourceId.1", r.basic}, pairs...)...)
}

func onTags(pairs ...string) func(*run) params {
	return func(r *run) params { return tagged(r, pairs...) }
}

// tags are the parameters of n tags.
func tags(n int) (pairs []string) {
	for i := range n {
		at := "Tag." + strconv.Itoa(i+1)
		pairs = append(pairs, at+".Key", ownKey+strconv.Itoa(i), at+".Value", "x")
	}
	return pairs
}

// groups are the parameters of a tag for n groups, all of them the same one.
func groups(id string, n int) (pairs []string) {
	for i := range n {
		pairs = append(pairs, "ResourceId."+strconv.Itoa(i+1), id)
	}
	return append(pairs, tags(1)...)
}

func (r *run) tagOf(ctx context.Context, key string) (value string, has bool, err error) {
	page, _, err := r.list(ctx, "SecurityGroupId", r.basic)
	for _, g := range page.SecurityGroups.SecurityGroup {
		value, has = g.tags()[key]
	}
	return value, has, err
}

// tag is the check of how late a listing shows a tag.
func tag(value string) func(context.Context, *run) (seen, error) {
	return func(ctx context.Context, r *run) (seen, error) {
		pause(ctx, r.Breath)
		if _, err := r.call(ctx, actionTag, tagged(r, "Tag.1.Key", ownKey, "Tag.1.Value", value)); err != nil {
			return seen{}, err
		}
		begun := r.Now()
		times, err := r.until(ctx, func() (bool, error) {
			got, _, err := r.tagOf(ctx, ownKey)
			return got == value, err
		})
		return r.shown("from the answer to TagResources ("+value+") to a listing that shows it", "listing", times, begun, err)
	}
}
