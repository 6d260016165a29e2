// Gitops runs Flux's kustomize-controller against a real kube-apiserver with the operator
// and the ECS simulator, and says what it saw: that policies are applied, awaited, found
// to be stalled, left alone and pruned. There is no git and no source-controller: the
// sources are written as source-controller writes them, and their archives are served
// on the loopback interface. `make gitops` starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	key, secret = "gitops-key", "gitops-secret"
	region      = "cn-hangzhou"
	// fluxNamespace is where Flux's own resources are, and namespace where policies are.
	fluxNamespace, namespace = "flux-system", "team-a"
	// patience is how long anything may take on a slow machine.
	patience = 2 * time.Minute
)

// world is everything that a run consists of.
type world struct {
	root, controller string

	rig      *rig.Rig
	sim      *ecssim.Server
	endpoint string
	cluster  *rig.ControlPlane
	archives *archives
	flux     *rig.Process
	manager  *rig.Manager
	begun    time.Time
}

// saw prints what has been shown.
func (w *world) saw(format string, args ...any) {
	fmt.Printf("gitops: %5.1fs ✓ %s\n", time.Since(w.begun).Seconds(), fmt.Sprintf(format, args...))
}

func main() {
	rig.Prepare()
	w := &world{}
	flag.StringVar(&w.controller, "kustomize-controller", "", "The binary that hack/tools/ensure.sh kustomize-controller prints.")
	flag.Parse()
	if w.controller == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	if err := w.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop is called
	}
	fmt.Println("gitops: Flux and the operator get on")
}

func (w *world) run(ctx context.Context) (err error) {
	if w.rig, err = rig.New(ctx, "sgp-gitops-"); err != nil {
		return err
	}
	defer func() {
		if closing := w.rig.Close(); err == nil {
			err = closing
		}
	}()
	if err := w.setUp(ctx); err != nil {
		return err
	}
	w.begun = time.Now()
	for _, scene := range []func(context.Context) error{w.applyAndWait, w.applyAgain, w.approve, w.failEarly, w.prune, w.observe, w.suspend, w.uninstall} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// setUp starts all but the operator's manager.
func (w *world) setUp(ctx context.Context) (err error) {
	if w.root, err = rig.Root(ctx); err != nil {
		return err
	}
	if err := rig.Build(ctx, w.root, filepath.Join(w.rig.Dir, "manager"), nil); err != nil {
		return err
	}
	w.sim = ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: key, Secret: secret}}, Regions: []string{region}, Groups: []ecssim.Group{
		{Region: region, ID: webGroup, Policy: "Accept"}, {Region: region, ID: dataGroup, Policy: "Accept"}}})
	var stop func()
	if w.endpoint, stop, err = w.sim.Start(); err != nil {
		return err
	}
	w.rig.OnClose(func() error { w.sim.Release(); stop(); return nil })
	if w.cluster, err = w.rig.StartControlPlane(ctx, rig.ControlPlaneOptions{Root: w.root, StopTimeout: 5 * time.Second}); err != nil {
		return err
	}
	for _, name := range []string{fluxNamespace, namespace} {
		if err := w.cluster.CreateNamespace(ctx, name); err != nil {
			return err
		}
	}
	if err := installFluxCRDs(ctx, w.root, w.cluster.Config); err != nil {
		return err
	}
	if w.archives, err = serveArchives(ctx, w.rig); err != nil {
		return err
	}
	w.flux, err = w.rig.Start(ctx, rig.Program{Path: w.controller, Name: "kustomize-controller",
		Args: []string{"--metrics-addr", "0", "--health-addr", "0", "--watch-all-namespaces=true"},
		Env:  []string{"KUBECONFIG=" + w.cluster.Kubeconfig, "RUNTIME_NAMESPACE=" + fluxNamespace, "TMPDIR=" + w.rig.Dir}})
	return err
}

// installFluxCRDs installs those of the modules that the controller is built from and
// of source-controller, whose sources it watches.
func installFluxCRDs(ctx context.Context, root string, config *rest.Config) error {
	var paths []string
	for module, folder := range map[string]string{"kustomize-controller": "flux", "source-controller": filepath.Join("flux", "sources")} {
		dir, err := moduleDir(ctx, filepath.Join(root, "hack", "gitops", folder), "github.com/fluxcd/"+module)
		if err != nil {
			return err
		}
		paths = append(paths, filepath.Join(dir, "config", "crd", "bases"))
	}
	_, err := envtest.InstallCRDs(config, envtest.CRDInstallOptions{Paths: paths, ErrorIfPathMissing: true})
	return err
}

func (w *world) startManager(ctx context.Context) (err error) {
	w.manager, err = w.rig.StartManager(ctx, rig.ManagerOptions{Name: "manager", Binary: filepath.Join(w.rig.Dir, "manager"), Root: w.root,
		Kubeconfig: w.cluster.ManagerKubeconfig, Endpoint: w.endpoint, KeyID: key, Secret: secret, Args: []string{"--lend-own-credentials"}})
	if err != nil {
		return err
	}
	return w.manager.UntilReady(ctx)
}

// until asks until do succeeds. Its error has the last one of do.
func (w *world) until(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ended := w.flux.Ended(); ended != nil {
			return w.flux.Failed(ended)
		}
		if w.manager != nil && w.manager.Ended() != nil {
			return w.manager.Failed(w.manager.Ended())
		}
		if rig.Pause(ctx, 50*time.Millisecond) != nil {
			return w.flux.Failed(fmt.Errorf("%s: not within %v: %w", what, patience, err))
		}
	}
}
