package operator_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
)

func rollbackAfter(d time.Duration) func(*policy) {
	return func(p *policy) { p.Spec.RollbackAfter = &metav1.Duration{Duration: d} }
}

// TestAChangeThatNobodyConfirmsIsPutBackByWhoeverLeadsThen has the manager go and another
// one come before the deadline.
func TestAChangeThatNobodyConfirmsIsPutBackByWhoeverLeadsThen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	clock := testclock.NewFakePassiveClock(time.Now())
	w.clock = clock
	w.policy("p", "sg-1", "Drop", rollbackAfter(15*time.Minute))
	stop := w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	b := p.Status.Rollback
	if b == nil || b.To != "Accept" || b.Generation != 1 || b.Deadline.Sub(clock.Now()).Round(time.Minute) != 15*time.Minute {
		t.Fatalf("rollback %+v", b)
	}
	w.awaitEvent("p", v1alpha1.EventConfirmationAwaited)
	stop()
	clock.SetTime(clock.Now().Add(14 * time.Minute))
	stop = w.start()
	w.reconcileNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
	stop()
	clock.SetTime(clock.Now().Add(2 * time.Minute))
	w.start()
	p = w.awaitReason("p", v1alpha1.ReasonRolledBack)
	w.cloudIs("sg-1", "Accept", 2)
	if m := p.Status.LastModification; m == nil || m.Cause != v1alpha1.CauseRollback || m.RequestID == "" || !p.Status.Rollback.RolledBack {
		t.Errorf("%+v, %+v", m, p.Status.Rollback)
	}
	w.awaitEvent("p", v1alpha1.ReasonRolledBack)
	drift := &dto.Metric{}
	if err := metrics.Drift.WithLabelValues(w.region).Write(drift); err != nil || drift.GetCounter().GetValue() != 0 {
		t.Errorf("a rollback counts as drift: %v, %v", drift, err)
	}

	// It is not tried again for this spec, but for the next one.
	w.reconcileNow("p")
	w.cloudIs("sg-1", "Accept", 2)
	w.edit("p", rollbackAfter(20*time.Minute))
	p = w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 3)
	w.annotate("p", v1alpha1.AnnotationConfirm, strconv.FormatInt(p.Generation, 10))
	w.await("p", "it is confirmed", func(p *policy) bool { return p.Status.Rollback != nil && p.Status.Rollback.Confirmed })
	w.awaitEvent("p", v1alpha1.EventConfirmed)
	clock.SetTime(clock.Now().Add(time.Hour))
	w.reconcileNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 3)
}

// TestTheDeadlineWakesTheManager takes the real time that it takes: a minute at least is
// what the schema allows, so that the deadline is moved.
func TestTheDeadlineWakesTheManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	clock := testclock.NewFakePassiveClock(time.Now())
	w.clock = clock
	w.policy("p", "sg-1", "Drop", rollbackAfter(time.Minute))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	// Half a second before the deadline by the manager's clock.
	clock.SetTime(w.get("p").Status.Rollback.Deadline.Add(-500 * time.Millisecond))
	w.reconcileNow("p")
	clock.SetTime(clock.Now().Add(time.Second))
	w.awaitReason("p", v1alpha1.ReasonRolledBack)
	w.cloudIs("sg-1", "Accept", 2)
}

func TestADeletionPutsBackWhatNobodyHasConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"}, ecssim.Group{ID: "sg-2", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", rollbackAfter(time.Hour))
	w.policy("q", "sg-2", "Drop", rollbackAfter(time.Hour))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.awaitReason("q", v1alpha1.ReasonInSync)
	w.annotate("q", v1alpha1.AnnotationConfirm, "1")
	w.await("q", "it is confirmed", func(p *policy) bool { return p.Status.Rollback.Confirmed && len(p.Finalizers) == 0 })
	w.deletePolicy("p")
	w.deletePolicy("q")
	w.awaitGone("p")
	w.awaitGone("q")
	w.cloudIs("sg-1", "Accept", 2)
	w.cloudIs("sg-2", "Drop", 1)
}

// TestARollbackToDropIsLookedAtWhateverWasApproved opens the group of a node, which was
// isolated before the node came.
func TestARollbackToDropIsLookedAtWhateverWasApproved(t *testing.T) {
	t.Parallel()
	w, instance := newClusterWorld(t)
	clock := testclock.NewFakePassiveClock(time.Now())
	w.clock = clock
	w.sim.SetPolicy(w.region, "sg-nodes", "Drop")
	w.policy("p", "sg-nodes", "Accept", rollbackAfter(15*time.Minute))
	w.approve("p")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	clock.SetTime(clock.Now().Add(16 * time.Minute))
	w.reconcileNow("p")
	p := w.awaitReason("p", v1alpha1.ReasonApprovalRequired)
	if message := readyMessage(p); !strings.Contains(message, instance) || !strings.Contains(message, "keep that by the annotation "+v1alpha1.AnnotationConfirm) {
		t.Errorf("%s", message)
	}
	w.cloudIs("sg-nodes", "Accept", 1)
	w.annotate("p", v1alpha1.AnnotationConfirm, "1")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-nodes", "Accept", 1)
}

func TestAnEditBackIsNoChangeThatHasToBeConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", rollbackAfter(time.Hour))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if p.Status.Rollback != nil {
		t.Errorf("the way back would be put back: %+v", p.Status.Rollback)
	}
	w.cloudIs("sg-1", "Accept", 2)
}

func TestAnUnusableRollbackAfterIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, d := range []time.Duration{30 * time.Second, 25 * time.Hour} {
		p := &policy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: w.namespace},
			Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: w.region, SecurityGroupID: "sg-1", InnerAccessPolicy: "Drop", RollbackAfter: &metav1.Duration{Duration: d}}}
		if err := api.Create(t.Context(), p); err == nil || !strings.Contains(err.Error(), "rollbackAfter must be a duration from 1m to 24h") {
			t.Errorf("%v: %v", d, err)
		}
	}
}
