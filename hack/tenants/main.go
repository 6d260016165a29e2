// Tenants runs a manager with its default limits for ten namespaces, one of which is
// hostile, against a real kube-apiserver and the ECS simulator. The hostile one edits in
// a loop, names a region that swallows packets, one that refuses the key and one that is
// no region, claims the others' groups and fills its objects. Meanwhile the others edit
// theirs, and somebody changes their groups. It then says what the others noticed, and
// fails if that was more than is promised. `make chaos` starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	key, secret = "tenants-key", "tenants-secret"
	// region is where everybody has groups; the others are the hostile tenant's.
	region         = "cn-hangzhou"
	silentRegion   = "cn-beijing"
	refusingRegion = "cn-shenzhen"
	noRegion       = "oss-cn-hangzhou"
	// resync is as short as the manager allows, so that a run sees several.
	resync = 30 * time.Second
	// workers is the manager's default, of which a quarter may wait for one region.
	workers = 16
)

// options say how long a run takes, and how many resources each of the others has.
type options struct {
	duration  time.Duration
	resources int
	out       io.Writer
}

// world is everything that a run consists of.
type world struct {
	options

	rig     *rig.Rig
	sim     *ecssim.Server
	cluster *rig.ControlPlane
	manager *rig.Manager
	begun   time.Time
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(w.out, "tenants: %5.1fs %s\n", time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
}

func main() {
	rig.Prepare()
	o := options{out: os.Stdout}
	flag.DurationVar(&o.duration, "duration", 90*time.Second, "How long the hostile tenant goes on.")
	flag.IntVar(&o.resources, "resources", 8, "Number of resources of each of the others.")
	flag.Parse()
	if flag.NArg() > 0 || o.resources < 1 || o.duration < 2*resync {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	broken, err := run(ctx, o)
	for _, text := range broken {
		fmt.Println("✗", text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tenants:", err)
	}
	if err != nil || len(broken) > 0 {
		stop()
		os.Exit(1) //nolint:gocritic // stop is called
	}
	fmt.Println("tenants: one was hostile, and the others got what they are promised")
}

// run takes the scenario from the beginning to its end, and returns what it broke.
func run(ctx context.Context, o options) (broken []string, err error) {
	w := &world{options: o, begun: time.Now()}
	if w.rig, err = rig.New(ctx, "sgp-tenants-"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		if closing := w.rig.Close(); err == nil {
			err = closing
		}
	}()
	if err := w.setUp(ctx); err != nil {
		return nil, err
	}
	others := w.others()
	if err := w.createAll(ctx, others); err != nil {
		return nil, err
	}
	if err := w.untilInSync(ctx, others, time.Minute); err != nil {
		return nil, err
	}
	before, err := w.manager.Footprint(ctx)
	if err != nil {
		return nil, err
	}
	w.say("nine tenants are in sync with %d groups each", w.resources)
	h, err := w.unleash(ctx)
	if err != nil {
		return nil, err
	}
	n, err := w.watch(ctx, others)
	if err != nil {
		return nil, err
	}
	after, err := w.manager.Footprint(ctx)
	if err != nil {
		return nil, err
	}
	return w.judge(ctx, others, h, n, after.Heap-before.Heap)
}

func (w *world) setUp(ctx context.Context) error {
	root, err := rig.Root(ctx)
	if err != nil {
		return err
	}
	binary := filepath.Join(w.rig.Dir, "manager")
	if err := rig.Build(ctx, root, binary, nil); err != nil {
		return err
	}
	w.sim = ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: key, Secret: secret}},
		Regions: []string{region, silentRegion, refusingRegion}, CallLog: 200_000})
	w.sim.SetLatency(20 * time.Millisecond)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangBefore, Region: silentRegion})
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Region: refusingRegion, Status: 404, Code: "InvalidAccessKeyId.NotFound", Message: "not for others"})
	endpoint, stop, err := w.sim.Start()
	if err != nil {
		return err
	}
	w.rig.OnClose(func() error { w.sim.Release(); stop(); return nil })
	if w.cluster, err = w.rig.StartControlPlane(ctx, rig.ControlPlaneOptions{Root: root}); err != nil {
		return err
	}
	for _, name := range append([]string{hostileNamespace}, teams...) {
		if err := w.cluster.CreateNamespace(ctx, name); err != nil {
			return err
		}
	}
	w.manager, err = w.rig.StartManager(ctx, rig.ManagerOptions{Name: "manager", Binary: binary, Root: root, Kubeconfig: w.cluster.ManagerKubeconfig,
		Endpoint: endpoint, KeyID: key, Secret: secret,
		Args: []string{"--lend-own-credentials", "--resync-interval", resync.String(), "--max-concurrent-reconciles", fmt.Sprint(workers)}})
	if err != nil {
		return err
	}
	return w.manager.UntilReady(ctx)
}

// unknownRegions are the calls to what is no region, which there must be none of.
func (w *world) unknownRegions() (n int) {
	for _, c := range w.sim.Calls() {
		if strings.Contains(c.Region, "oss") {
			n++
		}
	}
	return n
}
