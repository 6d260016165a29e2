package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ecssim/client"
)

// The simulator accepts these keys alone: the manager's own, and that of another
// account, which the ECSAccount lends.
const (
	demoKey    = "demo-key"
	demoSecret = "demo-secret"
	prodKey    = "prod-key"
	prodSecret = "prod-secret"
	// prodAccount is what Alibaba Cloud calls the account of the second key.
	prodAccount = "2000000000000002"
)

// stage is everything that runs while the demo does.
type stage struct {
	*rig.ControlPlane
	out *screen
	rig *rig.Rig

	manager   *rig.Manager
	lost      chan *rig.Process
	account   []rig.Manifest // the one that lends the manager's own keys
	samples   []sample
	simulator *client.Client
}

// setUp starts everything, in the order in which one needs the other.
func (s *stage) setUp(ctx context.Context) (err error) {
	if s.samples, err = readSamples("config/samples"); err != nil {
		return err
	}
	if s.account, err = rig.ReadManifests("config/account"); err != nil {
		return err
	}
	if s.rig, err = rig.New(ctx, "sgp-demo-"); err != nil {
		return err
	}
	s.lost = make(chan *rig.Process, 4)

	if err := s.startSimulator(ctx); err != nil {
		return err
	}
	if err := s.out.during("starting etcd and kube-apiserver", func() error { return s.startControlPlane(ctx) }); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := s.out.during("starting the manager", func() error { return s.startManager(ctx) }); err != nil {
		return err
	}
	return s.writeEnv()
}

func (s *stage) startSimulator(ctx context.Context) error {
	s.out.line("starting the ECS simulator")
	args := []string{"--addr", "127.0.0.1:0", "--access-key", demoKey + ":" + demoSecret}
	for _, sample := range s.samples {
		if sample.policy != nil && sample.policy.Name != missingGroup {
			// Accept is what ECS gives a new basic group.
			spec := sample.policy.Spec
			group := fmt.Sprintf("%s/%s=Accept", spec.RegionID, spec.SecurityGroupID)
			if sample.ofAccount() {
				group += ",account=" + prodAccount
			}
			args = append(args, "--group", group)
		}
	}
	p, err := s.rig.Start(ctx, rig.Program{Path: "bin/ecs-simulator", Args: args})
	if err != nil {
		return err
	}
	s.watch(p)
	url, err := p.FirstLine(ctx)
	if err != nil {
		return err
	}
	s.simulator = client.New(url)
	if err := s.simulator.PutKeys(ctx, ecssim.Key{ID: prodKey, Secret: prodSecret, Account: prodAccount}); err != nil {
		return err
	}
	if err := s.simulator.PutGroups(ctx, existing...); err != nil {
		return err
	}
	s.out.line("  listening on %s, the samples' groups all set to Accept", url)
	return nil
}

func (s *stage) startControlPlane(ctx context.Context) (err error) {
	if s.ControlPlane, err = s.rig.StartControlPlane(ctx, rig.ControlPlaneOptions{Root: "."}); err != nil {
		return err
	}
	s.out.line("  API server on %s, CRDs installed", s.Config.Host)
	return nil
}

func (s *stage) startManager(ctx context.Context) (err error) {
	s.manager, err = s.rig.StartManager(ctx, rig.ManagerOptions{Name: "manager", Binary: "bin/manager", Root: ".", Kubeconfig: s.ManagerKubeconfig,
		Endpoint: s.simulator.URL(), KeyID: demoKey, Secret: demoSecret, Args: []string{"--secret-namespaces", secretNamespace}})
	if err != nil {
		return err
	}
	s.watch(s.manager.Process)
	if err := s.manager.UntilReady(ctx); err != nil {
		return err
	}
	s.out.line("  ready; its log is %s", s.manager.Log)
	return nil
}

// watch tells of a process that ends.
func (s *stage) watch(p *rig.Process) {
	go func() {
		<-p.Done()
		s.lost <- p
	}()
}

// kubectl is the caller's, else the one that lies beside kube-apiserver, else
// nothing: the demo does without.
func (s *stage) kubectl() string {
	if _, err := exec.LookPath("kubectl"); err == nil {
		return "kubectl"
	}
	if path, err := exec.LookPath(filepath.Join(os.Getenv(rig.AssetsVariable), "kubectl")); err == nil {
		return path
	}
	return ""
}

// showLogs prints the end of the logs, which go away with the demo: the manager's
// and the simulator's, or every one if it did not come to a manager.
func (s *stage) showLogs() {
	names := []string{"ecs-simulator.log", "manager.log"}
	if s.manager == nil {
		names = append(names, "etcd.log", "kube-apiserver.log")
	}
	for _, name := range names {
		if lines := rig.LastLines(filepath.Join(s.rig.Dir, name), 12); len(lines) > 0 {
			s.out.plain("\nThe last lines of %s:", name)
			for _, line := range lines {
				s.out.plain("  %s", line)
			}
		}
	}
}

// takeDown ends everything, in the opposite order.
func (s *stage) takeDown() {
	if s.rig == nil {
		return
	}
	if err := s.out.patiently("stopping", s.rig.Close); err != nil {
		s.out.plain("✗ stopping: %v", err)
		return
	}
	s.out.plain("Everything that the demo started has ended.")
}
