// Command ecs-simulator serves package ecssim on an address, for demos,
// benchmarks and experiments by hand. See docs/simulator.md.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// callLog keeps a command that runs for days from growing.
const callLog = 10000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "ecs-simulator:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "ecs-simulator:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The base URL is the first line on stdout.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	server := ecssim.New(c.options)
	server.SetLimits(c.limits)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.addr)
	if err != nil {
		return fmt.Errorf("--addr %s: %w; choose another port, or 0 for a free one", c.addr, err)
	}
	scheme, address := "http", listener.Addr()
	if c.tlsCert != "" {
		cert, certPEM, err := ecssim.SelfSigned(time.Now())
		if err == nil {
			err = os.WriteFile(c.tlsCert, certPEM, 0o600)
		}
		if err != nil {
			return fmt.Errorf("--tls-cert: %w", errors.Join(err, listener.Close()))
		}
		scheme = "https"
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	}
	if _, err := fmt.Fprintf(stdout, "%s://%s\n", scheme, address); err != nil {
		return fmt.Errorf("print the address: %w", errors.Join(err, listener.Close()))
	}
	httpServer := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- httpServer.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	server.ClearFaults()
	server.Release()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := httpServer.Shutdown(end); err != nil {
		return fmt.Errorf("stop: %w", errors.Join(err, httpServer.Close()))
	}
	return nil
}
