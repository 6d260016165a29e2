package securitygrouppolicy

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// story is one sequence in the explored world: one manager with the real reconciler, and
// one resource r0 of a group that is Accept, which declares Drop and Restore. All that is
// not told goes as it should, and the invariants of the exploration hold at each step.
type story struct {
	*testing.T

	s *state
	// observed and sent count the calls to the cloud.
	observed, sent int
}

func newStory(t *testing.T) *story {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	const many = 1_000_000
	s := setting{resources: 1, managers: 1, total: many}.start()
	s.left = budgets{total: many, edit: many, remove: many, create: many, stale: many, timeout: many, refuse: many, lose: many,
		outsider: many, crash: many, parameter: many}
	return &story{T: t, s: s}
}

// after carries out a step, and holds it against the invariants.
func (w *story) after(t step) {
	w.Helper()
	switch {
	case strings.Contains(t.label, ": "+observeCall):
		w.observed++
	case strings.Contains(t.label, ": "+modifyCall):
		w.sent++
	}
	if w.s = w.s.take(t); w.s.ledger.broken != "" {
		w.Fatalf("%s\n%s\n%s", w.s.ledger.broken, w.s.path(), w.s.describe())
	}
}

// take carries out the step that a label names, with or without who takes it.
func (w *story) take(label string) {
	w.Helper()
	var possible []string
	for _, t := range w.s.steps() {
		if t.label == label || strings.HasSuffix(t.label, ": "+label) {
			w.after(t)
			return
		}
		possible = append(possible, t.label)
	}
	w.Fatalf("%q cannot happen now, but:\n%s\nafter\n%s\n%s", label, strings.Join(possible, "\n"), w.s.path(), w.s.describe())
}

// do has something happen that is no step of the exploration.
func (w *story) do(label string, what func(*state)) {
	w.Helper()
	w.after(step{label: label, do: what})
}

// goOn lets the manager make its next request, if it has something to do.
func (w *story) goOn() bool {
	w.Helper()
	for _, t := range w.s.steps() {
		if t.actor != "" && t.spend == nil {
			w.after(t)
			return true
		}
	}
	return false
}

// settle lets the manager do all that is due.
func (w *story) settle() {
	w.Helper()
	for range 1000 {
		if !w.goOn() {
			return
		}
	}
	w.Fatalf("not settled after 1000 steps:\n%s", w.s.path())
}

// pass lets time pass, and the manager do what becomes due meanwhile.
func (w *story) pass(d time.Duration) {
	w.Helper()
	end := w.s.now.Add(d)
	for {
		w.settle()
		next, due := w.s.nextMoment()
		if !due || next.After(end) {
			break
		}
		w.at(next)
	}
	w.at(end)
	w.settle()
}

// at sets the time.
func (w *story) at(t time.Time) {
	w.Helper()
	w.do("(time)", func(c *state) { c.now = t; c.settleTime() })
}

// asks lets the manager go on until it makes a request of a kind, which waits for its
// answer.
func (w *story) asks(kind string) *request {
	w.Helper()
	for range 1000 {
		if run := w.s.managers[0].runs[0]; run != nil && run.next.kind == kind {
			return run.next
		}
		if w.goOn() {
			continue
		}
		next, due := w.s.nextMoment()
		if !due {
			break
		}
		w.at(next)
	}
	w.Fatalf("nobody asks to %s:\n%s\n%s", kind, w.s.path(), w.s.describe())
	return nil
}

// answer answers the request that waits.
func (w *story) answer(a *answer) {
	w.Helper()
	w.do("r0: "+w.s.managers[0].runs[0].next.kind+" is answered", func(c *state) { c.reply(0, 0, a) })
}

// p is r0 as the API server has it.
func (w *story) p() *sgp {
	w.Helper()
	p := w.s.policies[0].newest()
	if p == nil {
		w.Fatalf("r0 is gone:\n%s\n%s", w.s.path(), w.s.describe())
	}
	return p
}

func (w *story) ready() *metav1.Condition {
	w.Helper()
	ready := apimeta.FindStatusCondition(w.p().Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return &metav1.Condition{}
	}
	return ready
}

func (w *story) isReady(want bool) {
	w.Helper()
	p := w.p()
	is := w.ready().Status == metav1.ConditionTrue && p.Status.ObservedGeneration == p.Generation
	if is != want {
		w.Fatalf("Ready %v, want %v:\n%s\n%s", is, want, w.s.path(), w.s.describe())
	}
}

// isGone says that r0 was let go, and what its group is.
func (w *story) isGone(value string) {
	w.Helper()
	if w.s.policies[0].newest() != nil {
		w.Fatalf("r0 is not let go:\n%s\n%s", w.s.path(), w.s.describe())
	}
	w.cloudIs(value)
}

func (w *story) cloudIs(value string) {
	w.Helper()
	if w.s.cloud.value != value {
		w.Fatalf("the group is %s, want %s:\n%s\n%s", w.s.cloud.value, value, w.s.path(), w.s.describe())
	}
}

// written is a write to the resource that leaves its spec as it is.
func (w *story) written(label string, change func(*sgp)) {
	w.Helper()
	w.do(label, func(c *state) {
		p := c.policies[0].newest().DeepCopy()
		change(p)
		c.putPolicy(0, p)
	})
}

// remembered is what the manager remembers of a resource.
func (w *story) remembered(uid types.UID) (entry, bool) {
	e, known := w.s.managers[0].entries[uid]
	return e, known
}
