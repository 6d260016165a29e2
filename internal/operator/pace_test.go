package operator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log/zap"

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
	w.options.QPS, w.options.Burst = 1000, 100
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
	w.options.QPS, w.options.Burst = 20, 2 // ten seconds for all of them
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
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id, Policy: "Accept", Account: prodAccount})
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
func TestTheLogHasOneLineForEachChangeAndEachNewFailure(t *testing.T) {
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
	w.reconcileNow("same")
	w.reconcileNow("missing")
	lines := map[string][]string{}
	for line := range strings.Lines(logs.String()) {
		for _, name := range []string{"changed", "same", "missing"} {
			if strings.Contains(line, `"namespace":"`+w.namespace) && strings.Contains(line, `"name":"`+name+`"`) {
				lines[name] = append(lines[name], line)
			}
		}
	}
	if len(lines["changed"]) != 1 || len(lines["missing"]) != 1 || len(lines["same"]) != 0 {
		t.Fatalf("lines about resources: %v", lines)
	}
	for _, want := range []string{`"region":"` + w.region, `"securityGroup":"sg-1"`, `"from":"Accept"`, `"to":"Drop"`, `"requestID":"` + p.Status.LastModification.RequestID} {
		if !strings.Contains(lines["changed"][0], want) {
			t.Errorf("the line lacks %s: %s", want, lines["changed"][0])
		}
	}
	for _, want := range []string{`"region":"` + w.region, `"securityGroup":"sg-none"`, `"reason":"SecurityGroupNotFound"`, `"code":"InvalidSecurityGroupId.NotFound"`, `"requestID":"`} {
		if !strings.Contains(lines["missing"][0], want) {
			t.Errorf("the line lacks %s: %s", want, lines["missing"][0])
		}
	}
}

// TestEditsThatWaitForTheRateCostNoMoreWrites edits more resources at once than calls
// can be made.
func TestEditsThatWaitForTheRateCostNoMoreWrites(t *testing.T) {
	t.Parallel()
	const resources = 6
	var groups []ecssim.Group
	for i := range resources {
		groups = append(groups, ecssim.Group{ID: fmt.Sprint("sg-", i), Policy: "Accept"})
	}
	w := newWorld(t, groups...)
	w.options.QPS, w.options.Burst = 5, 1
	n := w.countWrites()
	for i := range resources {
		w.policy(fmt.Sprint("p-", i), fmt.Sprint("sg-", i), "Accept")
	}
	w.start()
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
		w.awaitHolder(fmt.Sprint("sg-", i), fmt.Sprint("p-", i))
	}
	n.want(t, resources, 0, resources)
	for i := range resources {
		w.edit(fmt.Sprint("p-", i), func(p *policy) { p.Spec.InnerAccessPolicy = "Drop" })
	}
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
	}
	n.want(t, 3*resources, 0, resources)
}

// TestARequestInTooManyWordsCostsNothing is for an annotation that is as long as an
// object may be.
func TestARequestInTooManyWordsCostsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("p", "sg-1", "Drop", func(p *policy) {
		p.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: strings.Repeat("now", 80<<10)}
	})
	w.start()
	w.awaitEvent("p", v1alpha1.EventRequestIgnored)
	if p := w.awaitReason("p", v1alpha1.ReasonInSync); p.Status.LastHandledReconcileAt != "" {
		t.Errorf("%d bytes are in the status", len(p.Status.LastHandledReconcileAt))
	}
}
