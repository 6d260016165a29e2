// Package account finds the credentials for a SecurityGroupPolicy and hands out a
// client of ECS that signs with them: which ECSAccount, may this resource use it,
// where do its keys come from, are they fresh. Whoever asks learns whether an
// account may be used, never what its keys are. It knows neither what a policy is
// for nor what a request is made of.
//
// Tokens are fetched through the client that serves ECS (package ecs) rather than
// the providers of Alibaba Cloud's credentials library: those have no lock, no
// context and a transport for each refresh, so that they would need the whole
// session of this package around them all the same.
package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// Options of a Resolver.
type Options struct {
	// Cache reads ECSAccounts, and the metadata of Namespaces and Secrets.
	Cache client.Reader
	// Live reads Secrets from the API server, by name.
	Live client.Reader
	// SecretNamespaces are those from which Secrets may be read.
	SecretNamespaces []string
	// Endpoint of ECS where an account names none.
	Endpoint ecs.Endpoint
	// Regions are those that may be called, whatever an account's endpoint.
	Regions ecs.Regions
	// AllowInsecure accepts http:// in an account's endpoint.
	AllowInsecure bool
	// STSEndpoint overrides the token service's; the environment's
	// ALIBABA_CLOUD_STS_ENDPOINT holds where it is the zero value.
	STSEndpoint ecs.Endpoint
	// Timeout of one call.
	Timeout time.Duration
	// QPS and Burst bound the calls per account, region and action.
	QPS   float64
	Burst int
	// UnderWay is how many callers may be in a call per account and region at the same
	// time; any number if it is 0.
	UnderWay int
	// LendOwn lends the manager's own chain to resources for which there is no account.
	LendOwn bool
	// InstanceRole lets that chain end in the RAM role of the ECS instance.
	InstanceRole bool
	// Env finds an environment variable.
	Env func(string) string
	// Now is the clock.
	Now func() time.Time
	// Changed is told when an account's credentials begin or cease to work.
	Changed func(account string)
}

// ErrSecretUnread is an API server's failure to hand a Secret out. Its text is for the
// log: it names the Secret.
var ErrSecretUnread = errors.New("read Secret")

// NotReadyError says why an account cannot be used, in words fit to be shown to all who
// use it: no Secret is named.
type NotReadyError struct {
	Reason string
	// NotAllowed says that an administrator does not let the resource use the
	// account. Otherwise the account or its keys are missing or malformed.
	NotAllowed bool
}

func (e *NotReadyError) Error() string { return e.Reason }

// Resolver finds the client for a resource. It is safe for concurrent use.
type Resolver struct {
	options Options
	sts     ecs.STS
	chain   source // the manager's own
	own     *lease
	ownErr  error

	mu     sync.Mutex
	leases map[string]*lease
	// hadDefault tells that there was a default account, missedAt since when it is gone.
	hadDefault bool
	missedAt   time.Time
}

// lease is what is kept of an account between calls: a client, and a session for
// what the account and its Secret said when it was made.
type lease struct {
	client   *ecs.Client
	settings settings
	version  string // of the account and its Secret
	err      error  // why that version cannot be used

	mu      sync.RWMutex
	session *session
}

// settings are what a client is made for; another Secret needs no other client.
type settings struct {
	endpoint ecs.Endpoint
	qps      float64
	burst    int
}

// Credential implements ecs.CredentialSource.
func (l *lease) Credential(ctx context.Context, region string) (ecs.Credential, error) {
	return l.current().Credential(ctx, region)
}

// Unused implements ecs.CredentialSource.
func (l *lease) Unused(region string) { l.current().Unused(region) }

// Judge implements ecs.CredentialSource.
func (l *lease) Judge(region string, used ecs.Credential, failure *ecs.Error) {
	l.current().Judge(region, used, failure)
}

func (l *lease) current() *session {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.session
}

func (l *lease) use(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
}

