// Package ecs is the only package that knows the wire: how a security group is
// observed and changed through signed HTTPS calls, and what every answer means.
// Callers see groups, policies and one typed Error; no type of the SDK, no URL
// and no secret leaves it. It knows nothing of Kubernetes.
//
// Alibaba Cloud's SDK computes the signatures and does nothing else: the requests,
// the connection pool, the time limits, the reading of answers and their errors are
// this package's, because the SDK's own lose the status of answers that are not
// JSON, read bodies without bound, share state between calls and cost nearly as much
// again as everything else in a call.
package ecs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/metrics"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// The inner access policies of a security group, in ECS's spelling.
const (
	Accept = "Accept"
	Drop   = "Drop"
)

// Actions of the API.
const (
	ActionObserve = "DescribeSecurityGroupAttribute"
	ActionModify  = "ModifySecurityGroupPolicy"
)

const apiVersion = "2014-05-26"

// CanonicalPolicy gives ECS's spelling of a policy in any letter case, and ""
// for anything else.
func CanonicalPolicy(policy string) string {
	switch {
	case strings.EqualFold(policy, Accept):
		return Accept
	case strings.EqualFold(policy, Drop):
		return Drop
	}
	return ""
}

// Opposite is the other of the two policies.
func Opposite(policy string) string {
	if policy == Accept {
		return Drop
	}
	return Accept
}

// NewClientToken returns a token that makes the repetition of a request have no
// second effect: ASCII, 30 characters, never the same twice.
func NewClientToken() string { return "sgp-" + rand.Text() }

// Group names a security group.
type Group struct {
	RegionID        string
	SecurityGroupID string
	// OwnerAccount is passed through if it is set.
	OwnerAccount string
	// Tenant is for whom the call is made: tenants take turns at the rate limit.
	Tenant string
	// Rules has an observation hold the ingress rules, in the same call.
	Rules bool
}

// Credential signs requests.
type Credential struct {
	AccessKeyID     string
	AccessKeySecret string
	SecurityToken   string
}

// String keeps a credential out of whatever prints it.
func (Credential) String() string { return hidden }

// GoString keeps a credential out of whatever prints it.
func (Credential) GoString() string { return hidden }

// CredentialSource gives the credential for the next request.
type CredentialSource interface {
	// Credential returns it, for one request to a region. An error that is no *Error
	// means that there is none, and its text must be fit to be shown.
	Credential(ctx context.Context, region string) (Credential, error)
	// Unused learns that the request was not sent.
	Unused(region string)
	// Judge learns what became of the request: an error of ECS, or nil.
	Judge(region string, used Credential, err *Error)
}

// Options of a Client.
type Options struct {
	Credentials CredentialSource
	Endpoint    Endpoint
	// Regions are those that may be called, whatever the endpoint.
	Regions Regions
	// Timeout of one call.
	Timeout time.Duration
	// QPS and Burst bound the calls of each action in each region.
	QPS   float64
	Burst int
	// UnderWay is how many callers may be in a call to a region at the same time; any
	// number if it is 0.
	UnderWay int
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Client calls ECS for one account. It is safe for concurrent use.
type Client struct {
	options Options
	// door is where callers wait for a credential.
	door *reach

	mu        sync.Mutex
	governors map[stream]*ratelimit.Governor
	reaches   map[string]*reach // by region
}

// stream is what ECS counts together.
type stream struct{ region, action string }

// maxIdleStreams bounds what regions that match a pattern can leave behind.
const maxIdleStreams = 64

// New returns a Client.
func New(options Options) *Client {
	if options.Now == nil {
		options.Now = time.Now //nolint:forbidigo // the default clock
	}
	if options.UnderWay == 0 {
		options.UnderWay = math.MaxInt
	}
	return &Client{options: options, door: newReach(options.UnderWay), governors: map[stream]*ratelimit.Governor{}, reaches: map[string]*reach{}}
}

// Observe reads a group. A wait other than zero says that nothing was sent, and when to
// come back to stay below the rate limit.
func (c *Client) Observe(ctx context.Context, g Group, p ratelimit.Priority) (o Observation, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout+MaxWait)
	defer cancel()
	// The policy stands beside the rules, which cannot be left out: these two keep a group
	// with 1,000 rules as cheap as an empty one, unless the rules are wanted.
	query := map[string]string{"MaxResults": "10", "Direction": "ingress"}
	if g.Rules {
		query["MaxResults"] = "1000"
	}
	answer, wait, err := c.call(ctx, ActionObserve, g, p, query)
	if err != nil || wait > 0 {
		return o, wait, err
	}
	fields := &answer.group
	o = Observation{Policy: CanonicalPolicy(fields.InnerAccessPolicy), Name: fields.SecurityGroupName, Description: fields.Description, VpcID: fields.VpcID}
	if o.Policy == "" || fields.SecurityGroupID != g.SecurityGroupID {
		return Observation{}, 0, answer.invalid(ActionObserve, "the answer does not hold the inner access policy of the group")
	}
	if g.Rules {
		var content struct {
			NextToken   string
			Permissions *struct{ Permission []wireRule }
		}
		if json.Unmarshal(answer.body, &content) != nil || content.Permissions == nil {
			o.MoreRules = true // the policy is known all the same
			return o, 0, nil
		}
		o.Rules, o.MoreRules = readRules(content.Permissions.Permission), content.NextToken != ""
	}
	return o, 0, nil
}

