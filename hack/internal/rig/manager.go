package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root is the top folder of the checkout in which a command was started.
func Root(ctx context.Context) (string, error) {
	file, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(file))), nil
}

// Build builds the manager of a checkout, with further variables and flags for go
// build. Without any it shares what tests and linter have compiled already.
func Build(ctx context.Context, root, binary string, env []string, flags ...string) error {
	build := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", binary}, flags...), ".")...)
	build.Dir, build.Env = root, append(os.Environ(), env...)
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the manager: %w: %s", err, text)
	}
	return nil
}

// ManagerOptions say how to start a manager.
type ManagerOptions struct {
	// Name of the process and its log.
	Name, Binary string
	// Root is the checkout whose config/manager has the environment.
	Root       string
	Kubeconfig string
	// Endpoint of ECS and STS, and the key for it.
	Endpoint, KeyID, Secret string
	// Args are further flags.
	Args []string
}

// Manager is a manager's process. Everything that it serves, it serves on addresses
// of its own on the loopback interface.
type Manager struct {
	*Process

	metrics, probes, pprof string
}

// StartManager starts a manager, and does not wait until it is ready.
func (r *Rig) StartManager(ctx context.Context, o ManagerOptions) (*Manager, error) {
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	env, err := installedEnvironment(o.Root)
	if err != nil {
		return nil, err
	}
	m := &Manager{metrics: addresses[0], probes: addresses[1], pprof: addresses[2]}
	m.Process, err = r.Start(ctx, Program{Name: o.Name, Path: o.Binary,
		Args: append([]string{"--kubeconfig", o.Kubeconfig, "--ecs-endpoint", o.Endpoint, "--sts-endpoint", o.Endpoint,
			"--metrics-bind-address", m.metrics, "--metrics-secure=false", "--health-probe-bind-address", m.probes,
			"--pprof-bind-address", m.pprof}, o.Args...),
		Env: append(env, "ALIBABA_CLOUD_ACCESS_KEY_ID="+o.KeyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET="+o.Secret)})
	return m, err
}

// UntilReady waits until the manager's caches are synced.
func (m *Manager) UntilReady(ctx context.Context) error {
	return m.Until(ctx, func(ctx context.Context) error {
		_, err := Get(ctx, "http://"+m.probes+"/readyz")
		return err
	})
}

// MetricsAddress is where the manager serves its metrics, by HTTP.
func (m *Manager) MetricsAddress() string { return m.metrics }

// Scrape reads the manager's metrics.
func (m *Manager) Scrape(ctx context.Context) (Metrics, error) {
	text, err := Get(ctx, "http://"+m.metrics+"/metrics")
	if err != nil {
		return Metrics{}, err
	}
	return ParseMetrics(text)
}

// Profile reads a page of the manager's net/http/pprof, such as heap?gc=1.
func (m *Manager) Profile(ctx context.Context, page string) ([]byte, error) {
	body, err := Get(ctx, "http://"+m.pprof+"/debug/pprof/"+page)
	if err != nil {
		return nil, m.Failed(err)
	}
	return body, nil
}

// Footprint is what a manager holds, in bytes: live memory after a garbage
// collection, and what it has resident at the moment.
type Footprint struct{ Heap, RSS float64 }

// Footprint has the manager collect its garbage first.
func (m *Manager) Footprint(ctx context.Context) (f Footprint, err error) {
	// Twice, since finalizers free some only for the second.
	for range 2 {
		if _, err := m.Profile(ctx, "heap?gc=1"); err != nil {
			return f, err
		}
	}
	metrics, err := m.Scrape(ctx)
	if err != nil {
		return f, m.Failed(err)
	}
	if f.Heap, err = metrics.Value(HeapBytes); err != nil {
		return f, err
	}
	f.RSS, err = metrics.Value(ResidentBytes)
	return f, err
}
