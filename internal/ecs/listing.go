package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// ActionList lists the groups of a region.
const ActionList = "DescribeSecurityGroups"

const (
	// pageSize is the most that ECS lists in one call.
	pageSize = 100
	// maxPage bounds what is read of a page: 100 groups with 20 tags of 256 characters
	// each, in three bytes at most.
	maxPage = 4 << 20
	// maxRestarts is how often a listing whose page token has expired begins anew.
	maxRestarts = 3
)

// codeOfBadPageToken is spelled as ECS spells it.
const codeOfBadPageToken = "InValidParameter.NextToken"

// Listed is a group in a listing, which never holds its policy.
type Listed struct {
	SecurityGroupID string
	// Name is as somebody has chosen it: any characters.
	Name  string
	VpcID string
	// Enterprise groups have a fixed policy.
	Enterprise bool
	// Managed groups belong to a cloud product.
	Managed bool
	Tags    map[string]string
}

// Listing is the groups of a region, one page after the other. It lists each group
// once, in whatever order ECS has: groups that come or go meanwhile make pages repeat
// others, and a token that has expired makes it begin anew. It is for one goroutine.
type Listing struct {
	client   *Client
	region   string
	vpcID    string
	ids      []string // those alone; all if there are none
	tag      string   // those that bear it; all if empty
	token    string
	tokens   map[string]bool // of all pages since it began
	restarts int
	seen     map[string]bool
	done     bool
}

// List begins a listing of a region, or of one VPC in it. It makes no call.
func (c *Client) List(region, vpcID string) *Listing {
	return &Listing{client: c, region: region, vpcID: vpcID, tokens: map[string]bool{}, seen: map[string]bool{}}
}

// MaxListed is how many groups ListOf takes.
const MaxListed = 100

// ListOf begins a listing of some groups of a region, MaxListed at most: those of them
// that there are. It makes no call.
func (c *Client) ListOf(region string, ids []string) *Listing {
	l := c.List(region, "")
	l.ids = ids
	return l
}

// ListTagged begins a listing of the groups of a region that bear a tag, whatever its value.
// Should ECS not heed a filter without a value, it lists others as well. It makes no call.
func (c *Client) ListTagged(region, tag string) *Listing {
	l := c.List(region, "")
	l.tag = tag
	return l
}

// Done tells whether there are no more pages.
func (l *Listing) Done() bool { return l.done }

// Seen is how many groups were listed so far.
func (l *Listing) Seen() int { return len(l.seen) }

// Next reads a page and returns those of its groups that no page before it had. A wait
// other than zero says that nothing was sent, and when to come back to stay below the
// rate limit. After an error that passes it may be called again.
func (l *Listing) Next(ctx context.Context, p ratelimit.Priority) (groups []Listed, wait time.Duration, err error) {
	query := map[string]string{"MaxResults": strconv.Itoa(pageSize)}
	if l.vpcID != "" {
		query["VpcId"] = l.vpcID
	}
	if l.tag != "" {
		query["Tag.1.Key"] = l.tag
	}
	if len(l.ids) > 0 {
		ids, err := json.Marshal(l.ids)
		if err != nil {
			return nil, 0, err
		}
		query["SecurityGroupIds"] = string(ids)
	}
	if l.token != "" {
		query["NextToken"] = l.token
	}
	ctx, cancel := context.WithTimeout(ctx, l.client.options.Timeout+MaxWait)
	defer cancel()
	answer, wait, err := l.client.call(ctx, ActionList, Group{RegionID: l.region}, p, query)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == codeOfBadPageToken && l.token != "" && l.restarts < maxRestarts {
		l.token, l.tokens = "", map[string]bool{}
		l.restarts++
		return nil, 0, nil
	}
	if err != nil || wait > 0 {
		return nil, wait, err
	}
	page, failure := l.read(answer)
	if failure != nil {
		return nil, 0, failure
	}
	for _, g := range page.SecurityGroups.SecurityGroup {
		if !l.seen[g.SecurityGroupID] {
			l.seen[g.SecurityGroupID] = true
			groups = append(groups, g.listed())
		}
	}
	l.tokens[page.NextToken] = true
	l.token, l.done = page.NextToken, page.NextToken == ""
	return groups, 0, nil
}

// listPage is an answer of DescribeSecurityGroups.
type listPage struct {
	RegionID       string `json:"RegionId"`
	NextToken      string
	SecurityGroups *struct{ SecurityGroup []wireGroup }
}

type wireGroup struct {
	SecurityGroupID   string `json:"SecurityGroupId"`
	SecurityGroupName string
	SecurityGroupType string
	VpcID             string `json:"VpcId"`
	ServiceManaged    bool
	Tags              wireTags
}

func (g *wireGroup) listed() Listed {
	return Listed{
		SecurityGroupID: g.SecurityGroupID, Name: g.SecurityGroupName, VpcID: g.VpcID,
		Enterprise: g.SecurityGroupType == "enterprise", Managed: g.ServiceManaged, Tags: g.Tags.read(),
	}
}

// groupForm is that of the ids in resources. An id is used in file names as well.
var groupForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// read checks that an answer is a page of this listing, and another one than before.
func (l *Listing) read(answer *answer) (*listPage, *Error) {
	page := &listPage{}
	if json.Unmarshal(answer.body, page) != nil || page.SecurityGroups == nil || page.RegionID != "" && page.RegionID != l.region {
		return nil, answer.invalid(ActionList, "the answer does not hold the security groups of the region")
	}
	for _, g := range page.SecurityGroups.SecurityGroup {
		if !groupForm.MatchString(g.SecurityGroupID) {
			return nil, answer.invalid(ActionList, "the answer holds a security group whose id is none")
		}
	}
	if l.tokens[page.NextToken] {
		return nil, answer.invalid(ActionList, "the pages of the list do not end")
	}
	return page, nil
}
