package main

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// raceDetector tells whether the test has it; the managers then have it too.
var raceDetector bool

// seedVariable holds the seed of a run that is to be repeated.
const seedVariable = "SGP_CHAOS_SEED"

func TestMain(m *testing.M) {
	rig.Prepare()
	os.Exit(m.Run())
}

// The short form of `make chaos`: one kill, one restart of the API server.
func TestChaosLeavesEverythingAsItShouldBe(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of chaos is not short")
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set; run the tests through make test, which provides a control plane")
	}
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	// A change is judged by the same plan as the one before it; make chaos draws a
	// new one each time.
	seed := uint64(20261124)
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("to replay: %s=%d make test PKG=./hack/chaos", seedVariable, seed)
	broken, err := run(t.Context(), options{seed: seed, resources: 60, duration: 15 * time.Second, tail: 3 * time.Second,
		hurried: true, race: raceDetector, out: writerTo{t}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range broken {
		t.Error(text)
	}
}

type writerTo struct{ t *testing.T }

func (w writerTo) Write(p []byte) (int, error) {
	w.t.Logf("%s", p[:len(p)-1])
	return len(p), nil
}

func TestASeedDeterminesThePlan(t *testing.T) {
	text := func(seed uint64) []string {
		var lines []string
		for _, a := range newPlan(seed, 100, time.Minute).actions {
			lines = append(lines, strconv.Itoa(int(a.lane))+" "+a.at.String()+" "+a.what)
		}
		return lines
	}
	if !slices.Equal(text(7), text(7)) {
		t.Error("the same seed gave two plans")
	}
	if slices.Equal(text(7), text(8)) {
		t.Error("two seeds gave the same plan")
	}
}

func TestAPlanStaysWithinWhatTheInvariantsAssume(t *testing.T) {
	for seed := range uint64(50) {
		p := newPlan(seed, 100, time.Minute)
		if !slices.IsSortedFunc(p.actions, func(a, b action) int { return int(a.at - b.at) }) {
			t.Errorf("seed %d: the actions are not in the order of time", seed)
		}
		for _, r := range p.policies {
			switch {
			case !r.created:
				t.Errorf("seed %d: %s is never created", seed, r.name)
			case r.outOfBand > maxOutOfBand:
				t.Errorf("seed %d: %s is changed behind the operator's back %d times", seed, r.name, r.outOfBand)
			case r.deleted && r.spec.Suspend:
				t.Errorf("seed %d: %s is deleted while it is suspended", seed, r.name)
			}
		}
		if p.kills < 1 || p.restarts < 1 {
			t.Errorf("seed %d: %d kills and %d restarts", seed, p.kills, p.restarts)
		}
	}
}

// The checks themselves are held against what they have to find.
func TestAFaultyOperatorIsFound(t *testing.T) {
	healthy := func() *v1alpha1.SecurityGroupPolicy {
		return &v1alpha1.SecurityGroupPolicy{
			ObjectMeta: metav1.ObjectMeta{Generation: 2},
			Spec:       v1alpha1.SecurityGroupPolicySpec{InnerAccessPolicy: ecssim.Drop},
			Status: v1alpha1.SecurityGroupPolicyStatus{ObservedGeneration: 2, InnerAccessPolicy: ecssim.Drop, Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync, ObservedGeneration: 2}}},
		}
	}
	if why := inconsistent(healthy(), ecssim.Drop); why != "" {
		t.Errorf("a healthy resource %s", why)
	}
	for name, harm := range map[string]func(*v1alpha1.SecurityGroupPolicy){
		"an old generation": func(p *v1alpha1.SecurityGroupPolicy) { p.Generation = 3 },
		"a wrong group":     func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.InnerAccessPolicy = ecssim.Accept },
		"a wrong word":      func(p *v1alpha1.SecurityGroupPolicy) { p.Status.InnerAccessPolicy = ecssim.Accept },
		"a pending change": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.PendingModification = &v1alpha1.PendingModification{}
		},
		"an old error": func(p *v1alpha1.SecurityGroupPolicy) { p.Status.LastError = &v1alpha1.CallError{} },
		"a request unhandled": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: "now"}
		},
		"a false suspension": func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.Suspend = true },
		"no drift seen": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Spec.ManagementPolicy, p.Spec.InnerAccessPolicy = v1alpha1.ManagementObserve, ecssim.Accept
		},
	} {
		p := healthy()
		harm(p)
		if inconsistent(p, ecssim.Drop) == "" {
			t.Errorf("%s was not found", name)
		}
	}

	p := healthy()
	p.Spec.DeletionPolicy, p.Status.LastModification = v1alpha1.DeletionRestore, &v1alpha1.Modification{}
	if unguarded(p) == "" {
		t.Error("a missing finalizer was not found")
	}

	to := func(policy, token string) ecssim.Effect {
		return ecssim.Effect{From: opposite(policy), To: policy, ClientToken: token, ByAPI: token != ""}
	}
	restoring := &policy{reasons: 2, spec: v1alpha1.SecurityGroupPolicySpec{DeletionPolicy: v1alpha1.DeletionRestore},
		atDeletion: &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Generation: 2, Finalizers: []string{v1alpha1.FinalizerRestore}},
			Status: v1alpha1.SecurityGroupPolicyStatus{ObservedGeneration: 2, LastModification: &v1alpha1.Modification{}}}}
	for name, c := range map[string]struct {
		effects             []ecssim.Effect
		untidy, notRestored bool
	}{
		"restored":          {[]ecssim.Effect{to(ecssim.Drop, "a"), to(ecssim.Accept, "b")}, false, false},
		"left":              {[]ecssim.Effect{to(ecssim.Drop, "a")}, false, true},
		"left for another":  {[]ecssim.Effect{to(ecssim.Drop, "a"), to(ecssim.Accept, ""), to(ecssim.Drop, "")}, false, false},
		"never changed":     {nil, false, false},
		"one token for two": {[]ecssim.Effect{to(ecssim.Drop, "a"), to(ecssim.Accept, ""), to(ecssim.Drop, "a")}, true, true},
		"a change too many": {[]ecssim.Effect{to(ecssim.Drop, "a"), to(ecssim.Accept, "b"), to(ecssim.Drop, "c")}, true, true},
		"a drift put right": {[]ecssim.Effect{to(ecssim.Drop, "a"), to(ecssim.Accept, ""), to(ecssim.Drop, "b"), to(ecssim.Accept, "c")}, false, false},
	} {
		if why := untidy(restoring, c.effects); (why != "") != c.untidy {
			t.Errorf("%s: untidy: %q", name, why)
		}
		if why := unrestored(restoring, c.effects); (why != "") != c.notRestored {
			t.Errorf("%s: not restored: %q", name, why)
		}
	}

	left := []ecssim.Effect{to(ecssim.Drop, "a")}
	restoring.atDeletion.Finalizers = nil
	if unrestored(restoring, left) == "" {
		t.Error("a finalizer that was missing at the deletion was not found")
	}
	restoring.atDeletion.Status.ObservedGeneration = 1
	if why := unrestored(restoring, left); why != "" {
		t.Errorf("Restore that nobody had seen yet: %q", why)
	}
}
