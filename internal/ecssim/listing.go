package ecssim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// reachOfTags is how many groups a filter by tag reaches.
const reachOfTags = 1000

// groupTypes are those that a call may name; none is one too.
var groupTypes = []string{"", "normal", "enterprise"}

func invalidGroupType() *apiError {
	return refuse(400, "InvalidParameter.SecurityGroupType", "The specified parameter SecurityGroupType is not valid.")
}

// groupFilter is what DescribeSecurityGroups asks for.
type groupFilter struct {
	ids     []string // nil: all
	account string
	name    string
	vpc     string
	network string
	kind    string
	managed string
	tags    map[string]string
}

func (s *Server) describeSecurityGroups(c *call) (object, *apiError) {
	if c.log.Region == "" {
		return nil, missingRegion()
	}
	filter, refusal := newGroupFilter(c)
	if refusal != nil {
		return nil, refusal
	}
	if strings.EqualFold(c.param("DryRun"), "true") {
		return nil, refuse(400, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
	}
	page, refusal := newPage(c)
	if refusal != nil {
		return nil, refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.regions[c.log.Region] {
		return nil, unknownRegion()
	}
	found, matching := s.groups.find(c.log.Region, filter, page)
	answer := object{{"RegionId", c.log.Region}, {"SecurityGroups", object{{"SecurityGroup", found}}}}
	if !page.byToken {
		return append(answer, field{"TotalCount", matching}, field{"PageNumber", page.start/page.size + 1},
			field{"PageSize", page.size}), nil
	}
	next := ""
	if matching > page.start+page.size {
		next = encodePosition("groups", page.start+page.size)
	}
	return append(answer, field{"NextToken", next}), nil
}

// find returns the groups of a page, and how many there are on all pages.
func (g *groups) find(region string, filter groupFilter, page page) (found []object, matching int) {
	ids := filter.ids
	if ids == nil {
		ids = g.inRegion(region)
	}
	found = []object{}
	for _, id := range ids {
		group := g.byKey[groupKey{region, id}]
		if group == nil || !filter.matches(group) {
			continue
		}
		if len(filter.tags) > 0 && matching == reachOfTags {
			break
		}
		if matching++; matching > page.start && len(found) < page.size {
			found = append(found, group.describe())
		}
	}
	return found, matching
}

// page is the part of a listing that a call asks for, in the old way (by number)
// or the new one (by token).
type page struct {
	byToken     bool
	start, size int
}

func newPage(c *call) (page, *apiError) {
	if c.has("MaxResults") || c.has("NextToken") {
		size, refusal := c.number("MaxResults", 10, 1, 100)
		if refusal != nil {
			return page{}, refusal
		}
		start, known := c.position("groups")
		if !known { // spelled as ECS spells it
			return page{}, refuse(400, "InValidParameter.NextToken", "The specified parameter NextToken is not valid.")
		}
		return page{true, start, size}, nil
	}
	size, refusal := c.number("PageSize", 10, 1, 100)
	if refusal != nil {
		return page{}, refusal
	}
	number, refusal := c.number("PageNumber", 1, 1, 1<<30)
	return page{false, (number - 1) * size, size}, refusal
}

func newGroupFilter(c *call) (groupFilter, *apiError) {
	f := groupFilter{
		account: c.key.Account,
		name:    c.param("SecurityGroupName"),
		vpc:     c.param("VpcId"),
		network: c.param("NetworkType"),
		kind:    c.param("SecurityGroupType"),
		managed: strings.ToLower(c.param("ServiceManaged")),
		tags:    map[string]string{},
	}
	if id := c.log.GroupID; id != "" {
		if !groupID.MatchString(id) {
			return f, malformedGroupID()
		}
		f.ids = []string{id}
	}
	if f.name != "" && !validName(f.name) {
		return f, malformedGroupName()
	}
	if !slices.Contains(groupTypes, f.kind) {
		return f, invalidGroupType()
	}
	if text := c.param("SecurityGroupIds"); text != "" {
		if err := json.Unmarshal([]byte(text), &f.ids); err != nil || f.ids == nil || len(f.ids) > 100 {
			return f, invalidParamter("SecurityGroupIds")
		}
		slices.Sort(f.ids)
		f.ids = slices.Compact(f.ids)
	}
	for name, allowed := range map[string][]string{
		f.network: {"", "vpc", "classic"}, f.managed: {"", "true", "false"},
	} {
		if !slices.Contains(allowed, name) {
			return f, refuse(400, "InvalidParameter", "The filter value %q is not valid.", name)
		}
	}
	for n := 1; n <= 20; n++ {
		prefix := "Tag." + strconv.Itoa(n) + "."
		if key := c.param(prefix + "Key"); key != "" {
			f.tags[key] = c.param(prefix + "Value")
		}
	}
	return f, nil
}

func (f groupFilter) matches(g *groupState) bool {
	for key, value := range f.tags {
		if has, ok := g.Tags[key]; !ok || value != "" && has != value {
			return false
		}
	}
	return g.Account == f.account &&
		(f.name == "" || f.name == g.Name) &&
		(f.vpc == "" || f.vpc == g.VpcID) &&
		(f.network == "" || (f.network == "vpc") == (g.VpcID != "")) &&
		(f.kind == "" || f.kind == g.kind()) &&
		(f.managed == "" || f.managed == fmt.Sprint(g.Managed))
}

func (g *groupState) kind() string {
	if g.Enterprise {
		return "enterprise"
	}
	return "normal"
}

// describe shows a group in a listing, which never holds its policy.
func (g *groupState) describe() object {
	serviceID := 0
	if g.Managed {
		serviceID = 1
	}
	return object{
		{"SecurityGroupId", g.ID},
		{"SecurityGroupName", g.Name},
		{"Description", g.Description},
		{"SecurityGroupType", g.kind()},
		{"VpcId", g.VpcID},
		{"CreationTime", "2026-01-01T00:00:00Z"},
		{"ResourceGroupId", ""},
		{"ServiceManaged", g.Managed},
		{"ServiceID", serviceID},
		{"RuleCount", len(g.OwnRules) + g.Rules},
		{"GroupToGroupRuleCount", 0},
		{"Tags", object{{"Tag", describeTags(g.Tags)}}},
	}
}
