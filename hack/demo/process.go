package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	assetsVariable = "SGP_DEMO_ASSETS"
	janitorName    = "sgp-demo-janitor"
)

// child is a process that ends with the demo.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	// exit is why it ended, once done is closed.
	exit error
}

// startChild starts a program in a process group of its own, so that a Ctrl-C of
// the terminal reaches the demo alone and the demo decides what stops when.
func startChild(ctx context.Context, dir, path string, env []string, args ...string) (*child, error) {
	name := filepath.Base(path)
	c := &child{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()

	c.cmd = exec.CommandContext(context.WithoutCancel(ctx), path, args...)
	c.cmd.Env = env
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = tied()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.exit = c.cmd.Wait()
		if c.exit == nil {
			c.exit = errors.New("exit status 0")
		}
		close(c.done)
	}()
	return c, nil
}

// stop ends the child and whatever it has started.
func (c *child) stop() {
	group := -c.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-c.done
}

// firstLog waits until the log holds what pick finds in it.
func (c *child) firstLog(ctx context.Context, pick func(string) string) (string, error) {
	for {
		text, err := os.ReadFile(c.log)
		if err != nil {
			return "", err
		}
		if found := pick(string(text)); found != "" {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-c.done:
			return "", fmt.Errorf("%s ended by itself: %w", c.name, c.exit)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lastLines of a file, for a reader who wants to know what went wrong.
func lastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var lines []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
		if len(lines) > n {
			lines = lines[1:]
		}
	}
	return lines
}

// environment is the demo's own without what could lead a child to a real cloud
// account, another cluster or a proxy.
func environment(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		name := strings.ToUpper(e[:strings.IndexByte(e+"=", '=')])
		if strings.HasPrefix(name, "ALIBABA_CLOUD_") || strings.HasSuffix(name, "_PROXY") || name == "KUBECONFIG" {
			continue
		}
		env = append(env, e)
	}
	return append(env, more...)
}

// becomeTied replaces this process by the named binary of the control plane,
// which then dies with the demo.
func becomeTied(name string) error {
	// The tie is a property of the thread that goes on to be the new program.
	runtime.LockOSThread()
	if err := dieWithParent(syscall.SIGKILL); err != nil {
		return err
	}
	return syscall.Exec(filepath.Join(os.Getenv(assetsVariable), name), os.Args, os.Environ())
}

// startJanitor starts a process that outlives the demo for a moment, to remove
// the folder however the demo ends. The returned function tells it to.
func startJanitor(ctx context.Context, dir string) (func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, dir)
	cmd.Args[0] = janitorName
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = lifeline.Close()
		_ = cmd.Wait()
	}, nil
}

// clean is the janitor's whole life: its input ends when the demo does.
func clean(dir string) error {
	_, _ = io.Copy(io.Discard, os.Stdin)
	var err error
	// A process that was killed a moment ago may still be writing.
	for range 50 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}
