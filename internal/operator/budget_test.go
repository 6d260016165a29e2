package operator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// TestACommitThatTurnsAFleetWaitsForTheBudget has six groups to isolate and two to open,
// with a budget of two in ten minutes, and the manager go and come in between.
func TestACommitThatTurnsAFleetWaitsForTheBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clock := testclock.NewFakePassiveClock(time.Now())
	w.clock, w.options.ChangeBudget = clock, 2
	const isolated = 6
	for i := range isolated {
		id := fmt.Sprint("sg-", i)
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id, Policy: "Accept"})
		w.policy(id, id, "Drop")
	}
	for _, id := range []string{"sg-a", "sg-b"} {
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id, Policy: "Drop"})
		w.policy(id, id, "Accept")
	}
	changed := func() (n int) {
		for i := range isolated {
			if g, _ := w.sim.Group(w.region, fmt.Sprint("sg-", i)); g.Policy == "Drop" {
				n++
			}
		}
		return n
	}
	settled := func(want int) {
		t.Helper()
		w.eventually(fmt.Sprint(want, " are isolated, the others wait"), func() bool {
			waiting := 0
			for i := range isolated {
				p := w.get(fmt.Sprint("sg-", i))
				if c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReconciling); c != nil && c.Reason == v1alpha1.ReasonApprovalRequired {
					waiting++
				}
			}
			return changed() == want && waiting == isolated-want
		}, func() string { return fmt.Sprint(changed()) })
	}
	stop := w.start()
	settled(2)
	// To open has a budget of its own.
	w.awaitReason("sg-a", v1alpha1.ReasonInSync)
	w.awaitReason("sg-b", v1alpha1.ReasonInSync)

	// The next manager knows what was changed before it.
	stop()
	clock.SetTime(clock.Now().Add(5 * time.Minute))
	stop = w.start()
	for i := range isolated {
		w.reconcileNow(fmt.Sprint("sg-", i))
	}
	settled(2)

	// An approval does not wait, and counts.
	for i := range isolated {
		p := w.get(fmt.Sprint("sg-", i))
		if p.Status.InnerAccessPolicy == "Accept" {
			if message := readyMessage(p); !strings.Contains(message, "--change-budget lets 2 groups of an account change to it in ten minutes") {
				t.Errorf("%s", message)
			}
			w.approve(p.Name)
			w.awaitReason(p.Name, v1alpha1.ReasonInSync)
			break
		}
	}
	settled(3)
	stop()
	clock.SetTime(clock.Now().Add(6 * time.Minute))
	w.start()
	settled(4)
}
