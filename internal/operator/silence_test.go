package operator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// manyInOneRegion makes resources for groups of a region of their own.
func manyInOneRegion(t *testing.T, n int) (w *world, region string) {
	t.Helper()
	region = fmt.Sprintf("cn-test-silent-%d", serial.Add(1))
	groups := []ecssim.Group{{ID: "sg-elsewhere", Policy: "Accept"}}
	for i := range n {
		groups = append(groups, ecssim.Group{Region: region, ID: fmt.Sprintf("sg-%d", i), Policy: "Accept"})
	}
	w = newWorld(t, groups...)
	for i := range n {
		w.policy(fmt.Sprintf("p-%d", i), fmt.Sprintf("sg-%d", i), "Accept", func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.RegionID = region })
	}
	return w, region
}

func (w *world) callsTo(region string) (n int) {
	for _, c := range w.sim.Calls() {
		if c.Region == region {
			n++
		}
	}
	return n
}

// TestARegionThatSwallowsPacketsStopsNobodyElse has calls to one region hang for longer
// than the test lasts, so that whoever waited for them would wait too long.
func TestARegionThatSwallowsPacketsStopsNobodyElse(t *testing.T) {
	t.Parallel()
	w, region := manyInOneRegion(t, 60)
	w.options.MaxConcurrentReconciles, w.options.Timeout, w.options.ResyncInterval = 8, 2*longest, 30*time.Second
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangBefore, Region: region})
	w.start()
	hanging := func() int { return w.callsTo(region) }
	w.eventually("a quarter of the workers hangs", func() bool { return hanging() == 2 }, func() string { return fmt.Sprint(hanging()) })

	w.policy("elsewhere", "sg-elsewhere", "Drop")
	w.awaitReason("elsewhere", v1alpha1.ReasonInSync)
	for _, desired := range []string{"Accept", "Drop", "Accept"} {
		w.edit("elsewhere", func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.InnerAccessPolicy = desired })
		w.awaitReason("elsewhere", v1alpha1.ReasonInSync)
	}
	w.cloudIs("sg-elsewhere", "Accept", 4)
	if n := hanging(); n != 2 {
		t.Errorf("%d calls hang, want a quarter of 8 workers", n)
	}
	w.sim.ClearFaults()
	w.sim.Release()
	for i := range 60 {
		w.awaitReason(fmt.Sprintf("p-%d", i), v1alpha1.ReasonInSync)
	}
}

// TestARegionThatDoesNotAnswerIsAskedByOneAtATime shows what users read meanwhile, and
// that all heal by themselves.
func TestARegionThatDoesNotAnswerIsAskedByOneAtATime(t *testing.T) {
	t.Parallel()
	w, region := manyInOneRegion(t, 20)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.ResetBefore, Region: region})
	w.start()
	toldWithoutACall := 0
	for i := range 20 {
		p := w.awaitReason(fmt.Sprintf("p-%d", i), v1alpha1.ReasonCloudUnavailable)
		if e := p.Status.LastError; e.Code == ecs.CodeUnreachable {
			toldWithoutACall++
			if !strings.Contains(e.Message, "no call was made") || !strings.Contains(p.Status.Conditions[0].Message, region) {
				t.Errorf("%+v, %+v", e, p.Status.Conditions)
			}
		}
	}
	if calls := w.callsTo(region); toldWithoutACall < 10 || calls > 10 {
		t.Errorf("%d calls, %d of 20 resources told without one", calls, toldWithoutACall)
	}
	w.sim.ClearFaults()
	for i := range 20 {
		w.awaitReason(fmt.Sprintf("p-%d", i), v1alpha1.ReasonInSync)
	}
}

// TestATokenServiceThatDoesNotAnswerOneAccountStopsNoOther has the fetch of an account's
// token hang for longer than the test lasts.
func TestATokenServiceThatDoesNotAnswerOneAccountStopsNoOther(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.options.MaxConcurrentReconciles, w.options.Timeout = 8, 2*longest
	const arn = "acs:ram::" + prodAccount + ":role/sgp"
	w.sim.PutRole(ecssim.Role{ARN: arn, TrustedKeys: []string{testKey}})
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangBefore, Action: "AssumeRole"})
	w.secret("silent", testKey, testSecret)
	silent := w.account(w.name("silent"), "silent", func(a *ecsAccount) {
		a.Spec.Credentials.AssumeRole = &v1alpha1.AssumeRole{RoleARN: arn}
	})
	for i := range 20 {
		w.policy(fmt.Sprintf("silent-%d", i), fmt.Sprintf("sg-%d", i), "Drop", using(silent.Name))
	}
	w.start()
	w.eventually("the fetch hangs", func() bool { return w.calls("AssumeRole", "") > 0 }, func() string { return "" })
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys")
	w.policy("prod", "sg-prod", "Drop", using(prod.Name))
	w.awaitReason("prod", v1alpha1.ReasonInSync)
	w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated)
}
