package ecssim

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

const (
	ecsVersion = "2014-05-26"
	stsVersion = "2015-04-01"
)

// api is one action.
type api struct {
	product string
	version string
	signed  bool
	// waits is set where the action itself chooses the moment at which it is
	// slow.
	waits bool
	do    func(*Server, *call) (object, *apiError)
}

var apis = map[string]api{
	"ModifySecurityGroupPolicy":      {"ecs", ecsVersion, true, true, (*Server).modifySecurityGroupPolicy},
	"DescribeSecurityGroupAttribute": {"ecs", ecsVersion, true, false, (*Server).describeSecurityGroupAttribute},
	"DescribeSecurityGroups":         {"ecs", ecsVersion, true, false, (*Server).describeSecurityGroups},
	"CreateSecurityGroup":            {"ecs", ecsVersion, true, false, (*Server).createSecurityGroup},
	"DeleteSecurityGroup":            {"ecs", ecsVersion, true, false, (*Server).deleteSecurityGroup},
	"TagResources":                   {"ecs", ecsVersion, true, false, (*Server).tagResources},
	"UntagResources":                 {"ecs", ecsVersion, true, false, (*Server).untagResources},
	"DescribeInstances":              {"ecs", ecsVersion, true, false, (*Server).describeInstances},
	"DescribeNetworkInterfaces":      {"ecs", ecsVersion, true, false, (*Server).describeNetworkInterfaces},
	"DescribePrefixListAttributes":   {"ecs", ecsVersion, true, false, (*Server).describePrefixListAttributes},
	"DescribeRegions":                {"ecs", ecsVersion, true, false, (*Server).describeRegions},
	"AssumeRole":                     {"sts", stsVersion, true, false, (*Server).assumeRole},
	"AssumeRoleWithOIDC":             {"sts", stsVersion, false, false, (*Server).assumeRoleWithOIDC},
	"GetCallerIdentity":              {"sts", stsVersion, true, false, (*Server).getCallerIdentity},
}

// groupID is what real ids look like; the documentation forgets their hyphen.
var groupID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

