package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// sessionName tells Alibaba Cloud's audit log who took on a role.
const sessionName = "sgp-operator"

// fixed is a key that does not change.
type fixed ecs.Credential

func (f fixed) fetch(context.Context) (ecs.Temporary, error) {
	return ecs.Temporary{Credential: ecs.Credential(f)}, nil
}

// absent is a key that there is not, and why.
type absent struct{ why error }

func (a absent) fetch(context.Context) (ecs.Temporary, error) { return ecs.Temporary{}, a.why }

// oidc is RRSA: a role taken on with the token that the cluster keeps in a file.
type oidc struct {
	sts         ecs.STS
	providerARN string
	tokenFile   string
	role        ecs.AssumedRole
}

func (o oidc) fetch(ctx context.Context) (ecs.Temporary, error) {
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return ecs.Temporary{}, fmt.Errorf("the OIDC token file of RRSA cannot be read: %w", err)
	}
	return o.sts.AssumeRoleWithOIDC(ctx, o.providerARN, strings.TrimSpace(string(token)), o.role)
}

// assumed is a role taken on with another credential.
type assumed struct {
	sts  ecs.STS
	role ecs.AssumedRole
	from *session
}

func (a *assumed) fetch(ctx context.Context) (ecs.Temporary, error) {
	// The session that this is the source of holds back already, and a check of the
	// account is to reach the source's key as well.
	with, err := a.from.probe(ctx)
	if err != nil {
		return ecs.Temporary{}, err
	}
	fresh, err := a.sts.AssumeRole(ctx, with, a.role)
	failure, _ := errors.AsType[*ecs.Error](err)
	a.from.judgeByTokenService(with, failure)
	return fresh, err
}

// instance is the RAM role of the ECS instance that the manager runs on, from the
// metadata service in its hardened mode.
type instance struct {
	base string // http://100.100.100.200
	role string // asked for if empty
}

const metadataService = "http://100.100.100.200"

var metadataClient = &http.Client{
	Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (i instance) fetch(ctx context.Context) (ecs.Temporary, error) {
	token, err := i.ask(ctx, http.MethodPut, "/latest/api/token", "X-aliyun-ecs-metadata-token-ttl-seconds", "60")
	if err != nil {
		return ecs.Temporary{}, err
	}
	const path = "/latest/meta-data/ram/security-credentials/"
	role := i.role
	if role == "" {
		name, err := i.ask(ctx, http.MethodGet, path, "X-aliyun-ecs-metadata-token", string(token))
		if err != nil {
			return ecs.Temporary{}, err
		}
		role = strings.TrimSpace(string(name))
	}
	body, err := i.ask(ctx, http.MethodGet, path+role, "X-aliyun-ecs-metadata-token", string(token))
	if err != nil {
		return ecs.Temporary{}, err
	}
	var c struct {
		AccessKeyID     string `json:"AccessKeyId"`
		AccessKeySecret string
		SecurityToken   string
		Expiration      time.Time
		Code            string
	}
	if json.Unmarshal(body, &c) != nil || c.Code != "Success" || c.AccessKeyID == "" || c.AccessKeySecret == "" || c.Expiration.IsZero() {
		return ecs.Temporary{}, errors.New("the metadata service of this ECS instance has no credential for its RAM role")
	}
	return ecs.Temporary{
		Credential: ecs.Credential{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret, SecurityToken: c.SecurityToken},
		Expiration: c.Expiration,
	}, nil
}

func (i instance) ask(ctx context.Context, method, path, header, value string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, i.base+path, nil)
	if err != nil {
		return nil, errors.New("the RAM role's name is not usable in a URL")
	}
	request.Header.Set(header, value)
	response, err := metadataClient.Do(request)
	if err != nil {
		return nil, errors.New("no credentials: the environment has none, and the metadata service of an ECS instance does not answer")
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("no credentials: the environment has none, and the metadata service answers HTTP %d: has this ECS instance a RAM role?", response.StatusCode)
	}
	return body, nil
}

// ownChain picks the manager's own source by the SDK's environment variables, in
// the SDK's order: a key, RRSA, the RAM role of the ECS instance. That one is every
// pod's on the node, and seldom made for this: it is used only where an administrator
// says so.
func ownChain(env func(string) string, sts ecs.STS, instanceRole bool) (source, error) {
	id, secret := env("ALIBABA_CLOUD_ACCESS_KEY_ID"), env("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
	switch {
	case id != "" && secret != "":
		return fixed{AccessKeyID: id, AccessKeySecret: secret, SecurityToken: env("ALIBABA_CLOUD_SECURITY_TOKEN")}, nil
	case id != "" || secret != "":
		return nil, errors.New("of ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET only one is set: set both or none")
	}
	if role, provider, file := env("ALIBABA_CLOUD_ROLE_ARN"), env("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"), env("ALIBABA_CLOUD_OIDC_TOKEN_FILE"); role != "" && provider != "" && file != "" {
		name := env("ALIBABA_CLOUD_ROLE_SESSION_NAME")
		if name == "" {
			name = sessionName
		}
		return oidc{sts: sts, providerARN: provider, tokenFile: file, role: ecs.AssumedRole{RoleARN: role, SessionName: name}}, nil
	}
	if !instanceRole || strings.EqualFold(env("ALIBABA_CLOUD_ECS_METADATA_DISABLED"), "true") {
		return nil, errors.New("the manager has no credentials of its own: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or use RRSA (the RAM role of its node needs --instance-role)")
	}
	return instance{base: metadataService, role: env("ALIBABA_CLOUD_ECS_METADATA")}, nil
}
