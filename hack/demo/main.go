// Demo brings up a real kube-apiserver and etcd, the ECS simulator and the
// manager on this machine, imports groups, applies config/account and config/samples, and shows line by
// line what the operator does with them. It is started by `make demo`.
//
// It stays up until it is interrupted. With DEMO_ONCE=1 it leaves after the tour,
// with exit code 0 if everything happened as it should and 1 if not.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

func main() {
	rig.Prepare()
	os.Exit(run())
}

// once tells whether the demo leaves after the tour.
func once() bool { return os.Getenv("DEMO_ONCE") == "1" }

// run returns the exit code.
func run() int {
	// A closed pipe (`make demo | head`) is one more way to be told to stop.
	ctx, stop := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	rig.EndWithMake()
	// What envtest and the client have to say is not part of the show.
	ctrl.SetLogger(zap.New(zap.WriteTo(io.Discard)))

	out := newScreen(os.Stdout)
	s := &stage{out: out}
	defer s.takeDown()

	out.plain("sgp-operator demo. Everything runs on this machine; nothing reaches Alibaba Cloud.")
	err := s.setUp(ctx)
	if err == nil {
		err = play(ctx, s)
	}

	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && !errors.Is(err, errTour):
		out.plain("\nInterrupted.")
		return 130
	default:
		out.plain("\n✗ %v", err)
		if !errors.Is(err, errTour) || once() {
			s.showLogs()
		}
		return 1
	}
}

// play takes the tour, and then stays if it is not told otherwise.
func play(interrupted context.Context, s *stage) error {
	ctx, cancel := context.WithCancelCause(interrupted)
	defer cancel(nil)
	go func() {
		select {
		case c := <-s.lost:
			cancel(c.Ended())
		case <-ctx.Done():
		}
	}()

	t, err := newTour(ctx, s)
	if err != nil {
		return err
	}
	err = t.take(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.summary(ctx)
	if once() || (err != nil && !errors.Is(err, errTour)) {
		return err
	}

	t.howToLook()
	<-ctx.Done()
	if interrupted.Err() == nil {
		return context.Cause(ctx)
	}
	return err
}
