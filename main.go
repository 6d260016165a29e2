// Command manager runs the operator: it reads the flags, builds the parts and
// starts them. It decides nothing else.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	clientconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/controllers"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/logging"
	"github.com/sgp-operator/sgp-operator/internal/slim"
)

// options are the flags.
type options struct {
	ecsEndpoint, stsEndpoint string
	allowInsecure            bool
	qps                      float64
	burst                    int
	timeout, resync          time.Duration
	concurrent               int
	namespaces, selector     string
	ownership                string
	requireAccount           bool
	secrets                  string
	leaderElect              bool
	leaderNamespace          string
	leaderID                 string
	metricsAddress           string
	metricsSecure            bool
	probeAddress             string
	pprofAddress             string
	log                      zap.Options
}

// gcPercent trades processor time, of which the manager needs little, for memory, of
// which it would need twice what it holds: with tens of thousands of resources that
// is more than anything else it could save.
const gcPercent = 40

// processors is how many the manager uses: it waits most of the time, and Go's runtime
// takes an eighth more when it may spread that little work over several.
const processors = 1

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "manager:", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("manager", flag.ContinueOnError)
	f.StringVar(&o.ecsEndpoint, "ecs-endpoint", "", "Endpoint of ECS, such as https://ecs-vpc.{region}.aliyuncs.com; the public one of the region by default.")
	f.StringVar(&o.stsEndpoint, "sts-endpoint", "", "Endpoint of STS, likewise.")
	f.BoolVar(&o.allowInsecure, "allow-insecure-endpoints", false, "Accept http:// endpoints beyond loopback.")
	f.Float64Var(&o.qps, "ecs-qps", 10, "Calls per second for each account, region and action.")
	f.IntVar(&o.burst, "ecs-burst", 20, "Calls at once for each account, region and action.")
	f.DurationVar(&o.timeout, "ecs-timeout", 10*time.Second, "Time limit of one call.")
	f.DurationVar(&o.resync, "resync-interval", 10*time.Minute, "How often the cloud is observed where a resource says nothing; 30s at least.")
	f.IntVar(&o.concurrent, "max-concurrent-reconciles", 16, "Number of resources worked on at the same time.")
	f.StringVar(&o.namespaces, "watch-namespaces", "", "Namespaces of the resources that this manager owns, separated by commas; all by default.")
	f.StringVar(&o.selector, "watch-label-selector", "", "Labels of the resources that this manager owns; all by default.")
	f.StringVar(&o.ownership, "ownership-scope", ownershipCluster, "Among which resources a group has one owner: those of the whole cluster, or of this manager's share (shard), which is all that one may choose who cannot list the others.")
	f.StringVar(&o.secrets, "secret-namespaces", "", "Namespaces where an ECSAccount's Secret may live, separated by commas; the manager's own by default.")
	f.BoolVar(&o.requireAccount, "require-account", false, "Refuse resources that would use the manager's own credentials.")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "Work only while holding the lease, for more than one replica.")
	f.StringVar(&o.leaderNamespace, "leader-election-namespace", "", "Namespace of the lease; the manager's own in a cluster.")
	f.StringVar(&o.leaderID, "leader-election-id", "", "Name of the lease; one for each shard (--watch-...) by default.")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "Where metrics are served; 0 turns them off.")
	f.BoolVar(&o.metricsSecure, "metrics-secure", true, "Serve metrics by HTTPS, to those whom the cluster lets read them.")
	f.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Where /healthz and /readyz are served.")
	f.StringVar(&o.pprofAddress, "pprof-bind-address", "0", "Where /debug/pprof is served, such as 127.0.0.1:6060; 0 turns it off. Whoever reaches it can read the manager's memory.")
	clientconfig.RegisterFlags(f)
	o.log.BindFlags(f)
	f.SetOutput(io.Discard)
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(os.Stdout)
		f.Usage()
		return nil, err
	case err != nil:
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: every option begins with --", f.Arg(0))
	case o.qps <= 0 || o.burst < 1:
		return nil, errors.New("--ecs-qps must be above 0 and --ecs-burst at least 1")
	case o.timeout < time.Second:
		return nil, errors.New("--ecs-timeout must be at least 1s")
	case o.resync < 30*time.Second:
		return nil, errors.New("--resync-interval must be at least 30s")
	case o.concurrent < 1:
		return nil, errors.New("--max-concurrent-reconciles must be at least 1")
	case o.ownership != ownershipCluster && o.ownership != ownershipShard:
		return nil, fmt.Errorf("--ownership-scope must be %s or %s", ownershipCluster, ownershipShard)
	}
	if o.leaderID == "" {
		o.leaderID = "sgp-operator"
		if shard := o.namespaces + "|" + o.selector; shard != "|" {
			h := fnv.New32a()
			_, _ = h.Write([]byte(shard))
			o.leaderID += fmt.Sprintf("-%08x", h.Sum32())
		}
	}
	return o, nil
}

