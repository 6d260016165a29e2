// Package operator wires a manager: scheme, caches, clients, accounts and controllers.
// There is this one wiring: the command runs it, and so does every test that runs a
// manager.
package operator

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/controllers/ecsaccount"
	"github.com/sgp-operator/sgp-operator/controllers/securitygroupclaim"
	"github.com/sgp-operator/sgp-operator/controllers/securitygrouppolicy"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/guard"
	"github.com/sgp-operator/sgp-operator/internal/members"
	"github.com/sgp-operator/sgp-operator/internal/slim"
)

// Options are what an administrator chooses. See the flags for their meanings.
type Options struct {
	ECSEndpoint, STSEndpoint string
	AllowInsecureEndpoints   bool
	// ExtraRegions are patterns of regions beside those that package ecs knows.
	ExtraRegions []string
	// QPS and Burst bound the calls for each account, region and action.
	QPS   float64
	Burst int
	// Timeout is that of one call.
	Timeout time.Duration
	// ResyncInterval is how often the cloud is observed where a resource says nothing.
	ResyncInterval          time.Duration
	MaxConcurrentReconciles int
	// ChangeBudget is how many groups of an account may change to a value in ten minutes;
	// 0 for any number.
	ChangeBudget int
	// WatchNamespaces and WatchLabelSelector choose the resources of this manager; all
	// if empty.
	WatchNamespaces    []string
	WatchLabelSelector string
	// SecretNamespaces are those where an account's Secret may live.
	SecretNamespaces []string
	// LendOwnCredentials serves resources without an account with the manager's own
	// credentials, which may come from the RAM role of the node with InstanceRole.
	LendOwnCredentials, InstanceRole bool

	LeaderElection          bool
	LeaderElectionNamespace string
	LeaderElectionID        string
	MetricsBindAddress      string
	MetricsSecure           bool
	// MetricsCertPath is a folder with tls.crt and tls.key.
	MetricsCertPath        string
	HealthProbeBindAddress string
	PprofBindAddress       string

	// Replace is for tests.
	Replace Replace
}

// Replace is what tests put in the place of what a manager has of its own. The zero
// value replaces nothing.
type Replace struct {
	Clock          clock.PassiveClock
	Env            func(string) string
	ManagerOptions func(*ctrl.Options)
	Cloud          func(securitygrouppolicy.Cloud) securitygrouppolicy.Cloud
	Accounts       func(*account.Options)
	Reconciler     func(*securitygrouppolicy.Reconciler)
}

// Sharded tells whether other managers have resources of their own.
func (o *Options) Sharded() bool { return len(o.WatchNamespaces) > 0 || o.WatchLabelSelector != "" }

// Validate tells which flag is wrong, and what to write instead.
func (o *Options) Validate() error {
	switch {
	case o.QPS <= 0 || o.Burst < 1:
		return errors.New("--ecs-qps must be above 0 and --ecs-burst at least 1")
	case o.Timeout < time.Second || o.Timeout > securitygrouppolicy.LongestCall:
		return fmt.Errorf("--ecs-timeout must be between 1s and %v", securitygrouppolicy.LongestCall)
	case o.ResyncInterval < 30*time.Second:
		return errors.New("--resync-interval must be at least 30s")
	case o.ChangeBudget < 0:
		return errors.New("--change-budget must be 0, for no limit, or above")
	case o.MaxConcurrentReconciles < 1:
		return errors.New("--max-concurrent-reconciles must be at least 1")
	}
	_, regionsErr := o.regions()
	_, _, err := o.endpoints()
	return cmp.Or(regionsErr, err, o.certificate())
}

// certificate tells whether the metrics' certificate can be used: otherwise they would
// be served with one that the manager signs itself, without a word.
func (o *Options) certificate() error {
	if o.MetricsCertPath == "" {
		return nil
	}
	if !o.MetricsSecure {
		return errors.New("--metrics-cert-path needs --metrics-secure")
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(o.MetricsCertPath, "tls.crt"), filepath.Join(o.MetricsCertPath, "tls.key")); err != nil {
		return fmt.Errorf("--metrics-cert-path: %s must hold tls.crt and tls.key, a certificate and its key: %w", o.MetricsCertPath, err)
	}
	return nil
}

func (o *Options) regions() (ecs.Regions, error) {
	regions, err := ecs.ParseRegions(o.ExtraRegions)
	if err != nil {
		return regions, fmt.Errorf("--extra-regions: %w", err)
	}
	return regions, nil
}

func (o *Options) endpoints() (forECS, forSTS ecs.Endpoint, err error) {
	if forECS, err = ecs.ParseEndpoint(o.ECSEndpoint, o.AllowInsecureEndpoints); err != nil {
		return forECS, forSTS, fmt.Errorf("--ecs-endpoint: %w", err)
	}
	if forSTS, err = ecs.ParseEndpoint(o.STSEndpoint, o.AllowInsecureEndpoints); err != nil {
		return forECS, forSTS, fmt.Errorf("--sts-endpoint: %w", err)
	}
	return forECS, forSTS, nil
}

