package account

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// rrsa is the environment that the webhook of RRSA makes, and its token file.
func rrsa(t *testing.T, token string) (env map[string]string, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "token")
	writeToken(t, file, token)
	return map[string]string{
		"ALIBABA_CLOUD_ROLE_ARN": roleARN, "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": providerARN, "ALIBABA_CLOUD_OIDC_TOKEN_FILE": file,
	}, file
}

func writeToken(t *testing.T, file, token string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeysFromTheEnvironment(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]map[string]string{
		"a pair of keys":  {"ALIBABA_CLOUD_ACCESS_KEY_ID": keyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": keySecret},
		"a temporary key": {"ALIBABA_CLOUD_ACCESS_KEY_ID": "STS." + keyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": keySecret, "ALIBABA_CLOUD_SECURITY_TOKEN": stsToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{env: env})
			if got, err := w.observe(t, policy("", "sg-1")); err != nil || got != ecs.Accept {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestWhichSourceOfItsOwnTheManagerUses(t *testing.T) {
	t.Parallel()
	role := map[string]string{"ALIBABA_CLOUD_ROLE_ARN": roleARN, "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": providerARN, "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/token"}
	federated := func(session string) source {
		return oidc{providerARN: providerARN, tokenFile: "/token", role: ecs.AssumedRole{RoleARN: roleARN, SessionName: session}}
	}
	for name, tt := range map[string]struct {
		env    []map[string]string
		noNode bool // without --instance-role
		want   source
		words  []string
	}{
		"a key before anything else": {env: []map[string]string{role, {"ALIBABA_CLOUD_ACCESS_KEY_ID": keyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": keySecret}},
			want: fixed{AccessKeyID: keyID, AccessKeySecret: keySecret}},
		"RRSA":                       {env: []map[string]string{role}, want: federated("sgp-operator")},
		"RRSA with a name":           {env: []map[string]string{role, {"ALIBABA_CLOUD_ROLE_SESSION_NAME": "mine"}}, want: federated("mine")},
		"RRSA without metadata":      {env: []map[string]string{role, {"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}}, want: federated("sgp-operator")},
		"the instance":               {want: instance{base: "http://100.100.100.200"}},
		"the instance, role by name": {env: []map[string]string{{"ALIBABA_CLOUD_ECS_METADATA": "node"}}, want: instance{base: "http://100.100.100.200", role: "node"}},
		"the id alone":               {env: []map[string]string{role, {"ALIBABA_CLOUD_ACCESS_KEY_ID": keyID}}, words: []string{"ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "only one is set"}},
		"the secret alone":           {env: []map[string]string{{"ALIBABA_CLOUD_ACCESS_KEY_SECRET": keySecret}}, words: []string{"only one is set: set both or none"}},
		"nothing, not the instance":  {noNode: true, words: []string{"no credentials of its own", "RRSA", "--instance-role"}},
		"not even by name":           {noNode: true, env: []map[string]string{{"ALIBABA_CLOUD_ECS_METADATA": "node"}}, words: []string{"--instance-role"}},
		"nothing, metadata disabled": {env: []map[string]string{{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "True"}}, words: []string{"no credentials", "RRSA"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ownChain(func(name string) (value string) {
				for _, env := range tt.env {
					if v := env[name]; v != "" {
						value = v
					}
				}
				return value
			}, ecs.STS{}, !tt.noNode)
			if tt.want == nil {
				wantWords(t, err, tt.words...)
			} else if err != nil || got != tt.want {
				t.Errorf("got %T, %v; want %T", got, err, tt.want)
			}
		})
	}
}

func TestRRSA(t *testing.T) {
	t.Parallel()
	env, file := rrsa(t, oidcToken+"\n")
	w := newWorld(t, worldOptions{env: env})
	p := policy("", "sg-2")
	if got, err := w.observe(t, p); err != nil || got != ecs.Drop {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := w.observe(t, p); err != nil || w.sim.CallCount("AssumeRoleWithOIDC") != 1 {
		t.Fatalf("%d sessions for two calls: %v", w.sim.CallCount("AssumeRoleWithOIDC"), err)
	}

	// The kubelet rotates the token; from then on the old one is refused.
	rotated := oidcToken + "-rotated"
	w.sim.PutRole(ecssim.Role{ARN: roleARN, OIDCProviderARN: providerARN, OIDCTokens: []string{rotated}, MaxDuration: 10 * time.Minute})
	w.clock.Advance(5 * time.Minute)
	if _, err := w.observe(t, p); err != nil {
		t.Fatalf("the session still holds while its renewal is refused: %v", err)
	}
	writeToken(t, file, rotated)
	w.clock.Advance(refreshPause)
	if _, err := w.observe(t, p); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(4*time.Minute + 30*time.Second + time.Second) // the first session is over
	if _, err := w.observe(t, p); err != nil {
		t.Errorf("the session of the new token: %v", err)
	}
	if n := w.sim.CallCount("AssumeRoleWithOIDC"); n != 3 {
		t.Errorf("%d calls for sessions, want 3: first, refused, renewed", n)
	}
}

func TestASessionThatCannotBeRenewedEndsWithTheReason(t *testing.T) {
	t.Parallel()
	env, file := rrsa(t, oidcToken)
	w := newWorld(t, worldOptions{env: env})
	p := policy("", "sg-2")
	if _, err := w.observe(t, p); err != nil {
		t.Fatal(err)
	}
	writeToken(t, file, oidcToken+"-wrong")
	for range 19 { // up to 9 minutes and a half
		w.clock.Advance(30 * time.Second)
		if _, err := w.observe(t, p); err != nil {
			t.Fatalf("before its end: %v", err)
		}
	}
	w.clock.Advance(30 * time.Second)
	_, err := w.observe(t, p)
	wantFailure(t, err, ecs.Denied, "AuthenticationFail.OIDCToken.Invalid")
}

func TestRRSAThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change map[string]string
		code   string
	}{
		"another provider":      {map[string]string{"ALIBABA_CLOUD_OIDC_PROVIDER_ARN": providerARN + "x"}, "AuthenticationFail.NoPermission"},
		"a role that is gone":   {map[string]string{"ALIBABA_CLOUD_ROLE_ARN": roleARN + "-gone"}, "EntityNotExist.Role"},
		"a token file missing":  {map[string]string{"ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/does/not/exist"}, ecs.CodeNoCredentials},
		"a role that trusts no": {map[string]string{"ALIBABA_CLOUD_ROLE_ARN": roleARN + "-closed"}, "AuthenticationFail.NoPermission"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, _ := rrsa(t, oidcToken)
			for k, v := range tt.change {
				env[k] = v
			}
			_, err := newWorld(t, worldOptions{env: env}).observe(t, policy("", "sg-2"))
			class := ecs.Denied
			if tt.code == ecs.CodeNoCredentials {
				class = ecs.NoCredentials
				wantWords(t, err, "OIDC token file of RRSA", "/does/not/exist")
			}
			wantFailure(t, err, class, tt.code)
		})
	}
}

func TestAssumeRole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edits    []func(*v1alpha1.ECSAccountSpec)
		code     string
		sessions string // how its session was made
		duration string
	}{
		"with the keys of a Secret":    {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN, "", 0)}},
		"with an external id":          {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN+"-external", externalID, 0)}},
		"with a duration":              {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN+"-external", externalID, 20*time.Minute)}, duration: "1200"},
		"with the manager's own":       {edits: []func(*v1alpha1.ECSAccountSpec){withRole(roleARN+"-external", externalID, 0)}},
		"with a wrong external id":     {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN+"-external", "x"+externalID, 0)}, code: "NoPermission"},
		"without the external id":      {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN+"-external", "", 0)}, code: "NoPermission"},
		"that trusts others":           {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN+"-closed", "", 0)}, code: "NoPermission"},
		"that does not exist":          {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN+"-gone", "", 0)}, code: "EntityNotExist.Role"},
		"for longer than it may be":    {edits: []func(*v1alpha1.ECSAccountSpec){withSecret, withRole(roleARN, "", 12*time.Hour)}, code: "InvalidParameter.DurationSeconds"},
		"with the manager's own token": {edits: []func(*v1alpha1.ECSAccountSpec){withRole(roleARN+"-closed", "", 0)}, code: "NoPermission"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, _ := rrsa(t, oidcToken)
			a := account("prod", tt.edits...)
			w := newWorld(t, worldOptions{env: env, objects: []client.Object{a, keySecretOf(keyID, keySecret)}})
			got, err := w.observe(t, policy("prod", "sg-2"))
			if tt.code != "" {
				class := ecs.Denied
				if tt.code == "InvalidParameter.DurationSeconds" {
					class = ecs.Invalid
				}
				wantFailure(t, err, class, tt.code)
				return
			}
			if err != nil || got != ecs.Drop {
				t.Fatalf("got %q, %v", got, err)
			}
			if id, err := w.Check(t.Context(), a); err != nil || id != otherAccount {
				t.Errorf("account %q, %v; want the role's", id, err)
			}
			var assumed []string
			for _, call := range w.sim.Calls() {
				if call.Action == "AssumeRole" {
					assumed = append(assumed, call.Params["RoleSessionName"]+" "+call.Params["DurationSeconds"])
				}
			}
			if diff := cmp.Diff([]string{"sgp-operator " + tt.duration}, assumed); diff != "" {
				t.Errorf("sessions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARoleOfARoleIsRenewedWithBoth(t *testing.T) {
	t.Parallel()
	env, _ := rrsa(t, oidcToken)
	w := newWorld(t, worldOptions{env: env, objects: []client.Object{account("prod", withRole(roleARN, "", 0))}})
	for range 14 { // more than a life of both sessions, which last ten minutes
		if _, err := w.observe(t, policy("prod", "sg-2")); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Minute)
	}
	if own, role := w.sim.CallCount("AssumeRoleWithOIDC"), w.sim.CallCount("AssumeRole"); own != 3 || role != 3 {
		t.Errorf("%d and %d sessions, want 3 of each: renewed after 5 and 10 minutes", own, role)
	}
}

// metadata stands for the metadata service of an ECS instance. Each path answers
// what the test says.
type metadata struct {
	now func() time.Time

	mu     sync.Mutex
	status map[string]int
	body   string // of the credential; a good one if empty
	issued int
}

const roles = "/latest/meta-data/ram/security-credentials/"

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if status := m.status[r.URL.Path]; status != 0 {
		w.WriteHeader(status)
		return
	}
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-Aliyun-Ecs-Metadata-Token-Ttl-Seconds") == "" {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		_, _ = fmt.Fprint(w, "metadata-token")
		return
	}
	switch {
	case r.Header.Get("X-Aliyun-Ecs-Metadata-Token") != "metadata-token":
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == roles:
		_, _ = fmt.Fprint(w, "node\n")
	case r.URL.Path == roles+"node" && m.body != "":
		_, _ = fmt.Fprint(w, m.body)
	case r.URL.Path == roles+"node":
		m.issued++
		_ = json.NewEncoder(w).Encode(map[string]string{
			"AccessKeyId": "STS." + keyID, "AccessKeySecret": keySecret, "SecurityToken": stsToken, "Code": "Success",
			"Expiration": m.now().Add(10 * time.Minute).UTC().Format(time.RFC3339), "LastUpdated": m.now().UTC().Format(time.RFC3339),
		})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// onInstance is a world whose manager runs on an ECS instance.
func onInstance(t *testing.T, role string) (*world, *metadata) {
	t.Helper()
	w := newWorld(t, worldOptions{env: map[string]string{"ALIBABA_CLOUD_ECS_METADATA": role}, edit: func(o *Options) { o.InstanceRole = true }})
	m := &metadata{now: w.clock.Now, status: map[string]int{}}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	// The address of the service is the same on every instance, and no option.
	own := w.chain.(instance)
	own.base = server.URL
	w.own = w.newLease(settings{w.options.Endpoint, w.options.QPS, w.options.Burst}, w.newSession(own, ""))
	return w, m
}

func TestRoleOfTheInstance(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"", "node"} {
		t.Run("named "+role, func(t *testing.T) {
			t.Parallel()
			w, m := onInstance(t, role)
			for range 13 {
				if got, err := w.observe(t, policy("", "sg-1")); err != nil || got != ecs.Accept {
					t.Fatalf("got %q, %v", got, err)
				}
				w.clock.Advance(time.Minute)
			}
			if m.issued != 3 {
				t.Errorf("asked %d times, want 3: first, and after 5 and 10 minutes", m.issued)
			}
		})
	}
}

