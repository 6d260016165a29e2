package logging

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// logger is the manager's, with and without lazy values.
func logger(w *strings.Builder, lazy bool) logr.Logger {
	o := []zap.Opts{zap.WriteTo(w)}
	if lazy {
		o = append(o, zap.RawZapOpts(Lazily()))
	}
	return zap.New(o...)
}

// TestLinesAreTheSame writes the same with and without: nothing is lost, doubled or
// told of another pass.
func TestLinesAreTheSame(t *testing.T) {
	var lines [2]string
	for i, lazy := range []bool{false, true} {
		out := &strings.Builder{}
		root := logger(out, lazy).WithName("controller").WithValues("controller", "securitygrouppolicy")
		one, other := root.WithValues("name", "one"), root.WithValues("name", "other")
		one.Info("Changed", "from", "Accept", "to", "Drop")
		other.WithValues("reconcileID", "2").Error(errors.New("it broke"), "Reconciler error")
		one.V(1).Info("not at this level")
		root.Info("the end")
		for line := range strings.Lines(out.String()) {
			// The time differs, and the trace of an error says where it was logged.
			_, line, _ = strings.Cut(line, `"logger"`)
			line, _, _ = strings.Cut(line, `,"stacktrace"`)
			lines[i] += strings.TrimSpace(line) + "\n"
		}
	}
	if lines[0] != lines[1] || strings.Count(lines[1], "\n") < 3 {
		t.Errorf("eager:\n%slazy:\n%s", lines[0], lines[1])
	}
	if !strings.Contains(lines[1], `"name":"one","from":"Accept"`) {
		t.Errorf("values are missing: %s", lines[1])
	}
}

// TestASilentPassEncodesNothing is what the package is for.
func TestASilentPassEncodesNothing(t *testing.T) {
	encoded := 0
	value := zapcore.ObjectMarshalerFunc(func(zapcore.ObjectEncoder) error { encoded++; return nil })
	l := logger(&strings.Builder{}, true).WithValues("value", value).WithValues("reconcileID", "1")
	if l.V(1).Info("silent"); encoded > 0 {
		t.Errorf("encoded %d times for no line", encoded)
	}
	if l.Info("not silent"); encoded != 1 {
		t.Errorf("encoded %d times for one line", encoded)
	}
}
