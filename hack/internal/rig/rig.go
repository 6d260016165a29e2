package rig

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

const janitorName = "sgp-janitor"

// Rig is a temporary folder, and all that was started in it.
type Rig struct {
	// Dir goes away with this process, however it ends.
	Dir string

	mu   sync.Mutex
	undo []func() error
}

// New makes the folder. Close is to be called in any case.
func New(ctx context.Context, pattern string) (*Rig, error) {
	self, err := this()
	if err != nil {
		return nil, err
	}
	r := &Rig{}
	if r.Dir, err = os.MkdirTemp("", pattern); err != nil {
		return nil, err
	}
	// A process that outlives this one for a moment, and learns of its end by that of
	// its input.
	janitor := exec.CommandContext(context.WithoutCancel(ctx), self, r.Dir)
	janitor.Args[0] = janitorName
	janitor.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := janitor.StdinPipe()
	if err == nil {
		err = janitor.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.Dir))
	}
	r.OnClose(func() error {
		_ = lifeline.Close()
		return janitor.Wait()
	})
	return r, nil
}

// OnClose has something done by Close, before all that was added earlier.
func (r *Rig) OnClose(do func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.undo = append(r.undo, do)
}

// Close ends all that was started, the latest first, and removes the folder.
func (r *Rig) Close() error {
	r.mu.Lock()
	undo := r.undo
	r.undo = nil
	r.mu.Unlock()
	var errs []error
	for _, do := range slices.Backward(undo) {
		errs = append(errs, do())
	}
	return errors.Join(errs...)
}

// path is that of a file in the folder.
func (r *Rig) path(names ...string) string {
	return filepath.Join(append([]string{r.Dir}, names...)...)
}

// clean is the janitor's whole life.
func clean(dir string) error {
	// Who ends a command by its name means the janitor too, which has the same.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin)
	for tries := 0; ; tries++ {
		err := os.RemoveAll(dir)
		if err == nil || tries == 50 {
			return err
		}
		// A process that was killed a moment ago may still be writing.
		_ = Pause(context.Background(), 200*time.Millisecond)
	}
}
