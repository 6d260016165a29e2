package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// Whatever of these shows up in an error has leaked.
const (
	keyID       = "LTAImarkedkeyid00000001"
	keySecret   = "markedsecret0123456789abcdef"
	stsToken    = "CAISmarkedtoken0123456789abcdef"
	otherID     = "LTAImarkedkeyid00000002"
	otherSecret = "markedsecretfedcba9876543210"
	wrongSecret = "markedsecretthatiswrong00000"
	oidcToken   = "markedoidc.token.0123456789"
	externalID  = "markedexternalid"
)

const (
	cloudAccount = "1000000000000001"
	otherAccount = "2000000000000002"
	roleARN      = "acs:ram::" + otherAccount + ":role/sgp"
	providerARN  = "acs:ram::" + otherAccount + ":oidc-provider/ack-rrsa-c1"
	region       = "cn-hangzhou"
)

// clock is moved by the test only. It begins at the real time, which the SDK
// writes into signatures: the simulator accepts those within 15 minutes, so that
// no test moves its clock further than that.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a simulator of Alibaba Cloud, a cluster, and a Resolver between them.
type world struct {
	*Resolver
	clock   *clock
	sim     *ecssim.Server
	cluster client.Client

	mu      sync.Mutex
	read    []string // Secrets read from the API server, namespace/name
	changed []string
}

type worldOptions struct {
	env     map[string]string
	objects []client.Object
	edit    func(*Options)
}

func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	w := &world{clock: newClock()}
	w.sim = ecssim.New(ecssim.Options{
		Now: w.clock.Now,
		Keys: []ecssim.Key{
			{ID: keyID, Secret: keySecret, Account: cloudAccount},
			{ID: otherID, Secret: otherSecret, Account: otherAccount},
			{ID: "STS." + keyID, Secret: keySecret, Token: stsToken, Account: cloudAccount},
		},
		Roles: []ecssim.Role{
			// Ten minutes, so that a whole life of a session fits into what the
			// clock may move.
			{ARN: roleARN, OIDCProviderARN: providerARN, OIDCTokens: []string{oidcToken}, MaxDuration: 10 * time.Minute},
			{ARN: roleARN + "-external", ExternalID: externalID},
			{ARN: roleARN + "-closed", TrustedKeys: []string{"somebody"}},
		},
		Groups: []ecssim.Group{
			{Region: region, ID: "sg-1", Account: cloudAccount, Policy: ecssim.Accept},
			{Region: region, ID: "sg-2", Account: otherAccount, Policy: ecssim.Drop},
		},
	})
	url, stop, err := w.sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	endpoint, err := ecs.ParseEndpoint(url, false)
	if err != nil {
		t.Fatal(err)
	}

	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	o.objects = append(o.objects,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"account": "prod"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}})
	w.cluster = fake.NewClientBuilder().WithScheme(scheme).WithObjects(o.objects...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
			if _, ok := into.(*corev1.Secret); ok {
				w.mu.Lock()
				w.read = append(w.read, key.String())
				w.mu.Unlock()
			}
			return c.Get(ctx, key, into, opts...)
		},
	}).Build()

	options := Options{
		Cache: w.cluster, Live: w.cluster, SecretNamespaces: []string{"sgp-system"},
		Endpoint: endpoint, STSEndpoint: endpoint, Timeout: 20 * time.Second, QPS: 1e6, Burst: 1e6,
		Env: func(name string) string { return o.env[name] },
		Now: w.clock.Now, LendOwn: true,
		Changed: func(account string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changed = append(w.changed, account)
		},
	}
	if o.edit != nil {
		o.edit(&options)
	}
	if w.Resolver, err = New(options); err != nil {
		t.Fatal(err)
	}
	return w
}

// secretsRead tells which Secrets were read since it was asked last.
func (w *world) secretsRead() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	read := w.read
	w.read = nil
	return read
}

func (w *world) changes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.changed)
}

// observe reads the group of a policy as a reconciler would.
func (w *world) observe(t *testing.T, p *v1alpha1.SecurityGroupPolicy) (string, error) {
	t.Helper()
	c, _, err := w.Client(t.Context(), p)
	if err != nil {
		return "", err
	}
	seen, _, err := c.Observe(t.Context(), ecs.Group{RegionID: p.Spec.RegionID, SecurityGroupID: p.Spec.SecurityGroupID}, ratelimit.Finish)
	return seen.Policy, err
}

// policy is a resource in the namespace shop for a group; account may be empty.
func policy(account, group string) *v1alpha1.SecurityGroupPolicy {
	p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: group}}
	p.Spec.RegionID, p.Spec.SecurityGroupID = region, group
	if account != "" {
		p.Spec.AccountRef = &v1alpha1.AccountReference{Name: account}
	}
	return p
}

// account may be used from the namespace shop.
func account(name string, edits ...func(*v1alpha1.ECSAccountSpec)) *v1alpha1.ECSAccount {
	a := &v1alpha1.ECSAccount{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-of-an-account", Generation: 1}}
	a.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"account": "prod"}}}
	for _, edit := range edits {
		edit(&a.Spec)
	}
	return a
}

func withSecret(s *v1alpha1.ECSAccountSpec) {
	s.Credentials.SecretRef = &v1alpha1.SecretReference{Namespace: "sgp-system", Name: "keys"}
}

func withRole(arn, external string, duration time.Duration) func(*v1alpha1.ECSAccountSpec) {
	return func(s *v1alpha1.ECSAccountSpec) {
		s.Credentials.AssumeRole = &v1alpha1.AssumeRole{RoleARN: arn, ExternalID: external}
		if duration > 0 {
			s.Credentials.AssumeRole.SessionDuration = &metav1.Duration{Duration: duration}
		}
	}
}

// secret is what withSecret names; pairs are its keys and values.
func secret(pairs ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "sgp-system", Name: "keys", UID: "uid-of-a-secret"}, Data: map[string][]byte{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Data[pairs[i]] = []byte(pairs[i+1])
	}
	return s
}

func keySecretOf(id, value string) *corev1.Secret {
	return secret("accessKeyId", id, "accessKeySecret", value)
}

// wantNotReady checks that the reason is said and no secret with it.
func wantNotReady(t *testing.T, err error, words ...string) {
	t.Helper()
	if _, ok := errors.AsType[*NotReadyError](err); !ok {
		t.Fatalf("got %v, want a NotReadyError", err)
	}
	wantWords(t, err, words...)
}

// wantFailure checks that ECS's or STS's answer is shown and no secret with it.
func wantFailure(t *testing.T, err error, class ecs.Class, code string) {
	t.Helper()
	failure, ok := errors.AsType[*ecs.Error](err)
	if !ok {
		t.Fatalf("got %v, want an *ecs.Error", err)
	}
	if failure.Class != class || failure.Code != code {
		t.Errorf("class %d, code %q; want %d, %q: %v", failure.Class, failure.Code, class, code, err)
	}
	wantNoSecret(t, err)
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	wantNoSecret(t, err)
}

func wantNoSecret(t *testing.T, err error) {
	t.Helper()
	for _, mark := range []string{keyID, otherID, keySecret, otherSecret, wrongSecret, stsToken, oidcToken, externalID, "CAIS", "STS.SIM"} {
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), mark) {
			t.Errorf("a secret shows: %v", err)
		}
	}
}
