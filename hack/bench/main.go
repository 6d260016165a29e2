// Bench measures how fast and how frugal the manager is. It starts etcd and
// kube-apiserver, the ECS simulator and the manager, each a process of its own,
// takes a number of resources through their life, and writes what it saw to
// docs/benchmarks. It is started by `make bench`.
//
// It is a module of its own, so that the operator's has no plotting library.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// options say what is measured, and under which limits.
type options struct {
	sizes   []int
	latency time.Duration
	qps     float64
	burst   int
	workers int
	// edits is how many edits are timed in each of the three situations, and
	// editRate how many of them are made per second.
	edits    int
	editRate float64
	// observed is the number of resync intervals that the steady state is watched.
	observed int
	out      string
	// manager is a binary to measure instead of one that is built here.
	manager string
	// against is another checkout, whose manager is compared with this one's, in so
	// many rounds.
	against string
	rounds  int
	// imports measures the import instead.
	imports bool
	// render measures nothing, and writes table and plots anew.
	render bool
	// root is this checkout, installed the one of the CRDs and permissions.
	root, installed string
}

// bound is the number of calls of one action per second that the limits allow.
// A quarter of the workers may be in a call to one account and region.
func (o options) bound() float64 { return min(o.qps, float64(o.workers/4)/o.latency.Seconds()) }

// pace is how many resources the bench creates or edits per second. The manager needs
// one and a half reads for each that is new, two for each that is edited: so more and
// more of them wait for it, while the API server has processors left to serve it.
func (o options) pace() float64 { return 0.8 * o.bound() }

// interval is the resync interval of the steady state: as short as the manager
// takes and the rate limit allows with some room, so that several fit into a run.
func (o options) interval(n int) time.Duration {
	const step = 5 * time.Second
	d := time.Duration(float64(n) / (0.9 * o.bound()) * float64(time.Second))
	return max(30*time.Second, (d + step - 1).Truncate(step))
}

func main() {
	rig.Prepare()
	if len(os.Args) > 1 && os.Args[1] == simulatorCommand {
		exitOn(serveSimulator(os.Args[2:]))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	o, err := parse(ctx)
	if err == nil {
		err = measureAll(ctx, o)
	}
	if errors.Is(ctx.Err(), context.Canceled) && err != nil {
		err = fmt.Errorf("stopped: %w", err)
	}
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(ctx context.Context) (options, error) {
	o := options{}
	sizes := flag.String("n", "1000,10000", "Numbers of resources to measure with, separated by commas.")
	flag.DurationVar(&o.latency, "latency", 20*time.Millisecond, "What each call to the simulator takes.")
	flag.Float64Var(&o.qps, "ecs-qps", 200, "The manager's limit for calls per second and action.")
	flag.IntVar(&o.burst, "ecs-burst", 20, "The manager's limit for calls at once and action.")
	flag.IntVar(&o.workers, "workers", 32, "The manager's --max-concurrent-reconciles.")
	flag.IntVar(&o.edits, "edits", 200, "Number of edits that are timed in each situation.")
	flag.Float64Var(&o.editRate, "edit-rate", 20, "Edits per second while they are timed.")
	flag.IntVar(&o.observed, "intervals", 2, "Number of resync intervals that the steady state is watched.")
	flag.StringVar(&o.out, "out", "docs/benchmarks", "Folder to write the results to, below the repository's root.")
	flag.StringVar(&o.manager, "manager", "", "Manager to measure; by default the one of this tree is built.")
	flag.StringVar(&o.against, "against", "", "Another checkout of the operator: only compare what converging costs with its manager and with this one's.")
	flag.IntVar(&o.rounds, "rounds", 3, "How often each of the two managers is measured with --against.")
	flag.BoolVar(&o.imports, "import", false, "Measure the import of groups instead, and write import.md.")
	flag.BoolVar(&o.render, "render", false, "Measure nothing: write table and plots anew from the figures of the last run.")
	flag.Parse()
	var err error
	if o.sizes, err = parseSizes(*sizes); err != nil {
		return o, err
	}
	if flag.NArg() > 0 || o.latency <= 0 || o.qps <= 0 || o.burst < 1 || o.workers < 1 || o.edits < 1 || o.rounds < 1 || o.editRate <= 0 || o.observed < 1 {
		return o, errors.New("every option begins with -- and takes a value above 0; see --help")
	}
	if o.root, err = rig.Root(ctx); err != nil {
		return o, err
	}
	if o.against != "" {
		if o.against, err = filepath.Abs(o.against); err != nil {
			return o, err
		}
	}
	o.installed = o.root
	if !filepath.IsAbs(o.out) {
		o.out = filepath.Join(o.root, o.out)
	}
	return o, nil
}

func parseSizes(list string) (sizes []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 100 {
			return nil, fmt.Errorf("--n %s: use numbers of 100 or more, such as 1000,10000", list)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// measureAll measures with one number of resources after the other, each in a
// cluster of its own.
func measureAll(ctx context.Context, o options) (err error) {
	if o.render {
		r, err := load(o.out)
		if err != nil {
			return err
		}
		return r.write(o.out)
	}
	binaries, err := rig.New(ctx, "sgp-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, binaries.Close()) }()
	if o.against != "" {
		return compare(ctx, o, binaries.Dir)
	}
	if o.manager == "" {
		o.manager = filepath.Join(binaries.Dir, "manager")
		fmt.Println("bench: building the manager")
		if err := buildManager(ctx, o.root, o.manager); err != nil {
			return err
		}
	}
	if o.imports {
		return measureImports(ctx, o)
	}
	r := &report{Machine: describeMachine(ctx, o), Settings: settingsOf(o)}
	for _, n := range o.sizes {
		w := &world{options: o, name: fmt.Sprintf("N=%-6d", n), n: n, begun: time.Now(), profiled: n == slices.Max(o.sizes)}
		run, err := w.measure(ctx)
		if err != nil {
			return fmt.Errorf("with N = %d: %w", n, err)
		}
		r.Runs = append(r.Runs, run)
		// What is measured is kept, even if the next number is too much.
		if err := r.save(o.out); err != nil {
			return err
		}
	}
	return r.write(o.out)
}