func (s *Server) modifySecurityGroupPolicy(c *call) (object, *apiError) {
	policy := canonicalPolicy(c.log.Policy)
	switch {
	case c.log.Region == "":
		return nil, refuse(400, "MissingParamter.RegionId", "The input parameter RegionId that is mandatory for processing this request is not supplied.")
	case c.has("OwnerId") && c.has("OwnerAccount"):
		return nil, refuse(400, "InvalidOwner", "OwnerId and OwnerAccount can't be used at one API access.")
	case !groupID.MatchString(c.log.GroupID):
		return nil, malformedGroupID()
	case policy == "":
		return nil, refuse(400, "InvalidPolicy.Malformed", "The specified policy is not valid.")
	}
	s.mu.Lock()
	claim, first, refusal := s.tokens.begin(s.now(), c)
	if first != nil {
		c.log.RequestID = first.requestID
	}
	s.mu.Unlock()
	if refusal != nil || first != nil {
		return nil, refusal
	}
	s.pause(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal = s.setInnerAccessPolicy(c, policy)
	s.tokens.end(claim, refusal == nil)
	return nil, refusal
}

// setInnerAccessPolicy has the effect of ModifySecurityGroupPolicy.
func (s *Server) setInnerAccessPolicy(c *call, policy Policy) *apiError {
	group, refusal := s.findGroup(c)
	switch {
	case refusal != nil:
		return refusal
	case group.Managed:
		return managedGroup(group.ID)
	case group.Enterprise:
		return refuse(404, "InvalidParameter.InnerAccessPolicy", "The specified parameter InnerAccessPolicy is not valid for an enterprise security group.")
	}
	c.log.Effect = s.groups.modify(group, policy, Effect{
		Time: s.now(), RequestID: c.log.RequestID, ClientToken: c.log.ClientToken,
	})
	return nil
}

// findGroup returns the group that a call names, if the caller's account owns it.
func (s *Server) findGroup(c *call) (*groupState, *apiError) {
	if !s.regions[c.log.Region] {
		return nil, unknownRegion()
	}
	group, ok := s.groups.byKey[groupKey{c.log.Region, c.log.GroupID}]
	if !ok || group.Account != c.key.Account {
		return nil, refuse(404, "InvalidSecurityGroupId.NotFound", "The specified SecurityGroupId does not exist.")
	}
	return group, nil
}

func managedGroup(id string) *apiError {
	return refuse(403, "InvalidOperation.ResourceManagedByCloudProduct", "The security group %s has been managed by another cloud product.", id)
}

func malformedGroupID() *apiError {
	return refuse(400, "InvalidSecurityGroupId.Malformed", "The specified parameter SecurityGroupId is not valid.")
}

func unknownRegion() *apiError {
	return refuse(404, "InvalidRegionId.NotFound", "The specified RegionId does not exist.")
}

func missingRegion() *apiError {
	return refuse(400, "MissingParameter.RegionId", "The input parameter RegionId that is mandatory for processing this request is not supplied.")
}

func (s *Server) describeSecurityGroupAttribute(c *call) (object, *apiError) {
	if c.log.Region == "" {
		return nil, missingRegion()
	}
	if !groupID.MatchString(c.log.GroupID) {
		return nil, malformedGroupID()
	}
	if attribute := c.param("Attribute"); attribute != "" && attribute != "snapshotPolicyIds" {
		return nil, refuse(400, "InvalidParameter.AttributeNotSupported", "The specified parameter Attribute is not supported.")
	}
	if nic := c.param("NicType"); nic != "" && nic != "internet" && nic != "intranet" {
		return nil, refuse(400, "InvalidNicType.ValueNotSupported", "The specified NicType is not supported.")
	}
	direction := c.param("Direction")
	if !slices.Contains([]string{"", "all", "ingress", "egress"}, direction) {
		return nil, invalidParamter("Direction")
	}
	size, refusal := c.number("MaxResults", 500, 10, 1000)
	if refusal != nil {
		return nil, refusal
	}
	start, known := c.position(direction)
	if !known {
		return nil, invalidParamter("NextToken")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	group, refusal := s.findGroup(c)
	if refusal != nil {
		return nil, refusal
	}
	rules, next := group.page(direction, start, size)
	return object{
		{"RegionId", group.Region},
		{"SecurityGroupId", group.ID},
		{"SecurityGroupName", group.Name},
		{"Description", group.Description},
		{"VpcId", group.VpcID},
		{"InnerAccessPolicy", group.visible(s.now())},
		{"NextToken", next},
		{"Permissions", object{{"Permission", rules}}},
		{"SnapshotPolicyIds", object{{"SnapshotPolicyId", []string{}}}},
	}, nil
}

// page returns some of a group's rules in one direction, and the token of the
// page after it.
func (g *groupState) page(direction string, start, size int) (rules []object, next string) {
	rules = []object{}
	seen := 0
	for i := range len(g.OwnRules) + g.Rules {
		one := g.rule(i)
		if direction != "" && direction != "all" && direction != one[1].value {
			continue
		}
		if seen++; seen <= start {
			continue
		}
		if len(rules) == size {
			return rules, encodePosition(direction, start+size)
		}
		rules = append(rules, one)
	}
	return rules, ""
}

// rule is one of those that were given, or that are made up to have a number of them.
func (g *groupState) rule(i int) object {
	if i < len(g.OwnRules) {
		return g.OwnRules[i].describe(g.ID, i)
	}
	i -= len(g.OwnRules)
	port := fmt.Sprintf("%d/%d", 1+i%65535, 1+i%65535)
	made := Rule{ID: fmt.Sprintf("sgr-%s-%d", g.ID, i), Protocol: "TCP", Ports: port, CIDR: "10.0.0.0/8"}
	if i%2 == 1 {
		made.Direction = "egress"
	}
	return made.describe(g.ID, i)
}

// number returns a numeric parameter within its bounds.
func (c *call) number(name string, otherwise, lowest, highest int) (int, *apiError) {
	text := c.param(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > highest {
		return 0, invalidParamter(name)
	}
	return n, nil
}

// invalidParamter is spelled as ECS spells it.
func invalidParamter(name string) *apiError {
	return refuse(400, "InvalidParamter", "The specified parameter %s is not valid.", name)
}

// encodePosition makes the NextToken for a position in a listing of some kind.
func encodePosition(kind string, position int) string {
	return base64.URLEncoding.EncodeToString(fmt.Appendf(nil, "%s/%d", kind, position))
}

// position reads a NextToken made for the same kind of listing. Known is false where
// there is one of another kind.
func (c *call) position(kind string) (position int, known bool) {
	token := c.param("NextToken")
	if token == "" {
		return 0, true
	}
	text, err := base64.URLEncoding.DecodeString(token)
	if err == nil && len(text) > len(kind)+1 && string(text[:len(kind)+1]) == kind+"/" {
		if n, err := strconv.Atoi(string(text[len(kind)+1:])); err == nil && n > 0 {
			return n, true
		}
	}
	return 0, false
}

func (s *Server) describeRegions(c *call) (object, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.regions))
	for region := range s.regions {
		names = append(names, region)
	}
	slices.Sort(names)
	regions := make([]object, 0, len(names))
	for _, region := range names {
		regions = append(regions, object{
			{"RegionId", region},
			{"RegionEndpoint", "ecs." + region + ".aliyuncs.com"},
			{"LocalName", region},
		})
	}
	return object{{"Regions", object{{"Region", regions}}}}, nil
}