// New returns a manager that is ready to be started. Errors are for an administrator,
// and name the flag where one is wrong.
func New(ctx context.Context, config *rest.Config, o Options) (ctrl.Manager, error) {
	if o.Replace.Clock == nil {
		o.Replace.Clock = clock.RealClock{}
	}
	if o.Replace.Env == nil {
		o.Replace.Env = os.Getenv //nolint:forbidigo // the manager's own environment
	}
	mgr, err := newManager(ctx, config, &o)
	if err != nil {
		return nil, err
	}
	accounts, changed, err := newAccounts(mgr, &o)
	if err != nil {
		return nil, err
	}
	return mgr, addControllers(ctx, mgr, &o, accounts, changed)
}

// jitter is a random part of a duration.
func jitter(d time.Duration) time.Duration {
	return rand.N(max(d, 1)) //nolint:gosec // spreads load
}

func addControllers(ctx context.Context, mgr ctrl.Manager, o *Options, accounts *account.Resolver, changed <-chan event.TypedGenericEvent[*v1alpha1.ECSAccount]) error {
	recorder := mgr.GetEventRecorder("sgp-operator")
	err := (&ecsaccount.Reconciler{
		Client: mgr.GetClient(), Check: accounts.Check, Forget: accounts.Forget, Changed: changed, Recorder: recorder,
		Clock: o.Replace.Clock, Jitter: jitter,
	}).SetupWithManager(ctx, mgr)
	if err != nil {
		return err
	}
	err = (&securitygroupclaim.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Endings: &claims.Endings{}, Clock: o.Replace.Clock, Jitter: jitter,
	}).SetupWithManager(ctx, mgr, o.Sharded())
	if err != nil {
		return err
	}
	cloud := func(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (members.Cloud, error) {
		c, name, err := accounts.Client(ctx, p)
		return members.Cloud{Client: c, Account: name}, err
	}
	store := &members.Store{Now: o.Replace.Clock.Now}
	approvals := &guard.Approvals{Cache: mgr.GetClient(), API: mgr.GetAPIReader(), Now: o.Replace.Clock.Now}
	policies := &securitygrouppolicy.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Recorder: recorder, Clock: o.Replace.Clock, Lines: &claims.Lines{},
		Clouds: func(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (securitygrouppolicy.Cloud, string, error) {
			c, name, err := accounts.Client(ctx, p)
			switch {
			case err != nil:
				return nil, "", err
			case o.Replace.Cloud != nil:
				return o.Replace.Cloud(c), name, nil
			}
			return c, name, nil
		},
		Guard:     &guard.Guard{API: mgr.GetAPIReader(), Cloud: cloud, Store: store, Now: o.Replace.Clock.Now},
		Approvals: approvals.Demanded,
		Isolation: &members.Isolation{Cloud: cloud, Store: store},
		Jitter:    jitter, NewClientToken: ecs.NewClientToken, ChangeBudget: o.ChangeBudget,
		ResyncInterval: o.ResyncInterval, MaxConcurrentReconciles: o.MaxConcurrentReconciles,
	}
	if o.Replace.Reconciler != nil {
		o.Replace.Reconciler(policies)
	}
	return errors.Join(policies.SetupWithManager(mgr), mgr.AddHealthzCheck("workers", policies.Alive))
}

func newAccounts(mgr ctrl.Manager, o *Options) (*account.Resolver, <-chan event.TypedGenericEvent[*v1alpha1.ECSAccount], error) {
	ecsEndpoint, stsEndpoint, err := o.endpoints()
	if err != nil {
		return nil, nil, err
	}
	regions, err := o.regions()
	if err != nil {
		return nil, nil, err
	}
	changed := make(chan event.TypedGenericEvent[*v1alpha1.ECSAccount], 1024)
	options := account.Options{
		Cache: mgr.GetCache(), Live: mgr.GetAPIReader(), SecretNamespaces: o.SecretNamespaces,
		Endpoint: ecsEndpoint, STSEndpoint: stsEndpoint, Regions: regions, AllowInsecure: o.AllowInsecureEndpoints,
		Timeout: o.Timeout, QPS: o.QPS, Burst: o.Burst, UnderWay: max(1, o.MaxConcurrentReconciles/4), LendOwn: o.LendOwnCredentials, InstanceRole: o.InstanceRole, Env: o.Replace.Env, Now: o.Replace.Clock.Now,
		Changed: func(name string) {
			select {
			case changed <- event.TypedGenericEvent[*v1alpha1.ECSAccount]{Object: &v1alpha1.ECSAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}}:
			default: // so many are waiting that this one is among them, or is checked before long
			}
		},
	}
	if o.Replace.Accounts != nil {
		o.Replace.Accounts(&options)
	}
	accounts, err := account.New(options)
	return accounts, changed, err
}

