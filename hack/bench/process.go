package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// child is a process that ends with the bench.
type child struct {
	cmd  *exec.Cmd
	name string
	log  string
	done chan struct{}
}

// startChild starts a program. Nothing of the caller's environment may lead it
// to a real cloud or cluster.
func startChild(ctx context.Context, dir, name, path string, env []string, args ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	c.cmd = exec.CommandContext(context.WithoutCancel(ctx), path, args...)
	c.cmd.Env = append(env, "HOME="+dir)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = tied()
	started := make(chan error)
	go func() {
		// A tied process dies with the thread that has started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait()
			close(c.done)
		}
	}()
	return c, <-started
}

// stop ends the child and returns the most memory that it ever had resident.
func (c *child) stop() (peak float64) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	if usage, ok := c.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		peak = float64(usage.Maxrss) * maxrssUnit
	}
	return peak
}

// failed tells why the child is not what it should be, with the end of its log.
func (c *child) failed(err error) error {
	text, _ := os.ReadFile(c.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%s: %w; its log ends with: %s", c.name, err, strings.Join(lines[max(0, len(lines)-3):], " | "))
}

// until asks again and again until do succeeds.
func (c *child) until(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return c.failed(fmt.Errorf("%w: %w", ctx.Err(), err))
		case <-c.done:
			return c.failed(fmt.Errorf("ended by itself (%v): %w", c.cmd.ProcessState, err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get fetches a page, into a JSON value if there is one to decode into.
func get(ctx context.Context, url string, into any) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GET %s: %s", url, response.Status)
	case into != nil:
		return body, json.Unmarshal(body, into)
	}
	return body, nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// pause waits, unless the run is over.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