// The values of --ownership-scope.
const (
	ownershipCluster = "cluster"
	ownershipShard   = "shard"
)

// seesAll tells whether the resources of other managers have to be watched beside
// the own ones.
func (o *options) seesAll() bool {
	return o.ownership == ownershipCluster && (o.namespaces != "" || o.selector != "")
}

// secretNamespaces are those that the flag names, or else the manager's own.
func (o *options) secretNamespaces() []string {
	if names := split(o.secrets); len(names) > 0 {
		return names
	}
	if own := os.Getenv("POD_NAMESPACE"); own != "" {
		return []string{own}
	}
	return []string{"sgp-system"}
}

func split(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	// The SDK prints headers, keys included, if this variable names it.
	if os.Getenv("DEBUG") != "" {
		return errors.New("the environment variable DEBUG must not be set: Alibaba Cloud's SDK would print credentials")
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log), zap.RawZapOpts(logging.Lazily())))

	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		goruntime.GOMAXPROCS(processors)
	}

	ecsEndpoint, err := ecs.ParseEndpoint(o.ecsEndpoint, o.allowInsecure)
	if err != nil {
		return fmt.Errorf("--ecs-endpoint: %w", err)
	}
	stsEndpoint, err := ecs.ParseEndpoint(o.stsEndpoint, o.allowInsecure)
	if err != nil {
		return fmt.Errorf("--sts-endpoint: %w", err)
	}
	mgr, err := newManager(ctx, o)
	if err != nil {
		return err
	}
	var all cache.Cache
	if o.seesAll() {
		if all, err = allPolicies(ctx, mgr); err != nil {
			return err
		}
	}
	changed := make(chan event.TypedGenericEvent[*v1alpha1.ECSAccount], 1024)
	accounts, err := account.New(account.Options{
		Cache: mgr.GetCache(), Live: mgr.GetAPIReader(), SecretNamespaces: o.secretNamespaces(),
		Endpoint: ecsEndpoint, STSEndpoint: stsEndpoint, AllowInsecure: o.allowInsecure,
		Timeout: o.timeout, QPS: o.qps, Burst: o.burst, RequireAccount: o.requireAccount, Env: os.Getenv, Now: time.Now,
		Changed: func(name string) {
			select {
			case changed <- event.TypedGenericEvent[*v1alpha1.ECSAccount]{Object: &v1alpha1.ECSAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}}:
			default: // so many are waiting that this one is among them, or is checked before long
			}
		},
	})
	if err != nil {
		return err
	}
	if err := (&controllers.ECSAccountReconciler{
		Client: mgr.GetClient(), Check: accounts.Check, Forget: accounts.Forget, Changed: changed, Recorder: mgr.GetEventRecorder("sgp-operator"),
	}).SetupWithManager(ctx, mgr); err != nil {
		return err
	}
	reconciler := &controllers.SecurityGroupPolicyReconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("sgp-operator"), Clock: clock.RealClock{},
		Clouds: func(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (controllers.Cloud, error) {
			return accounts.Client(ctx, p)
		},
		ResyncInterval: o.resync, MaxConcurrentReconciles: o.concurrent, AllPolicies: all,
	}
	if err := reconciler.SetupWithManager(mgr); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("workers", reconciler.Alive); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newManager(ctx context.Context, o *options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to work on: run in one, or give --kubeconfig or KUBECONFIG: %w", err)
	}
	config.Wrap(slim.Transport("securitygrouppolicies"))

	caches, err := cacheOptions(o)
	if err != nil {
		return nil, err
	}
	metrics := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.MinVersion = tls.VersionTLS12 }}}
	if o.metricsSecure {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mapper, err := servedTypes(config)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Cache: caches, Metrics: metrics, HealthProbeBindAddress: o.probeAddress, PprofBindAddress: o.pprofAddress,
		MapperProvider: func(*rest.Config, *http.Client) (apimeta.RESTMapper, error) { return mapper, nil },
		LeaderElection: o.leaderElect, LeaderElectionNamespace: o.leaderNamespace, LeaderElectionID: o.leaderID,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, err
	}
	return mgr, errors.Join(hold(ctx, mgr.GetCache()), mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache())))
}

