package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// manager is the process that is measured.
type manager struct {
	*child
	metrics, pprof string
	begun          time.Time

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
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	m := &manager{metrics: "http://" + addresses[0] + "/metrics", pprof: "http://" + addresses[1] + "/debug/pprof/", begun: time.Now()}
	var err error
	m.child, err = startChild(ctx, w.dir, name, w.manager,
		[]string{"ALIBABA_CLOUD_ACCESS_KEY_ID=" + benchKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + benchSecret},
		"--kubeconfig", w.cluster.kubeconfig, "--ecs-endpoint", w.sim.url, "--sts-endpoint", w.sim.url,
		"--ecs-qps", strconv.FormatFloat(w.qps, 'f', -1, 64), "--ecs-burst", strconv.Itoa(w.burst),
		"--max-concurrent-reconciles", strconv.Itoa(w.workers), "--resync-interval", resync.String(),
		"--metrics-bind-address", addresses[0], "--metrics-secure=false", "--pprof-bind-address", addresses[1],
		"--health-probe-bind-address", addresses[2])
	if err != nil {
		return nil, err
	}
	w.managers = append(w.managers, m)
	err = m.until(ctx, func() error {
		_, err := get(ctx, "http://"+addresses[2]+"/readyz", nil)
		return err
	})
	go m.watchMemory()
	return m, err
}

// used is what the manager has used up so far: processor time in seconds, and
// passes over resources.
type used struct{ CPU, Passes float64 }

func (u used) minus(v used) used { return used{u.CPU - v.CPU, u.Passes - v.Passes} }

func (m *manager) used(ctx context.Context) (u used, err error) {
	if u.CPU, err = m.metric(ctx, "process_cpu_seconds_total"); err != nil {
		return u, err
	}
	// A manager is ready a moment before its controllers start, and counts then.
	u.Passes, err = m.metric(ctx, `controller_runtime_reconcile_total{controller="securitygrouppolicy"`)
	if errors.Is(err, errNoMetric) {
		err = nil
	}
	return u, err
}

var errNoMetric = errors.New("no such metric is served")

// metric reads a metric by the beginning of its line; those with further labels
// are added up.
func (m *manager) metric(ctx context.Context, name string) (sum float64, err error) {
	body, err := get(ctx, m.metrics, nil)
	if err != nil {
		return 0, m.failed(err)
	}
	found := false
	for line := range strings.SplitSeq(string(body), "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || !strings.Contains(" ,{", rest[:1]) {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("%s: %s: %w", m.metrics, name, errNoMetric)
	}
	return sum, nil
}

// footprint is what the manager holds: live memory after a garbage collection,
// and what it has resident at the moment.
type footprint struct{ Heap, RSS float64 }

func (m *manager) footprint(ctx context.Context) (f footprint, err error) {
	// Twice, since finalizers free some only for the second.
	for range 2 {
		if _, err := get(ctx, m.pprof+"heap?gc=1", nil); err != nil {
			return f, m.failed(err)
		}
	}
	if f.Heap, err = m.metric(ctx, "go_memstats_heap_alloc_bytes"); err != nil {
		return f, err
	}
	f.RSS, err = m.metric(ctx, "process_resident_memory_bytes")
	return f, err
}

// watchMemory samples the resident memory for the plot, where /proc tells it.
func (m *manager) watchMemory() {
	page := float64(os.Getpagesize())
	ticks := time.NewTicker(500 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-m.done:
			return
		case <-ticks.C:
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", m.cmd.Process.Pid))
		if err != nil {
			return
		}
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseFloat(fields[1], 64)
			m.mu.Lock()
			m.samples = append(m.samples, sample{time.Now(), pages * page})
			m.mu.Unlock()
		}
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
	body, err := get(ctx, m.pprof+page, nil)
	if err != nil {
		return "", m.failed(err)
	}
	kind, _, _ := strings.Cut(page, "?")
	path := filepath.Join(filepath.Dir(m.log), kind+".pprof")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		return "", err
	}
	args := append(append([]string{"tool", "pprof", "-top", "-nodecount=45"}, flags...), path)
	text, err := exec.CommandContext(ctx, "go", args...).Output()
	return string(text), err
}
