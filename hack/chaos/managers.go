package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

const (
	leaseName = "sgp-operator"
	chaosKey  = "chaos-key"
	// chaosSecret is known to the simulator and the managers.
	chaosSecret = "chaos-secret"
	// callLimit is the managers' limit for a call to ECS.
	callLimit = 2 * time.Second
	// resync is as short as the manager allows.
	resync = 30 * time.Second
)

// manager is a place for a manager's process. It starts another one whenever one
// has ended, as a kubelet does.
type manager struct {
	name  string
	world *world
	log   string
	// said is the last line of the log that was reported: a restart loop while the
	// API server is away is worth one line.
	said string

	mu      sync.Mutex
	process *rig.Manager
	killed  bool
	// complaints are ends that neither the driver nor a lost API server explains.
	complaints []string
	done       chan struct{}
}

// startManagers starts n managers that elect a leader among them.
func (w *world) startManagers(n int) error {
	for i := range n {
		m := &manager{name: fmt.Sprintf("manager-%c", 'a'+i), world: w, done: make(chan struct{})}
		m.log = filepath.Join(w.rig.Dir, m.name+".log")
		w.managers = append(w.managers, m)
		go m.keepUp()
	}
	return nil
}

func (m *manager) keepUp() {
	defer close(m.done)
	for m.world.ctx.Err() == nil {
		if err := m.run(); err != nil {
			m.complain("cannot be run: %v", err)
			return
		}
		_ = rig.Pause(m.world.ctx, 500*time.Millisecond)
	}
}

// run is the life of one process.
func (m *manager) run() error {
	w := m.world
	p, err := w.rig.StartManager(w.ctx, rig.ManagerOptions{Name: m.name, Binary: w.binary, Root: w.root, Kubeconfig: w.cluster.ManagerKubeconfig,
		Endpoint: w.endpoint, KeyID: chaosKey, Secret: chaosSecret,
		Args: []string{"--lend-own-credentials", "--leader-elect", "--leader-election-namespace", rig.ManagerNamespace, "--leader-election-id", leaseName,
			"--ecs-timeout", callLimit.String(), "--resync-interval", resync.String(), "--ecs-qps", "200", "--ecs-burst", "200"}})
	if err != nil {
		return err
	}
	m.hold(p)
	select {
	case <-p.Done():
	case <-w.ctx.Done():
		p.Kill()
		<-p.Done()
	}
	if killed := m.hold(nil); killed || w.ctx.Err() != nil {
		return nil
	}
	last := strings.Join(rig.LastLines(m.log, 1), "")
	if last != m.said {
		w.say("%v: %s", p.Ended(), last)
		m.said = last
	}
	// What a manager must not do without, it must end without: that is the way to
	// get a fresh start. Anything else is a fault of its own.
	for _, reason := range []string{"leader election lost", "cannot be used", "does not serve", "timed out waiting for cache", "connection refused"} {
		if strings.Contains(last, reason) {
			return nil
		}
	}
	m.complain("%v: %s", p.Ended(), last)
	return nil
}

// hold takes the process that runs from now on, or none, and tells whether the
// driver has killed the one before.
func (m *manager) hold(p *rig.Manager) (killed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	killed = m.killed
	m.process, m.killed = p, false
	return killed
}

func (m *manager) complain(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complaints = append(m.complaints, m.name+" "+fmt.Sprintf(format, args...))
}

// leader waits until a manager leads.
func (w *world) leader(ctx context.Context) (*manager, error) {
	for {
		for _, m := range w.managers {
			if metrics, err := m.scrape(ctx); err == nil && metrics.Sum("leader_election_master_status", nil) == 1 {
				return m, nil
			}
		}
		if err := rig.Pause(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("no manager leads: %w", err)
		}
	}
}

// killLeader kills the manager that leads, without a word.
func (w *world) killLeader() error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	m, err := w.leader(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	if m.process != nil {
		m.killed = true
		m.process.Kill()
	}
	m.mu.Unlock()
	w.say("killed %s", m.name)
	if w.hurried {
		return w.withdrawLease(ctx)
	}
	return nil
}

// scrape reads the metrics of a manager.
func (m *manager) scrape(ctx context.Context) (rig.Metrics, error) {
	m.mu.Lock()
	p := m.process
	m.mu.Unlock()
	if p == nil {
		return rig.Metrics{}, errors.New("no process runs")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return p.Scrape(ctx)
}

// crashes finds what must never be in a manager's log.
func (m *manager) crashes() []string {
	text, err := os.ReadFile(m.log)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for line := range strings.SplitSeq(string(text), "\n") {
		for _, sign := range []string{"panic:", "fatal error:", "DATA RACE", "Observed a panic", "concurrent map"} {
			if strings.Contains(line, sign) {
				found = append(found, m.name+": "+line)
			}
		}
	}
	return found
}