// Modify sets the inner access policy of a group and returns ECS's request id.
// Repeated with the same client token it has no second effect, and returns the
// first one's request id. A wait other than zero says that nothing was sent.
func (c *Client) Modify(ctx context.Context, g Group, policy, clientToken string) (requestID string, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout+MaxWait)
	defer cancel()
	answer, wait, err := c.call(ctx, ActionModify, g, ratelimit.Finish, map[string]string{
		"InnerAccessPolicy": policy,
		"ClientToken":       clientToken,
	})
	if err != nil || wait > 0 {
		return "", wait, err
	}
	if answer.requestID == "" {
		return "", 0, answer.invalid(ActionModify, "the answer does not hold a request id")
	}
	return answer.requestID, 0, nil
}

// name adds the parameters that name a group, or a region alone.
func (g Group) name(query map[string]string) {
	query["RegionId"] = g.RegionID
	if g.SecurityGroupID != "" {
		query["SecurityGroupId"] = g.SecurityGroupID
	}
	if g.OwnerAccount != "" {
		query["OwnerAccount"] = g.OwnerAccount
	}
}

// target is where the calls for a region go.
func (c *Client) target(action, region string) (scheme, host string, _ error) {
	if !c.options.Regions.Known(region) {
		return "", "", unknownRegion(action, fmt.Sprintf("region %q is not one that may be called", region))
	}
	scheme, host, err := c.options.Endpoint.resolve("ecs", region)
	if err != nil {
		return "", "", unknownRegion(action, err.Error())
	}
	return scheme, host, nil
}

func (c *Client) call(ctx context.Context, action string, g Group, p ratelimit.Priority, query map[string]string) (*answer, time.Duration, error) {
	g.name(query)
	return c.callAs(ctx, action, g, p, query)
}

// callAs is call with these parameters alone; the group only says where the call goes,
// and for whom.
func (c *Client) callAs(ctx context.Context, action string, g Group, p ratelimit.Priority, query map[string]string) (*answer, time.Duration, error) {
	scheme, host, err := c.target(action, g.RegionID)
	if err != nil {
		return nil, 0, err
	}
	region := c.reach(g.RegionID)
	switch wait, silent := region.silent(c.options.Now()); {
	case silent && p == ratelimit.Finish:
		return nil, wait, nil
	case silent:
		return nil, 0, unreachable(action, g.RegionID, wait)
	}
	credential, wait, err := c.credential(ctx, action, g.RegionID)
	if wait > 0 || err != nil {
		return nil, wait, err
	}
	governor := c.governor(stream{g.RegionID, action})
	visit, wait, err := c.admit(ctx, region, governor, action, g, p)
	if visit == nil {
		c.options.Credentials.Unused(g.RegionID)
		return nil, wait, err
	}
	defer region.leave(visit)

	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	answer, failure := send(ctx, request{
		scheme: scheme, host: host, region: g.RegionID, action: action, version: apiVersion, query: query, credential: &credential,
	})
	if failure != nil && failure.Code == codeOfExpiredToken && g.OwnerAccount != "" {
		failure.Class = Invalid // the message may repeat what a user wrote as the owner
	}
	governor.Done(outcome(failure))
	region.note(visit, failure, c.options.Now())
	c.options.Credentials.Judge(g.RegionID, credential, failure)
	if failure != nil {
		return nil, 0, failure
	}
	return answer, 0, nil
}