// allPolicies is a cache of what ownership asks of the resources of all shards.
func allPolicies(ctx context.Context, mgr ctrl.Manager) (cache.Cache, error) {
	err := mgr.GetAPIReader().List(ctx, &v1alpha1.SecurityGroupPolicyList{}, client.Limit(1))
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("the resources of other shards cannot be listed, so that a group may get two owners: grant list and watch in the whole cluster, as config/rbac does, or accept it by --ownership-scope=%s: %w", ownershipShard, err)
	case err != nil:
		return nil, fmt.Errorf("list the resources of other shards: %w", err)
	}
	all, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(), DefaultTransform: controllers.OnlyClaim,
	})
	if err != nil {
		return nil, err
	}
	return all, errors.Join(hold(ctx, all), mgr.Add(all))
}

// servedTypes are the types that the manager works with, if the API server serves them.
// It tells a missing CRD from a server that does not answer. The mapper holds no others:
// a cache of single namespaces asks it at each read, and one of all that is served made
// a quarter of the garbage.
func servedTypes(config *rest.Config) (apimeta.RESTMapper, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig cannot be used: %w", err)
	}
	served, err := apiutil.NewDynamicRESTMapper(config, client)
	if err != nil {
		return nil, fmt.Errorf("the API server %s cannot be used: %w", config.Host, err)
	}
	needed := apimeta.NewDefaultRESTMapper(nil)
	for _, kind := range []schema.GroupVersionKind{v1alpha1.GroupVersion.WithKind("SecurityGroupPolicy"), v1alpha1.GroupVersion.WithKind("ECSAccount"),
		corev1.SchemeGroupVersion.WithKind("Namespace"), corev1.SchemeGroupVersion.WithKind("Secret")} {
		mapping, err := served.RESTMapping(kind.GroupKind(), kind.Version)
		switch {
		case apimeta.IsNoMatchError(err):
			return nil, fmt.Errorf("the API server %s does not serve %s: are the CRDs installed (kubectl apply -k config/crd)?", config.Host, kind.Kind)
		case err != nil:
			return nil, fmt.Errorf("the API server %s cannot be used: %w", config.Host, err)
		}
		needed.Add(kind, mapping.Scope)
	}
	return needed, nil
}

func cacheOptions(o *options) (cache.Options, error) {
	selector, err := labels.Parse(o.selector)
	if err != nil {
		return cache.Options{}, fmt.Errorf("--watch-label-selector: %w", err)
	}
	caches := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.SecurityGroupPolicy{}: {Label: selector, Transform: controllers.Compact},
			// Metadata only: what a Secret holds is read when it is needed.
			&corev1.Secret{}: {Namespaces: inNamespaces(o.secretNamespaces())},
		},
	}
	if o.namespaces != "" {
		caches.DefaultNamespaces = inNamespaces(split(o.namespaces))
	}
	return caches, nil
}

func inNamespaces(names []string) map[string]cache.Config {
	config := map[string]cache.Config{}
	for _, name := range names {
		config[name] = cache.Config{}
	}
	return config
}

// hold has a cache read the resources as soon as it starts. Else the controllers are the
// first to ask for them, which on a standby is when it takes over.
func hold(ctx context.Context, c cache.Cache) error {
	_, err := c.GetInformer(ctx, &v1alpha1.SecurityGroupPolicy{}, cache.BlockUntilSynced(false))
	return err
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