// New returns a Resolver. An error names what in the environment cannot be used.
func New(options Options) (*Resolver, error) {
	sts, err := stsFromEnvironment(options)
	if err != nil {
		return nil, err
	}
	r := &Resolver{options: options, sts: sts, leases: map[string]*lease{}}
	if r.chain, err = ownChain(options.Env, sts, options.InstanceRole); err != nil {
		r.ownErr = &NotReadyError{Reason: err.Error()}
		return r, nil
	}
	r.own = r.newLease(settings{options.Endpoint, options.QPS, options.Burst}, r.newSession(r.chain, ""))
	return r, nil
}

func (r *Resolver) newSession(s source, account string) *session {
	return newSession(s, r.options.Timeout, r.options.Now, func() {
		if r.options.Changed != nil && account != "" {
			r.options.Changed(account)
		}
	})
}

func (r *Resolver) newLease(s settings, first *session) *lease {
	l := &lease{settings: s, session: first}
	l.client = ecs.New(ecs.Options{
		Credentials: l, Endpoint: s.endpoint, Regions: r.options.Regions, Timeout: r.options.Timeout, QPS: s.qps, Burst: s.burst,
		UnderWay: r.options.UnderWay, Now: r.options.Now,
	})
	return l
}

// Client returns the client for a resource, and the name of the account that it works
// for: v1alpha1.OwnAccount for the manager's own credentials. A NotReadyError says why
// there is none.
func (r *Resolver) Client(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (client *ecs.Client, name string, err error) {
	a, err := r.account(ctx, p)
	switch {
	case err != nil:
		return nil, "", err
	case a == nil:
		return r.lend(p)
	}
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.options.Cache.Get(ctx, types.NamespacedName{Name: p.Namespace}, namespace); err != nil {
		return nil, "", fmt.Errorf("read the labels of namespace %s: %w", p.Namespace, err)
	}
	if err := allowed(a, namespace.Labels, p); err != nil {
		return nil, "", err
	}
	if !a.DeletionTimestamp.IsZero() {
		return nil, "", notReady("ECSAccount %q is being deleted", a.Name)
	}
	l, err := r.lease(ctx, a)
	if err != nil {
		return nil, "", err
	}
	return l.client, a.Name, nil
}

// Own returns a client with the manager's own credentials, for whoever works without a
// cluster. A NotReadyError says why there are none.
func (r *Resolver) Own() (*ecs.Client, error) {
	if r.ownErr != nil {
		return nil, r.ownErr
	}
	return r.own.client, nil
}

// lendAfter is how long the default account has to be gone before the manager's own
// credentials take its place: it may only be replaced, and may have refused whom they
// would serve.
const lendAfter = 10 * time.Minute

// lend is Client for a resource without an account.
func (r *Resolver) lend(p *v1alpha1.SecurityGroupPolicy) (*ecs.Client, string, error) {
	switch {
	case !r.options.LendOwn:
		return nil, "", notReady("%s", unknown(v1alpha1.DefaultAccountName, p.Namespace))
	case r.defaultIsMissed():
		return nil, "", notReady("ECSAccount %q was deleted; the manager's own credentials are lent once it has been gone for %v", v1alpha1.DefaultAccountName, lendAfter)
	case r.ownErr != nil:
		return nil, "", r.ownErr
	}
	return r.own.client, v1alpha1.OwnAccount, nil
}

// defaultIsMissed tells whether the default account went away a short while ago.
func (r *Resolver) defaultIsMissed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.options.Now()
	if r.hadDefault {
		r.hadDefault, r.missedAt = false, now
	}
	return !r.missedAt.IsZero() && now.Sub(r.missedAt) < lendAfter
}

// noteDefault remembers that there is a default account.
func (r *Resolver) noteDefault() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hadDefault = true
}

