package securitygrouppolicy

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// newRollbackStory is a story of a resource that declares Drop, with rollbackAfter.
func newRollbackStory(t *testing.T) *story {
	t.Helper()
	w := newStory(t)
	left := w.s.left
	w.s = setting{resources: 1, managers: 1, total: left.total, rollbackAfter: 3 * time.Minute}.start()
	w.s.left, w.s.left.confirm = left, left.total
	return w
}

func TestAConfirmationIsOneOfItsOwnChangeOnly(t *testing.T) {
	w := newRollbackStory(t)
	w.settle()
	w.take("r0 is confirmed")
	w.pass(time.Minute)
	w.take("somebody else sets Accept")
	w.take("r0 is edited: Accept")
	w.settle()
	w.isReady(true) // without a change
	w.pass(time.Minute)
	w.take("r0 is edited: Drop")
	w.settle()
	w.cloudIs(ecs.Drop)
	if b := w.p().Status.Rollback; b == nil || b.Confirmed || b.Generation != w.p().Generation {
		t.Errorf("the change that nobody has confirmed is not put back: %+v", b)
	}
	w.pass(4 * time.Minute)
	w.cloudIs(ecs.Accept)
}

func TestWhatTheSpecUndoesIsEnforcedThoughARollbackWasUnderWay(t *testing.T) {
	w := newRollbackStory(t)
	w.settle()
	w.asks(modifyCall) // the rollback
	w.take("modify to Accept: done, and the answer is lost")
	w.take("r0 is edited: Accept")
	w.settle()
	w.isReady(true)
	if b := w.p().Status.Rollback; b != nil {
		t.Errorf("%+v", b)
	}
	w.pass(policy.Doubt)
	w.take("somebody else sets Drop")
	w.pass(2 * resync)
	w.cloudIs(ecs.Accept)
	w.isReady(true)
}

// newUndoneStory is of a guarded cluster and a resource that wants Accept, after somebody else
// has undone its confirmed change to Drop.
func newUndoneStory(t *testing.T) *story {
	t.Helper()
	w := newRollbackStory(t)
	w.s.guarded, w.s.left.nodes, w.s.left.approve = true, w.s.left.total, w.s.left.total
	w.settle()
	w.take("r0 is confirmed")
	w.pass(time.Minute)
	w.take("somebody else sets Accept")
	w.take("r0 is edited: Accept")
	w.pass(time.Minute)
	return w
}

func TestWhatHadNoEffectIsNotPutBack(t *testing.T) {
	w := newUndoneStory(t)
	w.take("r0 is edited: Drop")
	w.asks(modifyCall)
	w.take("modify to Drop: never arrives")
	w.take("nodes in the group: true")
	w.pass(10 * time.Minute)
	if reason := w.ready().Reason; reason != v1alpha1.ReasonApprovalRequired {
		t.Errorf("%s: %+v", reason, w.p().Status.Rollback)
	}
	w.take("r0 is approved")
	w.settle()
	w.cloudIs(ecs.Drop)
	w.pass(4 * time.Minute)
	w.cloudIs(ecs.Accept)
	if reason := w.ready().Reason; reason != v1alpha1.ReasonRolledBack {
		t.Errorf("%s: %+v", reason, w.p().Status.Rollback)
	}
}

// TestAChangeThatHadToWaitIsPutBackAsWell is of a change to what this resource has set once,
// and somebody else has undone since.
func TestAChangeThatHadToWaitIsPutBackAsWell(t *testing.T) {
	for name, wait := range map[string]func(*story){
		"held until it is approved": func(w *story) {
			w.take("nodes in the group: true")
			w.take("r0 is edited: Drop")
			w.pass(20 * time.Minute)
			if reason := w.ready().Reason; reason != v1alpha1.ReasonApprovalRequired {
				t.Errorf("%s: %+v", reason, w.p().Status.Rollback)
			}
			written := w.p().ResourceVersion
			w.pass(time.Hour)
			if now := w.p().ResourceVersion; now != written {
				t.Errorf("the status was written meanwhile: %s, %s", written, now)
			}
			w.take("r0 is approved")
		},
		"refused once": func(w *story) {
			w.take("r0 is edited: Drop")
			w.asks(modifyCall)
			w.take("modify to Drop: refused")
			w.pass(20 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newUndoneStory(t)
			wait(w)
			w.settle()
			w.pass(4 * time.Minute)
			w.cloudIs(ecs.Accept)
			if reason := w.ready().Reason; reason != v1alpha1.ReasonRolledBack {
				t.Errorf("%s: %+v", reason, w.p().Status.Rollback)
			}
		})
	}
}

// The change was written down before the spec asked for a rollback, and its answer was lost.
func TestARepeatedRequestIsPutBackIfTheSpecAsksForItByThen(t *testing.T) {
	w := newStory(t)
	w.asks(modifyCall)
	w.take("modify to Drop: done, and the answer is lost")
	w.do("r0 is edited: rollbackAfter", func(c *state) {
		p := c.policies[0].newest().DeepCopy()
		p.Spec.RollbackAfter = &metav1.Duration{Duration: 3 * time.Minute}
		p.Generation++
		c.edits[0]++
		c.putPolicy(0, p)
	})
	w.pass(30 * time.Second)
	if b := openRollback(w.p()); b == nil || b.To != "Accept" {
		t.Fatalf("rollback %+v", b)
	}
}
