package ecssim

import (
	"crypto/rand"
	"encoding/hex"
	"hash/fnv"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	shortestSession = 15 * time.Minute
	longestSession  = time.Hour
)

var (
	roleARN     = regexp.MustCompile(`^acs:ram::([0-9]+):role/([A-Za-z0-9._-]+)$`)
	sessionName = regexp.MustCompile(`^[A-Za-z0-9.@_-]{2,64}$`)
)

// session is the role behind a temporary key.
type session struct{ role, name, arn string }

// PutRole adds a role or replaces the one with its ARN.
func (s *Server) PutRole(r Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.TrustedKeys, r.OIDCTokens, r.Deny = slices.Clone(r.TrustedKeys), slices.Clone(r.OIDCTokens), slices.Clone(r.Deny)
	s.roles[r.ARN] = r
}

func (s *Server) assumeRole(c *call) (object, *apiError) {
	role, refusal := s.findRole(c)
	if refusal != nil {
		return nil, refusal
	}
	trusted := len(role.TrustedKeys) == 0 || slices.Contains(role.TrustedKeys, c.key.ID)
	if !trusted || role.ExternalID != "" && role.ExternalID != c.param("ExternalId") {
		return nil, noPermission(c)
	}
	return s.issue(c, role, nil)
}

func (s *Server) assumeRoleWithOIDC(c *call) (object, *apiError) {
	token := c.param("OIDCToken")
	switch {
	case c.param("OIDCProviderArn") == "":
		return nil, refuse(400, "MissingParameter.OIDCProviderArn", "The parameter OIDCProviderArn is missing.")
	case token == "":
		return nil, refuse(400, "MissingParameter.OIDCToken", "The parameter OIDCToken is missing.")
	}
	role, refusal := s.findRole(c)
	if refusal != nil {
		return nil, refusal
	}
	if role.OIDCProviderARN == "" || role.OIDCProviderARN != c.param("OIDCProviderArn") {
		return nil, refuse(401, "AuthenticationFail.NoPermission", "There is no permission.")
	}
	if len(role.OIDCTokens) > 0 && !slices.Contains(role.OIDCTokens, token) {
		return nil, refuse(401, "AuthenticationFail.OIDCToken.Invalid", "The Jwt content is invalid that cannot be recognized.")
	}
	return s.issue(c, role, object{{"OIDCTokenInfo", object{{"ClientIds", "sts.aliyuncs.com"}, {"Subject", "ecssim"}}}})
}

// findRole checks the parameters that both ways of assuming a role share.
func (s *Server) findRole(c *call) (Role, *apiError) {
	arn := c.param("RoleArn")
	switch {
	case arn == "":
		return Role{}, refuse(400, "MissingParameter.RoleArn", "The parameter RoleArn is missing.")
	case !roleARN.MatchString(arn):
		return Role{}, refuse(400, "InvalidParameter.RoleArn", "The parameter RoleArn is wrongly formed.")
	case !sessionName.MatchString(c.param("RoleSessionName")):
		return Role{}, refuse(400, "InvalidParameter.RoleSessionName", "The parameter RoleSessionName is wrongly formed.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	role, ok := s.roles[arn]
	if !ok {
		return Role{}, refuse(404, "EntityNotExist.Role", "The specified Role not exists .")
	}
	return role, nil
}

func noPermission(c *call) *apiError {
	refusal := forbidden(c)
	refusal.code = "NoPermission"
	refusal.message = "You are not authorized to do this action. You should be authorized by RAM."
	return refusal
}

// issue hands out a temporary key for a role.
func (s *Server) issue(c *call, role Role, extra object) (object, *apiError) {
	longest := role.MaxDuration
	if longest == 0 {
		longest = longestSession
	}
	duration := min(longest, longestSession)
	if text := c.param("DurationSeconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		duration = time.Duration(seconds) * time.Second
		if err != nil || duration > longest || duration < min(longest, shortestSession) {
			return nil, refuse(400, "InvalidParameter.DurationSeconds", "The Min/Max value of DurationSeconds is %d/%d.",
				int(min(longest, shortestSession).Seconds()), int(longest.Seconds()))
		}
	}
	account, name := roleParts(role.ARN)
	sessionName := c.param("RoleSessionName")
	arn := "acs:ram::" + account + ":assumed-role/" + name + "/" + sessionName
	now := s.now()
	key := Key{
		ID: "STS.SIM" + random(12), Secret: random(20), Token: "CAIS" + random(60), Account: account,
		// Expiration has whole seconds on the wire, so the key has, too.
		Expires: now.Add(duration).Truncate(time.Second),
		Deny:    role.Deny,
		role:    &session{role: name, name: name + ":" + sessionName, arn: arn},
	}
	s.mu.Lock()
	s.keys.forget(now)
	s.keys.put(key)
	s.mu.Unlock()
	return append(object{
		{"AssumedRoleUser", object{{"Arn", arn}, {"AssumedRoleId", numericID(role.ARN) + ":" + sessionName}}},
		{"Credentials", object{
			{"AccessKeyId", key.ID},
			{"AccessKeySecret", key.Secret},
			{"SecurityToken", key.Token},
			{"Expiration", key.Expires.UTC().Format(timeFormat)},
		}},
	}, extra...), nil
}

func (s *Server) getCallerIdentity(c *call) (object, *apiError) {
	if c.key.role == nil {
		id := numericID(c.key.ID)
		return object{
			{"AccountId", c.key.Account},
			{"Arn", "acs:ram::" + c.key.Account + ":user/" + strings.ToLower(c.key.ID)},
			{"IdentityType", "RAMUser"},
			{"PrincipalId", id},
			{"UserId", id},
		}, nil
	}
	id := numericID("acs:ram::" + c.key.Account + ":role/" + c.key.role.role)
	_, name, _ := strings.Cut(c.key.role.name, ":")
	return object{
		{"AccountId", c.key.Account},
		{"Arn", c.key.role.arn},
		{"IdentityType", "AssumedRoleUser"},
		{"PrincipalId", id + ":" + name},
		{"RoleId", id},
	}, nil
}

func roleParts(arn string) (account, name string) {
	parts := roleARN.FindStringSubmatch(arn)
	return parts[1], parts[2]
}

// numericID makes an id in the form of RAM's that is the same every time.
func numericID(of string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(of))
	return "3" + strconv.FormatUint(1e16+h.Sum64()%1e16, 10)
}

// random returns n random bytes in hexadecimal.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