// account is the ECSAccount that a resource uses, or nil where it names none and there
// is no default.
func (r *Resolver) account(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (*v1alpha1.ECSAccount, error) {
	name := NameFor(p)
	a := &v1alpha1.ECSAccount{}
	err := r.options.Cache.Get(ctx, types.NamespacedName{Name: name}, a)
	switch {
	case err == nil:
		if name == v1alpha1.DefaultAccountName {
			r.noteDefault()
		}
		return a, nil
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read ECSAccount %s: %w", name, err)
	case p.Spec.AccountRef != nil:
		return nil, notReady("%s", unknown(name, p.Namespace))
	}
	return nil, nil
}

// NameFor is the account that a resource names, or would use if it exists.
func NameFor(p *v1alpha1.SecurityGroupPolicy) string {
	if p.Spec.AccountRef != nil {
		return p.Spec.AccountRef.Name
	}
	return v1alpha1.DefaultAccountName
}

// Check has Alibaba Cloud say whose the credentials of an account are. Where a region
// refuses them as well, resources of all regions are told of a refusal from then on,
// until the next check.
func (r *Resolver) Check(ctx context.Context, a *v1alpha1.ECSAccount) (accountID string, err error) {
	l, err := r.lease(ctx, a)
	if err != nil {
		return "", err
	}
	session := l.current()
	credential, err := session.probe(ctx)
	if err != nil {
		return "", err
	}
	id, err := r.sts.CallerAccount(ctx, credential)
	failure, _ := errors.AsType[*ecs.Error](err)
	session.judgeByTokenService(credential, failure)
	return id, err
}

// Forget drops what is kept of an account that is gone.
func (r *Resolver) Forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.leases, name)
}

// lease returns what is kept of an account, made anew if the account or its
// Secret has changed.
func (r *Resolver) lease(ctx context.Context, a *v1alpha1.ECSAccount) (*lease, error) {
	secretVersion, err := r.secretVersion(ctx, a)
	if _, gone := errors.AsType[*NotReadyError](err); gone {
		r.dropKeys(a.Name, err)
	}
	if err != nil {
		return nil, err
	}
	version := fmt.Sprint(a.UID, "/", a.Generation, "/", secretVersion)
	if l := r.known(a.Name, version); l != nil {
		return l, l.err
	}
	s, err := r.settings(a)
	var from source
	if err == nil {
		from, err = r.source(ctx, a)
	}
	if _, unusable := errors.AsType[*NotReadyError](err); err != nil && !unusable {
		return nil, err // of the API server: it passes
	}
	return r.renewLease(a.Name, version, s, from, err)
}

// renewLease keeps what was found for a version of an account, a failure included,
// so that not every resource finds it anew.
func (r *Resolver) renewLease(name, version string, s settings, from source, err error) (*lease, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.leases[name]
	if err != nil {
		from = absent{err}
	}
	switch {
	case l != nil && l.version == version:
		return l, l.err
	case l != nil && l.client != nil && (err != nil || l.settings == s):
		// The client keeps what its governors have learnt; the old keys are not kept.
		l.use(r.newSession(from, name))
	case err != nil:
		l = &lease{session: r.newSession(from, name)}
	default:
		l = r.newLease(s, r.newSession(from, name))
	}
	l.version, l.err = version, err
	r.leases[name] = l
	return l, err
}

// dropKeys forgets the keys of an account whose Secret is gone, for the reason that why
// gives. Its client stays: the Secret may come back, and ECS counts on meanwhile.
func (r *Resolver) dropKeys(name string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.leases[name]; l != nil {
		l.version = ""
		l.use(r.newSession(absent{why}, name))
	}
}

func (r *Resolver) known(name, version string) *lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.leases[name]; l != nil && l.version == version {
		return &lease{client: l.client, err: l.err, session: l.current()}
	}
	return nil
}

func (r *Resolver) settings(a *v1alpha1.ECSAccount) (settings, error) {
	s := settings{r.options.Endpoint, r.options.QPS, r.options.Burst}
	if a.Spec.Endpoint != "" {
		endpoint, err := ecs.ParseEndpoint(a.Spec.Endpoint, r.options.AllowInsecure)
		if err != nil {
			return s, notReady("ECSAccount %q cannot be used: %v", a.Name, err)
		}
		s.endpoint = endpoint
	}
	if l := a.Spec.RateLimit; l != nil {
		s.qps, s.burst = float64(l.QPS), int(l.Burst)
		if s.burst == 0 {
			s.burst = 2 * int(l.QPS)
		}
	}
	return s, nil
}

