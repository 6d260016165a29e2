package controllers

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// scenarios are lives of a resource. Each step is settled before the next.
var scenarios = map[string][]func(l *lab, group string){
	"create, in sync": {func(l *lab, g string) { l.create("p", g, "Accept") }},
	"create, change":  {func(l *lab, g string) { l.create("p", g, "drop") }},
	"change, change back": {
		func(l *lab, g string) { l.create("p", g, "Drop") },
		func(l *lab, _ string) { l.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" }) },
	},
	"change, drift": {
		func(l *lab, g string) { l.create("p", g, "Drop") },
		func(l *lab, g string) { l.sim.SetPolicy(region, g, "Accept") },
	},
	"Observe, enforce": {
		func(l *lab, g string) { l.create("p", g, "Drop", observeOnly) },
		func(l *lab, _ string) {
			l.edit("p", func(p *policy) { p.Spec.ManagementPolicy = v1alpha1.ManagementEnforce })
		},
	},
	"suspend, edit, resume": {
		func(l *lab, g string) { l.create("p", g, "Drop") },
		func(l *lab, _ string) {
			l.edit("p", func(p *policy) { p.Spec.Suspend, p.Spec.InnerAccessPolicy = true, "Accept" })
		},
		func(l *lab, _ string) { l.edit("p", func(p *policy) { p.Spec.Suspend = false }) },
	},
	"Restore": {
		func(l *lab, g string) { l.create("p", g, "Drop", restore) },
		func(l *lab, _ string) { l.remove("p") },
	},
	"Restore, changed twice": {
		func(l *lab, g string) { l.create("p", g, "Drop", restore) },
		func(l *lab, _ string) { l.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" }) },
		func(l *lab, _ string) { l.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Drop" }) },
		func(l *lab, _ string) { l.remove("p") },
	},
	"Restore, asked for later": {
		func(l *lab, g string) { l.create("p", g, "Drop") },
		func(l *lab, _ string) { l.edit("p", restore) },
		func(l *lab, _ string) { l.remove("p") },
	},
	"Restore, with another change": {
		func(l *lab, g string) { l.create("p", g, "Drop", restore) },
		func(l *lab, _ string) {
			l.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy, p.Spec.DeletionPolicy = "Accept", v1alpha1.DeletionRetain })
		},
		func(l *lab, _ string) { l.remove("p") },
	},
	"Restore, somebody else was there": {
		func(l *lab, g string) { l.create("p", g, "Drop", restore) },
		func(l *lab, g string) {
			l.sim.SetPolicy(region, g, "Accept")
			l.remove("p")
		},
	},
	"conflict, the owner goes": {
		func(l *lab, g string) { l.create("a", g, "Drop") },
		func(l *lab, g string) { l.create("b", g, "Accept") },
		func(l *lab, _ string) { l.remove("a") },
	},
	"account withdrawn and given back": {
		func(l *lab, g string) { l.create("p", g, "Drop") },
		func(l *lab, _ string) {
			l.withdrawn = true
			l.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
		},
		func(l *lab, _ string) { l.withdrawn = false },
	},
	"no such group, then there is": {
		func(l *lab, g string) {
			l.sim.DeleteGroup(region, g)
			l.create("p", g, "Drop")
		},
		func(l *lab, g string) { l.sim.PutGroup(ecssim.Group{Region: region, ID: g, Policy: "Accept"}) },
	},
}

func observeOnly(p *policy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }

// run lives a scenario through, with a group of its own.
func (l *lab) run(steps []func(*lab, string)) (group string) {
	group = fmt.Sprint("sg-lab-", serial.Add(1))
	l.sim.PutGroup(ecssim.Group{Region: region, ID: group, Policy: "Accept"})
	for _, step := range steps {
		step(l, group)
		l.settle()
	}
	return group
}

// ends is how a scenario has ended.
type ends struct {
	Cloud     string
	Changes   []string
	Resources map[string]state
}

func (l *lab) ends(group string) ends {
	g, _ := l.sim.Group(region, group)
	return ends{Cloud: g.Policy, Changes: l.changes(group), Resources: l.states()}
}

// report tells how many points a test has been through: in its log, and in the file
// that TEST_REPORT names, which make test shows at the end.
func report(t *testing.T, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	name := os.Getenv("TEST_REPORT")
	if name == "" {
		return
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	_, err = fmt.Fprintf(file, "%s: %s\n", t.Name(), line)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Error(err)
	}
}

// disturb runs each scenario once for each place at which it can be disturbed, as
// undisturbed runs tell them, and hands the end of it to check, beside the end that
// it should have. The request ids that are left must be ones that ECS gave.
func disturb(t *testing.T, places func(calm *lab) int, at func(l *lab, place int), check func(what string, l *lab, group string, want ends)) (points int) {
	t.Helper()
	for name, steps := range scenarios {
		calm := newLab(t)
		want := calm.ends(calm.run(steps))
		for place := 1; place <= places(calm); place++ {
			l := newLab(t)
			at(l, place)
			group := l.run(steps)
			points++
			what := fmt.Sprintf("%s, place %d of %d", name, place, places(calm))
			check(what, l, group, want)
			if err := l.checkRequestIDs(group); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	return points
}

// requests has two places for each request: before it and after it.
func requests(calm *lab) int { return 2 * calm.requests }

func (l *lab) aroundRequest(place int) { l.crashAt, l.after = (place+1)/2, place%2 == 0 }

// same wants a scenario to end as it would have undisturbed, with no extra change
// on the way.
func same(t *testing.T) func(what string, l *lab, group string, want ends) {
	return func(what string, l *lab, group string, want ends) {
		if d := diff(want, l.ends(group)); d != "" {
			t.Errorf("%s: -undisturbed +disturbed\n%s", what, d)
		}
	}
}

// TestACrashAtAnyRequestChangesNothing crashes just before and just after each
// request that the reconciler sends, to the API server or to ECS.
func TestACrashAtAnyRequestChangesNothing(t *testing.T) {
	t.Parallel()
	report(t, "%d crash points", disturb(t, requests, (*lab).aroundRequest, same(t)))
}

// TestACacheThatLagsAtAnyEventChangesNothing has the reconciler see, for one more
// pass, the state before each write of which a watch would tell.
func TestACacheThatLagsAtAnyEventChangesNothing(t *testing.T) {
	t.Parallel()
	report(t, "%d events held back", disturb(t,
		func(calm *lab) int { return calm.events },
		func(l *lab, place int) { l.staleAt = place }, same(t)))
}

// TestTwoManagersAtOnceChangeNothing has a second manager, which took over too
// early, do all there is to do before and after each request of the first.
func TestTwoManagersAtOnceChangeNothing(t *testing.T) {
	t.Parallel()
	report(t, "%d points", disturb(t, requests, func(l *lab, place int) {
		l.aroundRequest(place)
		l.rival = true
	}, same(t)))
}

// TestTheManagerIsDownWhileTheUserActs crashes at each request as well, and starts
// the reconciler again only when the user has done everything else: what was under
// way may not be wanted any more. The cloud must end as it would have, without
// more changes on the way than it would have taken.
func TestTheManagerIsDownWhileTheUserActs(t *testing.T) {
	t.Parallel()
	report(t, "%d crash points", disturb(t, requests, func(l *lab, place int) {
		l.aroundRequest(place)
		l.downAfter = true
	}, func(what string, l *lab, group string, want ends) {
		l.down = false
		l.settle()
		got := l.ends(group)
		// A resource that is deleted before anybody saw its last spec ends without it.
		unseen := strings.HasPrefix(what, "Restore, asked for later") || strings.HasPrefix(what, "Restore, with another change")
		if (got.Cloud != want.Cloud && !unseen) || len(got.Changes) > len(want.Changes) || len(got.Resources) != len(want.Resources) {
			t.Errorf("%s: -undisturbed +disturbed\n%s", what, diff(want, got))
		}
		l.finalizersAreRight(what)
		for _, s := range got.Resources {
			if s.Status.PendingModification != nil {
				t.Errorf("%s: still pending: %+v", what, s.Status)
			}
		}
	}))
}

// TestALookThatLagsIsNotTheLastWordOnARestore: a crash has left behind a change that
// no look has shown yet, the resource is deleted, and the first look, long after, still
// shows the value from before.
func TestALookThatLagsIsNotTheLastWordOnARestore(t *testing.T) {
	t.Parallel()
	// Observe, add the finalizer, write ahead, modify, observe, record.
	for name, crashAt := range map[string]int{"its answer was lost": 4, "it was recorded": 6} {
		l := newLab(t)
		l.crashAt, l.after, l.downAfter = crashAt, true, true
		group := l.run([]func(*lab, string){func(l *lab, g string) {
			l.sim.SetReadLag(ecssim.ReadLag{Region: region, GroupID: g, Reads: 2})
			l.create("p", g, "Drop", restore)
		}})
		if s := l.states()["p"].Status; (s.PendingModification == nil) == (s.LastModification == nil) {
			t.Fatalf("%s: the status that was left behind is %+v", name, s)
		}
		l.sim.SetReadLag(ecssim.ReadLag{Region: region, GroupID: group})
		l.remove("p")
		l.down = false
		l.clock.SetTime(l.clock.Now().Add(2 * settling))
		l.settle()
		if g, _ := l.sim.Group(region, group); g.Policy != "Accept" || len(l.states()) != 0 {
			t.Errorf("%s: the group is left as %s after %v; left %+v", name, g.Policy, l.changes(group), l.states())
		}
	}
}

// TestAChangeIsNotRepeatedOnAStaleCache: a crash has left a change behind, the
// user has changed the spec back, and the cache does not know it yet.
func TestAChangeIsNotRepeatedOnAStaleCache(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*policy){
		"changed back": func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" },
		"Observe":      observeOnly,
		"suspend":      func(p *policy) { p.Spec.Suspend = true },
	} {
		l := newLab(t)
		l.crashAt, l.downAfter = 3, true // observe, write ahead, modify
		group := l.run([]func(*lab, string){func(l *lab, g string) { l.create("p", g, "Drop") }})
		if l.states()["p"].Status.PendingModification == nil {
			t.Fatalf("%s: nothing was left behind", name)
		}
		l.down, l.staleAt = false, l.events+1
		l.edit("p", edit)
		l.settle()
		if got := l.changes(group); len(got) > 0 {
			t.Errorf("%s: the group was changed all the same: %v", name, got)
		}
	}
}

// spec is one of the states that a user can choose.
type spec struct {
	policy           string
	observe, suspend bool
	restore          bool
}

func (s spec) apply(p *policy) {
	p.Spec.InnerAccessPolicy, p.Spec.Suspend = s.policy, s.suspend
	p.Spec.ManagementPolicy, p.Spec.DeletionPolicy = v1alpha1.ManagementEnforce, v1alpha1.DeletionRetain
	if s.observe {
		p.Spec.ManagementPolicy = v1alpha1.ManagementObserve
	}
	if s.restore {
		p.Spec.DeletionPolicy = v1alpha1.DeletionRestore
	}
}

func allSpecs() (all []spec) {
	for _, policy := range []string{"Accept", "Drop"} {
		for i := range 8 {
			all = append(all, spec{policy, i&1 != 0, i&2 != 0, i&4 != 0})
		}
	}
	return all
}

// reference says what should come of it, and knows nothing of the controller.
type reference struct{ cloud, seen, original, left string }

func (r *reference) live(s spec) {
	if s.suspend {
		return
	}
	if !s.observe && r.cloud != s.policy {
		if r.original == "" {
			r.original = r.cloud
		}
		r.cloud, r.left = s.policy, s.policy
	}
	r.seen = r.cloud
}

func (r *reference) ready(s spec) metav1.ConditionStatus {
	switch r.seen {
	case "":
		return metav1.ConditionUnknown
	case s.policy:
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

func (r *reference) end(s spec) {
	if s.restore && !s.observe && r.original != "" && r.cloud == r.left {
		r.cloud = r.original
	}
}

// TestEveryOperationFromEveryState drives every ordered pair of specs, with and
// without somebody else's change in between, and a deletion at the end.
func TestEveryOperationFromEveryState(t *testing.T) {
	t.Parallel()
	pairs := 0
	for _, first := range allSpecs() {
		for _, second := range allSpecs() {
			for _, drift := range []bool{false, true} {
				pairs++
				what := fmt.Sprintf("%+v, drift %v, %+v", first, drift, second)
				l, want := newLab(t), &reference{cloud: "Accept"}
				group := l.run([]func(*lab, string){func(l *lab, g string) { l.create("p", g, first.policy, first.apply) }})
				want.live(first)
				if drift {
					want.cloud = map[string]string{"Accept": ecs.Drop, "Drop": ecs.Accept}[want.cloud]
					l.sim.SetPolicy(region, group, want.cloud)
				}
				l.edit("p", second.apply)
				l.settle()
				want.live(second)
				l.agrees(what, group, want, second)
				l.finalizersAreRight(what)

				if second.suspend { // its deletion waits for the end of that
					continue
				}
				l.remove("p")
				l.settle()
				want.end(second)
				if g, _ := l.sim.Group(region, group); g.Policy != want.cloud || len(l.states()) != 0 {
					t.Errorf("%s, deleted: the cloud is %s, want %s; left %+v", what, g.Policy, want.cloud, l.states())
				}
			}
		}
	}
	report(t, "%d ordered pairs of states", pairs)
}

// finalizersAreRight wants the finalizer there while, and only while, a deletion
// would have something to put back.
func (l *lab) finalizersAreRight(what string) {
	l.t.Helper()
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := l.store.List(l.t.Context(), list); err != nil {
		l.t.Fatal(err)
	}
	for _, p := range list.Items {
		want := p.Spec.DeletionPolicy == v1alpha1.DeletionRestore && p.Status.LastModification != nil
		if got := len(p.Finalizers) > 0; got != want {
			l.t.Errorf("%s: %s has the finalizer: %v, want %v", what, p.Name, got, want)
		}
	}
}

func (l *lab) agrees(what, group string, want *reference, s spec) {
	l.t.Helper()
	g, _ := l.sim.Group(region, group)
	status := l.states()["p"].Status
	ready := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	if g.Policy != want.cloud || status.InnerAccessPolicy != want.seen || ready == nil || ready.Status != want.ready(s) || status.OriginalInnerAccessPolicy != want.original {
		l.t.Errorf("%s: the cloud is %s and the status %+v; want %+v, Ready %s", what, g.Policy, status, want, want.ready(s))
	}
}
