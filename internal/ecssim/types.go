package ecssim

import (
	"errors"
	"fmt"
	"time"
)

// DefaultAccount owns every key and group that names no account.
const DefaultAccount = "1000000000000001"

// Policy is the inner access policy of a group, "Accept" or "Drop".
type Policy = string

// The two values of a Policy, in the case in which ECS answers them.
const (
	Accept Policy = "Accept"
	Drop   Policy = "Drop"
)

// Options configure a Server. The zero value is a server without keys or groups.
type Options struct {
	// Now is the server's clock, time.Now if nil. Signatures, windows, tokens
	// and sessions are judged by it; hangs and latency take real time.
	Now func() time.Time
	// Latency is what every call takes at least.
	Latency time.Duration
	// Keys, Groups and Roles stand from the beginning.
	Keys   []Key
	Groups []Group
	Roles  []Role
	// IncompleteSignature answers a wrong signature with the code that ECS
	// itself used in 2019 and 2020 instead of SignatureDoesNotMatch.
	IncompleteSignature bool
	// Regions replaces the default set of known regions. The region of a group
	// is known in any case.
	Regions []string
	// ControlFromAny lets every machine that reaches the server use the control API,
	// which asks for no credentials.
	ControlFromAny bool
	// CallLog bounds the call log to its latest entries; 0 keeps all.
	CallLog int
}

// Key is an access key. With a Token it is a temporary one, as STS hands out.
type Key struct {
	ID      string `json:"id"`
	Secret  string `json:"secret"`
	Token   string `json:"token,omitempty"`
	Account string `json:"account,omitempty"`
	// Expires ends a temporary key; zero means never.
	Expires time.Time `json:"expires,omitzero"`
	// Inactive keys exist and are refused.
	Inactive bool `json:"inactive,omitempty"`
	// Deny lists the actions that RAM refuses to this key, "*" for all.
	Deny []string `json:"deny,omitempty"`

	role *session
}

