package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
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
	name    string
	world   *world
	metrics string
	log     string
	// said is the last line of the log that was reported: a restart loop while the
	// API server is away is worth one line.
	said string

	mu      sync.Mutex
	process *os.Process
	killed  bool
	// complaints are ends that neither the driver nor a lost API server explains.
	complaints []string
	done       chan struct{}
}

// startManagers starts n managers that elect a leader among them.
func (w *world) startManagers(n int) error {
	for i := range n {
		address, err := freeAddress(w.ctx)
		if err != nil {
			return err
		}
		m := &manager{name: fmt.Sprintf("manager-%c", 'a'+i), world: w, metrics: address, done: make(chan struct{})}
		m.log = filepath.Join(w.dir, m.name+".log")
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
		_ = pause(m.world.ctx, 500*time.Millisecond)
	}
}

// run is the life of one process.
func (m *manager) run() error {
	probes, err := freeAddress(m.world.ctx)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(m.world.ctx, m.world.binary,
		"--kubeconfig", m.world.cluster.kubeconfig, "--ecs-endpoint", m.world.endpoint, "--sts-endpoint", m.world.endpoint,
		"--leader-elect", "--leader-election-namespace", namespace, "--leader-election-id", leaseName,
		"--ecs-timeout", callLimit.String(), "--resync-interval", resync.String(), "--ecs-qps", "200", "--ecs-burst", "200",
		"--metrics-bind-address", m.metrics, "--metrics-secure=false", "--health-probe-bind-address", probes)
	// Nothing of the caller's environment may lead it to a real cloud or cluster.
	cmd.Env = []string{"ALIBABA_CLOUD_ACCESS_KEY_ID=" + chaosKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + chaosSecret, "HOME=" + m.world.dir}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = tied()
	// The thread that starts a tied process must outlive it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	m.mu.Lock()
	m.process, m.killed = cmd.Process, false
	m.mu.Unlock()
	err = cmd.Wait()
	m.mu.Lock()
	m.process = nil
	killed := m.killed
	m.mu.Unlock()
	if killed || m.world.ctx.Err() != nil {
		return nil
	}
	last := lastLine(m.log)
	if last != m.said {
		m.world.say("%s ended by itself (%v): %s", m.name, err, last)
		m.said = last
	}
	// What a manager must not do without, it must end without: that is the way to
	// get a fresh start. Anything else is a fault of its own.
	for _, reason := range []string{"leader election lost", "cannot be used", "does not serve", "timed out waiting for cache", "connection refused"} {
		if strings.Contains(last, reason) {
			return nil
		}
	}
	m.complain("ended by itself (%v): %s", err, last)
	return nil
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
			if values, err := m.scrape(ctx); err == nil && values["leader_election_master_status"] == 1 {
				return m, nil
			}
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
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
		err = m.process.Signal(syscall.SIGKILL)
	}
	m.mu.Unlock()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	w.say("killed %s", m.name)
	if w.hurried {
		return w.cluster.withdrawLease(ctx)
	}
	return nil
}

// scrape reads the metrics of a manager; those with labels are added up.
func (m *manager) scrape(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	// A connection that is kept would be a goroutine or two of the manager's.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	values := map[string]float64{}
	scanner := bufio.NewScanner(io.LimitReader(response.Body, 16<<20))
	for scanner.Scan() {
		name, rest, labelled := strings.Cut(scanner.Text(), "{")
		if labelled {
			_, rest, _ = strings.Cut(rest, "} ")
		} else {
			name, rest, _ = strings.Cut(name, " ")
		}
		if value, err := strconv.ParseFloat(rest, 64); err == nil && !strings.HasPrefix(name, "#") {
			values[name] += value
		}
	}
	return values, scanner.Err()
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
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
