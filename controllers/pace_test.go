package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
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

func TestAnAccountThatIsThrottledHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const resources = 50
	w := manyInSync(t, resources)
	w.sim.PutKey(ecssim.Key{ID: prodKey, Secret: prodSecret, Account: prodAccount})
	w.sim.SetLimits([]ecssim.Limit{{Account: prodAccount, Action: observe, PerWindow: 1, Window: time.Hour, Code: "Throttling.User"}})
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys")
	for i := range resources {
		id := fmt.Sprint("sg-prod-", i)
		w.sim.PutGroup(ecssim.Group{Region: region, ID: id, Policy: "Accept", Account: prodAccount})
		w.policy(fmt.Sprint("prod-", i), id, "Drop", using(prod.Name))
	}
	w.start()
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
	}
}

func TestAFloodOfBadResourcesDoesNotStarveAGoodOne(t *testing.T) {
	t.Parallel()
	const bad = 150
	w := newWorld(t, ecssim.Group{ID: "sg-good", Policy: "Accept"})
	for i := range bad {
		id := fmt.Sprint("sg-bad-", i)
		switch i % 3 {
		case 0:
			w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, GroupID: id, Status: 500, Code: "InternalError"})
		case 1:
			w.sim.Inject(ecssim.Fault{Kind: ecssim.Giant, GroupID: id})
		}
		w.policy(fmt.Sprint("bad-", i), id, "Drop")
	}
	w.start()
	w.eventually("the flood is under way", func() bool { return w.sim.CallCount("") > bad/2 }, func() string { return "" })
	w.policy("good", "sg-good", "Drop")
	w.awaitReason("good", v1alpha1.ReasonInSync)
	for i := range bad {
		w.await(fmt.Sprint("bad-", i), "has a verdict", func(p *policy) bool { return p.Status.LastError != nil })
	}
}

// TestTheLogSaysWhatWasChangedAndNothingElse reads the log at its usual level.
func TestTheLogSaysWhatWasChangedAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"}, ecssim.Group{ID: "sg-2", Policy: "Accept"})
	logs := &locked{}
	w.log = zap.New(zap.WriteTo(logs))
	w.policy("changed", "sg-1", "Drop")
	w.policy("same", "sg-2", "Accept")
	w.policy("missing", "sg-none", "Accept")
	w.start()
	p := w.awaitReason("changed", v1alpha1.ReasonInSync)
	w.awaitReason("same", v1alpha1.ReasonInSync)
	w.awaitReason("missing", v1alpha1.ReasonSecurityGroupNotFound)
	w.lookNow("same")
	var lines []string
	for line := range strings.Lines(logs.String()) {
		if strings.Contains(line, `"namespace":"`+w.namespace) {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d lines about resources, want one: %v", len(lines), lines)
	}
	for _, want := range []string{`"name":"changed"`, `"region":"cn-hangzhou"`, `"securityGroup":"sg-1"`, `"from":"Accept"`, `"to":"Drop"`, `"requestID":"` + p.Status.LastModification.RequestID} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the line lacks %s: %s", want, lines[0])
		}
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

// TestPriority: what a user asked for goes first, until it is done or stalled.
func TestPriority(t *testing.T) {
	conditions := func(trueOnes ...string) func(*policy) {
		return func(p *policy) {
			for _, kind := range trueOnes {
				p.Status.Conditions = append(p.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue})
			}
		}
	}
	for name, c := range map[string]struct {
		given func(*policy)
		want  ratelimit.Priority
	}{
		"never seen":                      {func(p *policy) { p.Status.ObservedGeneration = 0 }, ratelimit.Edit},
		"edited":                          {func(p *policy) { p.Generation = 2 }, ratelimit.Edit},
		"a request without its outcome":   {func(p *policy) { p.Status.PendingModification = &v1alpha1.PendingModification{} }, ratelimit.Edit},
		"deleted":                         {deleted(func(*policy) {}), ratelimit.Edit},
		"the edit's read was refused":     {conditions(v1alpha1.ConditionReconciling), ratelimit.Edit},
		"in sync":                         {conditions(v1alpha1.ConditionReady), ratelimit.Resync},
		"in sync, and a resync failed":    {conditions(v1alpha1.ConditionReady, v1alpha1.ConditionReconciling), ratelimit.Resync},
		"stalled: no user waits for that": {conditions(v1alpha1.ConditionStalled), ratelimit.Resync},
		"a look was asked for": {func(p *policy) {
			p.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: "now"}
		}, ratelimit.Edit},
		"and done": {func(p *policy) {
			p.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: "now"}
			p.Status.LastHandledReconcileAt = "now"
		}, ratelimit.Resync},
	} {
		t.Run(name, func(t *testing.T) {
			p := &policy{}
			p.Generation, p.Status.ObservedGeneration = 1, 1
			c.given(p)
			if got := priority(p); got != c.want {
				t.Errorf("priority %d, want %d", got, c.want)
			}
		})
	}
}