// credential gives what to sign with. It may have to be fetched, and of those who wait
// for that there are no more than in a call.
func (c *Client) credential(ctx context.Context, action, region string) (Credential, time.Duration, error) {
	visit, wait := c.door.enter(c.options.Now())
	if visit == nil {
		return Credential{}, wait, nil
	}
	defer c.door.leave(visit)
	credential, err := c.options.Credentials.Credential(ctx, region)
	if known, ok := errors.AsType[*Error](err); ok {
		return Credential{}, 0, known
	}
	if err != nil {
		return Credential{}, 0, &Error{Action: action, Class: ClassOf(CodeNoCredentials), Code: CodeNoCredentials, Message: redact(err.Error())}
	}
	return credential, 0, nil
}

const (
	// MaxWait bounds how long a reconciliation that has begun waits for its next token.
	MaxWait = 5 * time.Second
	// brief is how long anybody waits for room at a time: where calls take longer than
	// that, whoever finds none gives way to others.
	brief = 250 * time.Millisecond
)

// admit gives a token and room in the region. Where the reconciliation has begun it
// waits for a token; everybody else is told when to come back.
func (c *Client) admit(ctx context.Context, region *reach, governor *ratelimit.Governor, action string, g Group, p ratelimit.Priority) (*visit, time.Duration, error) {
	deadline := c.options.Now().Add(MaxWait)
	for token := false; ; {
		var wait, waited time.Duration
		if !token {
			wait, waited = governor.Take(ratelimit.Asker{ID: g.Tenant + "/" + g.SecurityGroupID, Tenant: g.Tenant, Priority: p})
			if token = wait == 0; token {
				metrics.ThrottleWait.Observe(waited.Seconds())
			}
		}
		visit, room := region.enter(c.options.Now())
		if visit != nil && token {
			return visit, 0, nil
		}
		wait = max(wait, room)
		var err error
		stay := room <= brief && (token || p == ratelimit.Finish) && !c.options.Now().Add(wait).After(deadline)
		if stay {
			err = sleep(ctx, wait)
		}
		region.leave(visit)
		if stay && err == nil {
			continue
		}
		if token { // it is lost: room is scarce, and not the rate
			governor.Done(ratelimit.Lost, 0)
		}
		if err != nil {
			return nil, 0, lost(action, err)
		}
		return nil, wait, nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) governor(s stream) *ratelimit.Governor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return kept(c.governors, s, (*ratelimit.Governor).Idle, func() *ratelimit.Governor {
		return ratelimit.New(c.options.QPS, c.options.Burst, c.options.Now)
	})
}

func (c *Client) reach(region string) *reach {
	c.mu.Lock()
	defer c.mu.Unlock()
	return kept(c.reaches, region, (*reach).idle, func() *reach { return newReach(c.options.UnderWay) })
}

// kept is what stands under a key, made if there is nothing. Where there are many, those
// that are idle are forgotten first.
func kept[K comparable, V any](all map[K]V, key K, idle func(V) bool, fresh func() V) V {
	if value, ok := all[key]; ok {
		return value
	}
	if len(all) >= maxIdleStreams {
		maps.DeleteFunc(all, func(_ K, value V) bool { return idle(value) })
	}
	value := fresh()
	all[key] = value
	return value
}

func outcome(failure *Error) (ratelimit.Outcome, time.Duration) {
	switch {
	case failure == nil:
		return ratelimit.Answered, 0
	case failure.Class == Throttled:
		return ratelimit.Throttled, failure.RetryAfter
	case failure.HTTPStatus == 0:
		return ratelimit.Lost, 0
	}
	return ratelimit.Answered, failure.RetryAfter
}

// unknownRegion is the failure of a call that was not made.
func unknownRegion(action, message string) *Error {
	return &Error{Action: action, Class: ClassOf(CodeUnknownRegion), Code: CodeUnknownRegion, Message: redact(message)}
}

// lost is the failure of a call that got no answer.
func lost(action string, err error) *Error {
	e := &Error{Action: action, Class: Unavailable, Code: CodeConnectionFailed}
	switch {
	case errors.Is(err, context.Canceled):
		e.Code, e.cause = CodeCanceled, context.Canceled
		e.Message = "the call was given up"
	case errors.Is(err, context.DeadlineExceeded):
		e.Code, e.cause = CodeTimeout, context.DeadlineExceeded
		e.Message = "no answer within the time limit"
	default:
		e.Message = redact(fmt.Sprint("no answer: ", err))
	}
	return e
}
