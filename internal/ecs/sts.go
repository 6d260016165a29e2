package ecs

import (
	"context"
	"encoding/json"
	"strconv"
	"time"
)

const stsVersion = "2015-04-01"

// ActionIdentity asks whose a credential is.
const ActionIdentity = "GetCallerIdentity"

// STS is Alibaba Cloud's token service, called as ECS is.
type STS struct {
	// Endpoint of the service; the zero value is the public one of the region.
	Endpoint Endpoint
	// Region of the service; sts.aliyuncs.com if empty.
	Region string
	// Timeout of one call.
	Timeout time.Duration
}

// Temporary is a credential that ends.
type Temporary struct {
	Credential
	Expiration time.Time
}

// AssumedRole says which role to take on.
type AssumedRole struct {
	RoleARN, SessionName, ExternalID string
	// Duration of the session; STS's default if zero.
	Duration time.Duration
}

func (r AssumedRole) query() map[string]string {
	q := map[string]string{"RoleArn": r.RoleARN, "RoleSessionName": r.SessionName}
	if r.ExternalID != "" {
		q["ExternalId"] = r.ExternalID
	}
	if r.Duration > 0 {
		q["DurationSeconds"] = strconv.Itoa(int(r.Duration.Seconds()))
	}
	return q
}

// AssumeRole takes on a role with a credential that may do so.
func (s STS) AssumeRole(ctx context.Context, source Credential, role AssumedRole) (Temporary, error) {
	return s.assume(ctx, "AssumeRole", &source, role.query(), nil)
}

// AssumeRoleWithOIDC takes on a role with a token of the cluster (RRSA). The
// request is unsigned: the token proves who asks.
func (s STS) AssumeRoleWithOIDC(ctx context.Context, providerARN, token string, role AssumedRole) (Temporary, error) {
	q := role.query()
	q["OIDCProviderArn"] = providerARN
	return s.assume(ctx, "AssumeRoleWithOIDC", nil, q, map[string]string{"OIDCToken": token})
}

// CallerAccount tells which account a credential belongs to. No permission is
// needed for it.
func (s STS) CallerAccount(ctx context.Context, source Credential) (string, error) {
	answer, err := s.call(ctx, ActionIdentity, &source, map[string]string{}, nil)
	if err != nil {
		return "", err
	}
	var body struct {
		AccountID string `json:"AccountId"`
	}
	if json.Unmarshal(answer.body, &body) != nil || code(body.AccountID) == "" {
		return "", answer.invalid(ActionIdentity, "the answer does not hold an account id")
	}
	return body.AccountID, nil
}

func (s STS) assume(ctx context.Context, action string, source *Credential, query, form map[string]string) (Temporary, error) {
	answer, err := s.call(ctx, action, source, query, form)
	if err != nil {
		return Temporary{}, err
	}
	var body struct {
		Credentials struct {
			AccessKeyID     string `json:"AccessKeyId"`
			AccessKeySecret string
			SecurityToken   string
			Expiration      time.Time
		}
	}
	c := &body.Credentials
	if json.Unmarshal(answer.body, &body) != nil || c.AccessKeyID == "" || c.AccessKeySecret == "" || c.SecurityToken == "" || c.Expiration.IsZero() {
		return Temporary{}, answer.invalid(action, "the answer does not hold a credential")
	}
	return Temporary{
		Credential: Credential{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret, SecurityToken: c.SecurityToken},
		Expiration: c.Expiration,
	}, nil
}

func (s STS) call(ctx context.Context, action string, source *Credential, query, form map[string]string) (*answer, error) {
	scheme, host := "https", "sts.aliyuncs.com"
	if s.Region != "" || s.Endpoint.host != "" {
		var err error
		region := s.Region
		if region == "" {
			region = "cn-hangzhou"
		}
		if scheme, host, err = s.Endpoint.resolve("sts", region); err != nil {
			return nil, unknownRegion(action, err.Error())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	answer, failure := send(ctx, request{
		scheme: scheme, host: host, action: action, version: stsVersion, query: query, form: form, credential: source,
	})
	if failure != nil {
		return nil, failure
	}
	return answer, nil
}