func TestAnInstanceWithoutARole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		role   string
		status map[string]int
		body   string
		words  []string
	}{
		"without a token":       {status: map[string]int{"/latest/api/token": 403}, words: []string{"no credentials", "HTTP 403"}},
		"without a role":        {status: map[string]int{roles: 404}, words: []string{"HTTP 404", "has this ECS instance a RAM role?"}},
		"with another role":     {role: "other", words: []string{"HTTP 404"}},
		"that redirects":        {status: map[string]int{roles: 302}, words: []string{"HTTP 302"}},
		"that failed":           {body: `{"Code":"Failed"}`, words: []string{"has no credential for its RAM role"}},
		"that answers no JSON":  {body: `<html>` + stsToken, words: []string{"has no credential for its RAM role"}},
		"without an expiration": {body: `{"Code":"Success","AccessKeyId":"` + keyID + `","AccessKeySecret":"` + keySecret + `"}`, words: []string{"has no credential"}},
		"without a usable name": {role: "\x7f", words: []string{"not usable in a URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := onInstance(t, tt.role)
			m.status, m.body = tt.status, tt.body
			_, err := w.observe(t, policy("", "sg-1"))
			wantFailure(t, err, ecs.NoCredentials, ecs.CodeNoCredentials)
			wantWords(t, err, tt.words...)
		})
	}
}

func TestNoInstanceAtAll(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := instance{base: server.URL}.fetch(t.Context())
	wantWords(t, err, "no credentials", "does not answer")
}
