package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// manager is the process that is measured.
type manager struct {
	*rig.Manager

	mu      sync.Mutex
	samples []sample
}

// sample is how a manager stood at a moment.
type sample struct {
	At  time.Time
	RSS float64
}

// startManager starts one and waits until its caches are synced.
func (w *world) startManager(ctx context.Context, name string, resync time.Duration) (*manager, error) {
	lending, err := lendingFlag(ctx, w.manager)
	if err != nil {
		return nil, err
	}
	process, err := w.rig.StartManager(ctx, rig.ManagerOptions{Name: name, Binary: w.manager, Root: w.root, Kubeconfig: w.cluster.ManagerKubeconfig,
		Endpoint: w.sim.URL(), KeyID: benchKey, Secret: benchSecret,
		Args: append(lending, "--ecs-qps", strconv.FormatFloat(w.qps, 'f', -1, 64), "--ecs-burst", strconv.Itoa(w.burst),
			"--max-concurrent-reconciles", strconv.Itoa(w.workers), "--resync-interval", resync.String())})
	if err != nil {
		return nil, err
	}
	m := &manager{Manager: process}
	w.managers = append(w.managers, m)
	err = m.UntilReady(ctx)
	go m.watchMemory()
	return m, err
}

// lendingFlag has a manager lend its own credentials. One of a commit that does not know
// the flag does so anyway.
func lendingFlag(ctx context.Context, binary string) ([]string, error) {
	const flag = "lend-own-credentials"
	help, err := exec.CommandContext(ctx, binary, "--help").Output()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s --help: %w", binary, err)
	case !strings.Contains(string(help), flag):
		return nil, nil
	}
	return []string{"--" + flag}, nil
}

// watchMemory samples the resident memory for the plot, where the system tells it.
func (m *manager) watchMemory() {
	ticks := time.NewTicker(500 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-m.Done():
			return
		case <-ticks.C:
		}
		rss, err := m.RSS()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.samples = append(m.samples, sample{time.Now(), rss})
		m.mu.Unlock()
	}
}

// peak is the most resident memory that was sampled from a time on.
func (m *manager) peak(since time.Time) (most float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.samples {
		if !s.At.Before(since) {
			most = max(most, s.RSS)
		}
	}
	return most
}

// profile fetches a profile and returns the head of `go tool pprof -top`.
func (m *manager) profile(ctx context.Context, page string, flags ...string) (string, error) {
	body, err := m.Profile(ctx, page)
	if err != nil {
		return "", err
	}
	kind, _, _ := strings.Cut(page, "?")
	path := filepath.Join(filepath.Dir(m.Log), kind+".pprof")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		return "", err
	}
	args := append(append([]string{"tool", "pprof", "-top", "-nodecount=45"}, flags...), path)
	text, err := exec.CommandContext(ctx, "go", args...).Output()
	return string(text), err
}