// Group is a security group. Its Region and ID identify it.
type Group struct {
	Region string `json:"region"`
	ID     string `json:"id"`
	// Policy is Accept if empty, as ECS has it for a new basic group.
	Policy  Policy `json:"policy,omitempty"`
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
	// Description is free text.
	Description string `json:"description,omitempty"`
	VpcID       string `json:"vpcId,omitempty"`
	// Enterprise groups ("advanced") have a fixed policy.
	Enterprise bool `json:"enterprise,omitempty"`
	// Managed groups belong to a cloud product and take query calls only.
	Managed bool `json:"managed,omitempty"`
	// Rules is the number of rules, every other one ingress, the first one too.
	Rules int `json:"rules,omitempty"`
	// OwnRules stand before those.
	OwnRules []Rule            `json:"ownRules,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// Validate tells what a group would need to be one that ECS could have.
func (g Group) Validate() error {
	switch {
	case g.Region == "":
		return errors.New("region is empty: name one, such as cn-hangzhou")
	case !groupID.MatchString(g.ID):
		return fmt.Errorf("id %q: use letters, digits, _ and -, 100 at most", g.ID)
	case g.Policy != "" && canonicalPolicy(g.Policy) == "":
		return fmt.Errorf("policy %q: use Accept or Drop", g.Policy)
	case g.Rules < 0:
		return fmt.Errorf("rules %d: use 0 or more", g.Rules)
	}
	return nil
}

// Validate tells what a key lacks. Its message does not repeat the key.
func (k Key) Validate() error {
	switch {
	case k.ID == "":
		return errors.New("id is empty: a key needs one")
	case k.Secret == "":
		return errors.New("secret is empty: a key needs one")
	}
	return nil
}

// Role is a RAM role that STS hands out sessions of. Its account stands in its
// ARN, acs:ram::ACCOUNT:role/NAME.
type Role struct {
	ARN string `json:"arn"`
	// ExternalID, unless empty, must be named by who assumes the role.
	ExternalID string `json:"externalId,omitempty"`
	// TrustedKeys are the access key ids that may assume it; empty: any.
	TrustedKeys []string `json:"trustedKeys,omitempty"`
	// OIDCProviderARN must be named in AssumeRoleWithOIDC; empty: the role
	// trusts no OIDC provider.
	OIDCProviderARN string `json:"oidcProviderArn,omitempty"`
	// OIDCTokens are the accepted tokens; empty: any.
	OIDCTokens []string `json:"oidcTokens,omitempty"`
	// MaxDuration of a session, one hour if zero.
	MaxDuration time.Duration `json:"-"`
	// Deny lists the actions that RAM refuses to the role's sessions.
	Deny []string `json:"deny,omitempty"`
}

// Validate tells what a role would need to be one that RAM could have.
func (r Role) Validate() error {
	if !roleARN.MatchString(r.ARN) {
		return fmt.Errorf("arn %q: use acs:ram::ACCOUNT:role/NAME", r.ARN)
	}
	return nil
}

// ReadLag makes reads show the value before a change made by API, for a time,
// for a number of reads, or while either lasts.
type ReadLag struct {
	// For is how long after the change reads show the old value.
	For time.Duration `json:"-"`
	// Reads is how many reads of the group after the change show it.
	Reads int `json:"reads,omitempty"`
	// Region and GroupID restrict the lag; empty matches all.
	Region  string `json:"region,omitempty"`
	GroupID string `json:"groupId,omitempty"`
}

// Call is one API call in the log. Status is 0 while the call is under way, and
// stays so when it was never answered.
type Call struct {
	Time        time.Time `json:"time"`
	Method      string    `json:"method"`
	Action      string    `json:"action"`
	Region      string    `json:"region,omitempty"`
	GroupID     string    `json:"groupId,omitempty"`
	Policy      string    `json:"policy,omitempty"`
	ClientToken string    `json:"clientToken,omitempty"`
	// OwnerAccount is the parameter of that name, as sent.
	OwnerAccount string `json:"ownerAccount,omitempty"`
	AccessKeyID  string `json:"accessKeyId,omitempty"`
	// Account is known once the key is.
	Account   string `json:"account,omitempty"`
	RequestID string `json:"requestId"`
	// Code is ECS's error code, empty for a success.
	Code   string `json:"code,omitempty"`
	Status int    `json:"status"`
	// Effect tells whether the call has changed a group's policy.
	Effect bool `json:"effect"`
	// Signature is "V1", "V3" or "" for an unsigned call.
	Signature string `json:"signature,omitempty"`
	// Fault is the injected fault that the call met.
	Fault  FaultKind `json:"fault,omitempty"`
	Remote string    `json:"remote,omitempty"`
	// Params holds every other parameter, without secrets.
	Params    map[string]string `json:"params,omitempty"`
	UserAgent string            `json:"userAgent,omitempty"`
}

// Effect is one change of a group's policy.
type Effect struct {
	Time        time.Time `json:"time"`
	From        Policy    `json:"from"`
	To          Policy    `json:"to"`
	RequestID   string    `json:"requestId,omitempty"`
	ClientToken string    `json:"clientToken,omitempty"`
	// ByAPI is false for a change made behind everyone's back.
	ByAPI bool `json:"byApi"`
}

// Limit throttles calls. Each combination of account, region and action has a
// quota of its own; empty fields match all of them.
type Limit struct {
	Account string `json:"account,omitempty"`
	Region  string `json:"region,omitempty"`
	Action  string `json:"action,omitempty"`
	// PerWindow calls pass in each fixed window of the clock; 0: no window.
	PerWindow int `json:"perWindow,omitempty"`
	// Window is the length of the window, one minute if zero.
	Window time.Duration `json:"-"`
	// QPS calls pass per second, Burst (at least 1) at once; 0: no such limit.
	QPS   float64 `json:"qps,omitempty"`
	Burst int     `json:"burst,omitempty"`
	// Code is the error code, Throttling.User if empty.
	Code string `json:"code,omitempty"`
	// RetryAfter, AcsRetryAfter and RateLimitHeader choose the headers of a
	// refusal: Retry-After, x-acs-retry-after and x-ratelimit-user-api.
	RetryAfter      bool `json:"retryAfter,omitempty"`
	AcsRetryAfter   bool `json:"acsRetryAfter,omitempty"`
	RateLimitHeader bool `json:"rateLimitHeader,omitempty"`
}