func newManager(ctx context.Context, restConfig *rest.Config, o *Options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	caches, err := cacheOptions(o)
	if err != nil {
		return nil, err
	}
	metrics := metricsserver.Options{BindAddress: o.MetricsBindAddress, SecureServing: o.MetricsSecure, CertDir: o.MetricsCertPath,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			c.MinVersion = tls.VersionTLS12
			// A scrape in half a minute gains nothing from HTTP/2, whose streams and
			// headers have been a way to exhaust servers again and again.
			c.NextProtos = []string{"http/1.1"}
		}}}
	if o.MetricsSecure {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	// Of what the API server sends, managed fields are half, and nobody here reads them.
	restConfig = rest.CopyConfig(restConfig)
	restConfig.Wrap(slim.Transport("securitygrouppolicies", "securitygroupclaims"))
	mapper, err := servedTypes(restConfig)
	if err != nil {
		return nil, err
	}
	options := ctrl.Options{
		Scheme: scheme, Cache: caches, Metrics: metrics, HealthProbeBindAddress: o.HealthProbeBindAddress, PprofBindAddress: o.PprofBindAddress,
		MapperProvider: func(*rest.Config, *http.Client) (apimeta.RESTMapper, error) { return mapper, nil },
		LeaderElection: o.LeaderElection, LeaderElectionNamespace: o.LeaderElectionNamespace, LeaderElectionID: o.LeaderElectionID,
		LeaderElectionReleaseOnCancel: true,
	}
	if o.Replace.ManagerOptions != nil {
		o.Replace.ManagerOptions(&options)
	}
	mgr, err := ctrl.NewManager(restConfig, options)
	if err != nil {
		return nil, err
	}
	return mgr, errors.Join(hold(ctx, mgr.GetCache()), mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache())))
}

// servedTypes finds the types that the API server serves, and tells a missing CRD from
// a server that does not answer.
func servedTypes(config *rest.Config) (apimeta.RESTMapper, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig cannot be used: %w", err)
	}
	served, err := apiutil.NewDynamicRESTMapper(config, client)
	if err != nil {
		return nil, fmt.Errorf("the API server %s cannot be used: %w", config.Host, err)
	}
	for _, kind := range []schema.GroupVersionKind{v1alpha1.GroupVersion.WithKind("SecurityGroupPolicy"),
		v1alpha1.GroupVersion.WithKind("SecurityGroupClaim"), v1alpha1.GroupVersion.WithKind("ECSAccount")} {
		switch _, err := served.RESTMapping(kind.GroupKind(), kind.Version); {
		case apimeta.IsNoMatchError(err):
			return nil, fmt.Errorf("the API server %s does not serve %s: are the CRDs installed (kubectl apply -k config/crd)?", config.Host, kind.Kind)
		case err != nil:
			return nil, fmt.Errorf("the API server %s cannot be used: %w", config.Host, err)
		}
	}
	return served, nil
}

func cacheOptions(o *Options) (cache.Options, error) {
	selector, err := labels.Parse(o.WatchLabelSelector)
	if err != nil {
		return cache.Options{}, fmt.Errorf("--watch-label-selector: %w", err)
	}
	caches := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.SecurityGroupPolicy{}: {Label: selector, Transform: securitygrouppolicy.Compact},
			&v1alpha1.SecurityGroupClaim{}:  {Transform: securitygrouppolicy.Compact},
			// Metadata only: what a Secret holds is read when it is needed.
			&corev1.Secret{}:    {Namespaces: inNamespaces(o.SecretNamespaces), Transform: withoutAnnotations},
			&corev1.Namespace{}: {Transform: withoutAnnotations},
		},
	}
	if len(o.WatchNamespaces) > 0 {
		caches.DefaultNamespaces = inNamespaces(o.WatchNamespaces)
	}
	return caches, nil
}

// withoutAnnotations is for objects of which at most the labels are read.
func withoutAnnotations(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	return object, nil
}

func inNamespaces(names []string) map[string]cache.Config {
	config := map[string]cache.Config{}
	for _, name := range names {
		config[name] = cache.Config{}
	}
	return config
}

// hold has a cache read the resources as soon as it starts. Else the controllers are
// the first to ask for them, which on a standby is when it takes over.
func hold(ctx context.Context, c cache.Cache) error {
	var errs []error
	for _, o := range []client.Object{&v1alpha1.SecurityGroupPolicy{}, &v1alpha1.SecurityGroupClaim{}} {
		_, err := c.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// cachesSynced is ready once the caches hold the cluster, on standby replicas too.
func cachesSynced(c cache.Cache) healthz.Checker {
	return func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), 100*time.Millisecond)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("the caches are not synced yet")
		}
		return nil
	}
}
