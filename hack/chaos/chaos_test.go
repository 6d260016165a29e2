package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
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
	seed := uint64(5)
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

func TestAPlanHasNodesAndAnswers(t *testing.T) {
	for seed := range uint64(50) {
		happens := map[string]int{}
		p := newPlan(seed, 60, 15*time.Second)
		for _, g := range p.groups {
			if g.startsWithNode {
				happens["starts with a node"]++
			}
		}
		for _, a := range p.actions {
			for _, what := range []string{" joins ", " leaves ", "set " + v1alpha1.AnnotationApprove, "set " + v1alpha1.AnnotationConfirm, "take back"} {
				if strings.Contains(a.what, what) {
					happens[what]++
				}
			}
		}
		if len(happens) != 6 {
			t.Errorf("seed %d: only %v", seed, happens)
		}
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
			case r.deleted && r.spec.Suspend:
				t.Errorf("seed %d: %s is deleted while it is suspended", seed, r.name)
			case r.group.shared() && r.toggles > maxToggles:
				t.Errorf("seed %d: %s loses its group and takes it again %d times", seed, r.name, r.toggles)
			}
		}
		for _, g := range p.groups {
			if g.outOfBand > g.mayBeChangedBehind() {
				t.Errorf("seed %d: %s is changed behind the operator's back %d times", seed, g.id, g.outOfBand)
			}
		}
		if p.kills < 1 || p.restarts < 1 {
			t.Errorf("seed %d: %d kills and %d restarts", seed, p.kills, p.restarts)
		}
	}
}

// What the invariants are about has to happen for them to be of any use.
func TestAPlanHasClaimantsWhoDisagree(t *testing.T) {
	for seed := range uint64(50) {
		opposed, equal, restoring, created, deleted, toggled := 0, 0, 0, 0, 0, 0
		for _, g := range newPlan(seed, 60, 15*time.Second).groups {
			if !g.shared() {
				continue
			}
			if g.claimants[0].namespace == g.claimants[1].namespace {
				t.Errorf("seed %d: the claimants of %s are in one namespace", seed, g.id)
			}
			if g.claimants[0].spec.InnerAccessPolicy == g.claimants[1].spec.InnerAccessPolicy {
				equal++
			} else {
				opposed++
			}
			for _, r := range g.claimants {
				for what, count := range map[*int]bool{&restoring: r.spec.DeletionPolicy == v1alpha1.DeletionRestore,
					&created: !r.early, &deleted: r.deleted, &toggled: r.toggles > 0} {
					if count {
						*what++
					}
				}
			}
		}
		if min(opposed, equal, restoring, created, toggled) == 0 {
			t.Errorf("seed %d: of the shared groups %d have opposite wishes and %d equal ones; of their claimants %d restore, %d are created late, %d deleted, %d toggled",
				seed, opposed, equal, restoring, created, deleted, toggled)
		}
	}
}
