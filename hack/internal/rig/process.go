package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopDeadline is how long a process may take to end of itself.
const stopDeadline = 20 * time.Second

// Program says what to start.
type Program struct {
	// Name of the process and of its log; that of the binary if empty.
	Name string
	Path string
	Args []string
	// Env is added to the Environment.
	Env []string
}

// Process is a child that ends with this process, however this one ends.
type Process struct {
	Name string
	// Log is the file that holds what it has printed.
	Log   string
	Begun time.Time

	cmd  *exec.Cmd
	done chan struct{}
	exit error
}

// Start starts a program in a process group of its own, so that a Ctrl-C of the
// terminal reaches its parent alone, which decides what stops when. The end of the
// context does not end it. A log of that name is appended to.
func (r *Rig) Start(ctx context.Context, p Program) (*Process, error) {
	if p.Name == "" {
		p.Name = filepath.Base(p.Path)
	}
	c := &Process{Name: p.Name, Log: r.path(p.Name + ".log"), Begun: time.Now(), done: make(chan struct{})}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	c.cmd = exec.CommandContext(context.WithoutCancel(ctx), p.Path, p.Args...)
	c.cmd.Env = Environment(append([]string{"HOME=" + r.Dir}, p.Env...)...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = tied()
	started := make(chan error)
	go func() {
		// A tied process dies with the thread that has started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if c.exit = c.cmd.Wait(); c.exit == nil {
			c.exit = errors.New("exit status 0")
		}
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	r.OnClose(func() error { c.Stop(); return nil })
	return c, nil
}

// Environment is this process's own without what could lead a child to a real
// cloud account, another cluster or a proxy, or change how a Go program runs.
func Environment(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(e), "=")
		switch {
		case strings.HasPrefix(name, "ALIBABA_CLOUD_"), strings.HasSuffix(name, "_PROXY"):
			continue
		}
		switch name {
		case "KUBECONFIG", "DEBUG", "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG":
			continue
		}
		env = append(env, e)
	}
	return append(env, more...)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended is nil while the process runs, and then why it does not: never nil, since
// none of them should end by itself.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %w", p.Name, p.exit)
	default:
		return nil
	}
}

// Stop ends the process and whatever it has started, if it runs.
func (p *Process) Stop() {
	if p.Ended() != nil {
		return
	}
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	deadline := time.NewTimer(stopDeadline)
	defer deadline.Stop()
	select {
	case <-p.done:
	case <-deadline.C:
	}
	p.Kill()
	<-p.done
}

// Kill ends them without a word, and does not wait for that.
func (p *Process) Kill() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// PeakRSS is the most memory that the process ever had resident, in bytes. It waits
// for its end.
func (p *Process) PeakRSS() float64 {
	<-p.done
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(usage.Maxrss) * maxrssUnit
}

// CPU is the processor time that the process has used. It waits for its end.
func (p *Process) CPU() time.Duration {
	<-p.done
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// RSS is the memory that the process has resident in bytes, where /proc tells it.
func (p *Process) RSS() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var all, resident float64 // in pages
	_, err = fmt.Sscan(string(text), &all, &resident)
	return resident * float64(os.Getpagesize()), err
}

// Until asks until do succeeds, the process ends or a minute is over. Its error
// ends with what the process has printed last.
func (p *Process) Until(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		wait := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			return p.Failed(fmt.Errorf("%w: %w", ctx.Err(), err))
		case <-p.done:
			return p.Failed(fmt.Errorf("ended by itself (%w): %w", p.exit, err))
		case <-wait.C:
		}
	}
}

// FirstLine waits for the first line that the process prints.
func (p *Process) FirstLine(ctx context.Context) (line string, err error) {
	err = p.Until(ctx, func(context.Context) error {
		text, err := os.ReadFile(p.Log)
		if err != nil {
			return err
		}
		var whole bool
		if line, _, whole = strings.Cut(string(text), "\n"); !whole {
			return errors.New("it has printed no line yet")
		}
		return nil
	})
	return line, err
}

// Failed tells why the process is not what it should be, with the end of its log.
func (p *Process) Failed(err error) error {
	return fmt.Errorf("%s: %w; its log ends with: %s", p.Name, err, strings.Join(LastLines(p.Log, 3), " | "))
}

// LastLines of a file, for a reader who wants to know what went wrong: none if it is
// not there.
func LastLines(path string, n int) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[max(0, len(lines)-n):]
}
