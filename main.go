// Command manager runs the operator, or one of the commands of internal/cli: it reads
// the manager's flags and starts. It decides nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	clientconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/sgp-operator/sgp-operator/internal/cli"
	"github.com/sgp-operator/sgp-operator/internal/operator"
)

// options are the flags.
type options struct {
	operator.Options

	namespaces, secrets, regions string
	requireAccount               bool
	log                          zap.Options
}

func main() {
	os.Exit(cli.Main(ctrl.SetupSignalHandler(), cli.Process{
		Args: os.Args, Env: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Manager: run,
	}))
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("manager", flag.ContinueOnError)
	f.StringVar(&o.ECSEndpoint, "ecs-endpoint", "", "Endpoint of ECS, such as https://ecs-vpc.{region}.aliyuncs.com; the public one of the region by default.")
	f.StringVar(&o.STSEndpoint, "sts-endpoint", "", "Endpoint of STS, likewise.")
	f.BoolVar(&o.AllowInsecureEndpoints, "allow-insecure-endpoints", false, "Accept http:// endpoints beyond loopback.")
	f.StringVar(&o.regions, "extra-regions", "", "Regions beside those that the manager knows, separated by commas; * stands for any characters, as in cn-beijing-finance-*.")
	f.Float64Var(&o.QPS, "ecs-qps", 10, "Calls per second for each account, region and action.")
	f.IntVar(&o.Burst, "ecs-burst", 20, "Calls at once for each account, region and action.")
	f.DurationVar(&o.Timeout, "ecs-timeout", 10*time.Second, "Time limit of one call; 30s at most, so that a reconciliation can make its calls.")
	f.DurationVar(&o.ResyncInterval, "resync-interval", 10*time.Minute, "How often the cloud is observed where a resource says nothing; 30s at least.")
	f.IntVar(&o.MaxConcurrentReconciles, "max-concurrent-reconciles", 16, "Number of resources worked on at the same time; a quarter of them for one account and region.")
	f.IntVar(&o.ChangeBudget, "change-budget", 0, "How many groups of an account may change to Accept, and how many to Drop, in ten minutes; what is over it waits its turn. 0 for any number.")
	f.StringVar(&o.namespaces, "watch-namespaces", "", "Namespaces of the resources that this manager owns, separated by commas; all by default.")
	f.StringVar(&o.WatchLabelSelector, "watch-label-selector", "", "Labels of the resources that this manager owns; all by default.")
	f.StringVar(&o.secrets, "secret-namespaces", "", "Namespaces where an ECSAccount's Secret may live, separated by commas; the manager's own by default.")
	f.BoolVar(&o.LendOwnCredentials, "lend-own-credentials", false, "Let resources for which there is no ECSAccount use the manager's own credentials.")
	f.BoolVar(&o.InstanceRole, "instance-role", false, "Let the manager's own credentials come from the RAM role of its node, if there are no others.")
	f.BoolVar(&o.requireAccount, "require-account", false, "The default by now; will go away.")
	f.BoolVar(&o.LeaderElection, "leader-elect", false, "Work only while holding the lease, for more than one replica.")
	f.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "Namespace of the lease; the manager's own in a cluster.")
	f.StringVar(&o.LeaderElectionID, "leader-election-id", "", "Name of the lease; one for each shard (--watch-...) by default.")
	f.StringVar(&o.MetricsBindAddress, "metrics-bind-address", ":8443", "Where metrics are served; 0 turns them off.")
	f.BoolVar(&o.MetricsSecure, "metrics-secure", true, "Serve metrics by HTTPS, to those whom the cluster lets read them.")
	f.StringVar(&o.MetricsCertPath, "metrics-cert-path", "", "Folder with tls.crt and tls.key for the metrics, read anew when they change; by default the manager signs a certificate itself at each start.")
	f.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "Where /healthz and /readyz are served.")
	f.StringVar(&o.PprofBindAddress, "pprof-bind-address", "0", "Where /debug/pprof is served, such as 127.0.0.1:6060; 0 turns it off. Whoever reaches it can read the manager's memory.")
	clientconfig.RegisterFlags(f)
	o.log.BindFlags(f)
	f.SetOutput(io.Discard)
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(os.Stdout)
		f.Usage()
		fmt.Println("\nThere are other commands: manager help lists them.")
		return nil, err
	case err != nil:
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: every option begins with --, and manager help lists the commands", f.Arg(0))
	}
	o.WatchNamespaces, o.SecretNamespaces, o.ExtraRegions = split(o.namespaces), o.secretNamespaces(), split(o.regions)
	if err := o.nameShard(); err != nil {
		return nil, err
	}
	if o.requireAccount && o.LendOwnCredentials {
		return nil, errors.New("--require-account and --lend-own-credentials contradict each other: remove one of them")
	}
	return o, o.Validate()
}

// nameShard gives the managers of a shard one lease, however each writes which
// resources are its own.
func (o *options) nameShard() error {
	selector, err := labels.Parse(o.WatchLabelSelector)
	if err != nil {
		return fmt.Errorf("--watch-label-selector: %w", err)
	}
	// Values and labels are sorted by String; of "=" and "==" one is left.
	o.WatchLabelSelector = strings.ReplaceAll(selector.String(), "==", "=")
	slices.Sort(o.WatchNamespaces)
	o.WatchNamespaces = slices.Compact(o.WatchNamespaces)
	if o.LeaderElectionID != "" {
		return nil
	}
	o.LeaderElectionID = "sgp-operator"
	if o.Sharded() {
		h := fnv.New32a()
		_, _ = h.Write([]byte(strings.Join(o.WatchNamespaces, ",") + "|" + o.WatchLabelSelector))
		o.LeaderElectionID += fmt.Sprintf("-%08x", h.Sum32())
	}
	return nil
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
	log := zap.New(zap.UseFlagOptions(&o.log))
	ctrl.SetLogger(log)
	if o.requireAccount {
		log.Info("--require-account is the default by now and will go away: remove it")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("no cluster to work on: run in one, or give --kubeconfig or KUBECONFIG: %w", err)
	}
	mgr, err := operator.New(ctx, config, o.Options)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}