// secretVersion tells the account's Secret of today from that of yesterday
// without reading it.
func (r *Resolver) secretVersion(ctx context.Context, a *v1alpha1.ECSAccount) (string, error) {
	ref := a.Spec.Credentials.SecretRef
	if ref == nil {
		return "", nil
	}
	if !r.mayRead(ref.Namespace) {
		return "", notReady("ECSAccount %q cannot be used: Secrets are read from %s only (--secret-namespaces)", a.Name, strings.Join(r.options.SecretNamespaces, ", "))
	}
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	switch err := r.options.Cache.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, secret); {
	case apierrors.IsNotFound(err):
		return "", notReady("ECSAccount %q cannot be used: its Secret does not exist", a.Name)
	case err != nil:
		return "", fmt.Errorf("%w %s/%s: %w", ErrSecretUnread, ref.Namespace, ref.Name, err)
	}
	return string(secret.UID) + "/" + secret.ResourceVersion, nil
}

func (r *Resolver) mayRead(namespace string) bool {
	for _, n := range r.options.SecretNamespaces {
		if n == namespace {
			return true
		}
	}
	return false
}

// source builds where the keys of an account come from.
func (r *Resolver) source(ctx context.Context, a *v1alpha1.ECSAccount) (source, error) {
	base, err := r.chain, error(nil)
	if ref := a.Spec.Credentials.SecretRef; ref != nil {
		base, err = r.fromSecret(ctx, a, ref)
	} else if r.ownErr != nil {
		err = r.ownErr
	}
	if err != nil {
		return nil, err
	}
	assume := a.Spec.Credentials.AssumeRole
	if assume == nil {
		return base, nil
	}
	role := ecs.AssumedRole{RoleARN: assume.RoleARN, SessionName: sessionName, ExternalID: assume.ExternalID}
	if assume.SessionDuration != nil {
		role.Duration = assume.SessionDuration.Duration
	}
	return &assumed{sts: r.sts, role: role, from: newSession(base, r.options.Timeout, r.options.Now, nil)}, nil
}

func (r *Resolver) fromSecret(ctx context.Context, a *v1alpha1.ECSAccount, ref *v1alpha1.SecretReference) (source, error) {
	secret := &corev1.Secret{}
	// At its highest levels client-go logs whole answers: not this one.
	ctx = logr.NewContext(ctx, logr.Discard())
	switch err := r.options.Live.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, secret); {
	case apierrors.IsNotFound(err):
		return nil, notReady("ECSAccount %q cannot be used: its Secret does not exist", a.Name)
	case err != nil:
		return nil, fmt.Errorf("%w %s/%s: %w", ErrSecretUnread, ref.Namespace, ref.Name, err)
	}
	value := func(key string) string { return strings.TrimSpace(string(secret.Data[key])) }
	k := fixed{AccessKeyID: value("accessKeyId"), AccessKeySecret: value("accessKeySecret"), SecurityToken: value("securityToken")}
	if k.AccessKeyID == "" || k.AccessKeySecret == "" {
		return nil, notReady("ECSAccount %q cannot be used: its Secret must hold the keys accessKeyId and accessKeySecret", a.Name)
	}
	return k, nil
}

// stsFromEnvironment honours what the webhook of RRSA sets.
func stsFromEnvironment(o Options) (ecs.STS, error) {
	s := ecs.STS{Endpoint: o.STSEndpoint, Region: o.Env("ALIBABA_CLOUD_STS_REGION"), Timeout: o.Timeout}
	if o.STSEndpoint != (ecs.Endpoint{}) {
		return s, nil
	}
	host := o.Env("ALIBABA_CLOUD_STS_ENDPOINT")
	if host == "" && s.Region != "" && strings.EqualFold(o.Env("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"), "true") {
		host = "sts-vpc.{region}.aliyuncs.com"
	}
	if host == "" {
		return s, nil
	}
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	endpoint, err := ecs.ParseEndpoint(host, false)
	if err != nil {
		return s, fmt.Errorf("ALIBABA_CLOUD_STS_ENDPOINT: %w", err)
	}
	s.Endpoint = endpoint
	return s, nil
}
