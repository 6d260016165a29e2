// Chaos runs two managers against a real kube-apiserver and the ECS simulator,
// and lets everything go wrong at once: hundreds of resources are edited, deleted
// and changed behind the operator's back while the simulator throttles, hangs,
// resets connections and answers nonsense, the leading manager is killed and the
// API server restarted. Then it lets calm return, and checks that every group is
// as its resource says, every status is true and nothing was wasted.
//
// All that the driver does follows from a seed, which it prints. It is started by
// `make chaos`, and in a short form by `go test`.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

func main() {
	rig.Prepare()
	o := options{out: os.Stdout}
	flag.Uint64Var(&o.seed, "seed", 0, "Seed of the driver's choices; a random one by default.")
	flag.IntVar(&o.resources, "resources", 300, "Number of resources.")
	flag.DurationVar(&o.duration, "duration", 3*time.Minute, "How long the chaos lasts.")
	flag.DurationVar(&o.tail, "tail", 40*time.Second, "How long the calm after it is watched.")
	flag.BoolVar(&o.race, "race", false, "Build the managers with the race detector.")
	flag.BoolVar(&o.hurried, "hurried", false, "Withdraw the lease of a killed leader rather than wait for its end.")
	flag.BoolVar(&o.actions, "actions", false, "Print every action.")
	flag.Parse()
	if flag.NArg() > 0 || o.resources < 1 || o.duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64() //nolint:gosec // not a secret: it is printed
	}
	os.Exit(runCommand(o))
}

func runCommand(o options) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	broken, err := run(ctx, o)
	for _, text := range broken {
		fmt.Println("\n✗", text)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	case len(broken) > 0:
		fmt.Printf("\nchaos: %d invariants are broken; to replay: %s\n", len(broken), o.replay())
		return 1
	}
	fmt.Println("chaos: every group is as its resource says, every status is true, nothing was wasted")
	return 0
}
