package controllers

import (
	"fmt"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// manyInSync makes a world with n resources whose groups are as declared.
func manyInSync(t *testing.T, n int) *world {
	var groups []ecssim.Group
	for i := range n {
		groups = append(groups, ecssim.Group{ID: fmt.Sprint("sg-", i), Policy: "Drop"})
	}
	w := newWorld(t, groups...)
	for i := range n {
		w.policy(fmt.Sprint("p-", i), fmt.Sprint("sg-", i), "Drop")
	}
	return w
}

func TestAManagerThatBelievesInTenTimesTheQuotaIsSeldomThrottled(t *testing.T) {
	t.Parallel()
	const resources = 300
	w := manyInSync(t, resources)
	w.sim.SetLimits([]ecssim.Limit{{QPS: 100, Burst: 100, Code: "Throttling.User"}})
	w.qps = 1000
	w.start()
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
	}
	throttled := 0
	for _, c := range w.sim.Calls() {
		if c.Code == "Throttling.User" {
			throttled++
		}
	}
	if share := float64(throttled) / float64(w.sim.CallCount("")); share > 0.03 {
		t.Errorf("%.1f %% of %d calls were throttled", 100*share, w.sim.CallCount(""))
	}
}

func TestAnEditGoesBeforeTheResyncsOfARestart(t *testing.T) {
	t.Parallel()
	const resources = 200
	w := manyInSync(t, resources)
	stop := w.start()
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
	}
	stop()
	w.sim.ResetCalls()
	w.qps = 20 // ten seconds for all of them
	w.start()
	w.eventually("the resyncs are under way", func() bool { return w.sim.CallCount("") > 4 }, func() string { return "" })
	before := w.sim.CallCount("")
	w.edit("p-199", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
	w.eventually("the edit is applied", func() bool { return w.calls(modify, "sg-199") == 1 }, func() string { return "" })
	if passed := w.sim.CallCount("") - before; passed > 20 {
		t.Errorf("%d calls of %d went before the edit", passed, resources)
	}
}

func TestLivenessNoticesAStuckWorker(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Now())
	r := &SecurityGroupPolicyReconciler{Clock: clock}
	r.memory.reset()
	p := &policy{}
	end := r.enter(p)
	if err := r.Alive(nil); err != nil {
		t.Errorf("a pass that has just begun: %v", err)
	}
	clock.SetTime(clock.Now().Add(stuckAfter + time.Second))
	if err := r.Alive(nil); err == nil {
		t.Error("a stuck pass goes unnoticed")
	}
	end()
	if err := r.Alive(nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
