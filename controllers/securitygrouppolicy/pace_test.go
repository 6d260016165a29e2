package securitygrouppolicy

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

func TestLivenessNoticesAStuckWorker(t *testing.T) {
	fake := testclock.NewFakePassiveClock(epoch)
	r := benchReconciler(fake)
	p := &sgp{ObjectMeta: metav1.ObjectMeta{UID: "stuck"}}
	alive := func(what string, want bool) {
		t.Helper()
		if err := r.Alive(nil); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	alive("before the first resource", true)
	r.memory.track(p.UID, fake.Now())
	r.memory.begin(p, fake.Now())
	alive("a pass that has just begun", true)
	fake.SetTime(epoch.Add(stuckAfter))
	alive("a pass that may still end by itself", true)
	other := &sgp{ObjectMeta: metav1.ObjectMeta{UID: "other"}}
	r.memory.track(other.UID, fake.Now())
	r.memory.begin(other, fake.Now())
	fake.SetTime(epoch.Add(stuckAfter + time.Second))
	alive("a stuck pass", false)
	r.memory.end(other.UID)
	alive("a stuck pass beside one that has ended", false)
	r.memory.forget(p, fake.Now())
	alive("a stuck pass over a resource that is gone", false)
	r.memory.end(p.UID)
	alive("afterwards", true)
	if stuckAfter <= passLimit {
		t.Errorf("a pass that is ended after %v counts as stuck after %v", passLimit, stuckAfter)
	}
}

// What a user has asked for goes first, until it is done or stalled.
func TestWhatAUserAskedForGoesBeforePeriodicWork(t *testing.T) {
	conditions := func(trueOnes ...string) func(*sgp) {
		return func(p *sgp) {
			for _, kind := range trueOnes {
				p.Status.Conditions = append(p.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue})
			}
		}
	}
	requested := func(at, handled string) func(*sgp) {
		return func(p *sgp) {
			p.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: at}
			p.Status.LastHandledReconcileAt = handled
		}
	}
	for name, c := range map[string]struct {
		given func(*sgp)
		want  ratelimit.Priority
	}{
		"never reconciled":                   {func(p *sgp) { p.Status.ObservedGeneration = -1 }, ratelimit.Edit},
		"edited":                             {func(p *sgp) { p.Generation = 2 }, ratelimit.Edit},
		"a change without its outcome":       {func(p *sgp) { p.Status.PendingModification = &v1alpha1.PendingModification{} }, ratelimit.Edit},
		"deleted":                            {func(p *sgp) { p.DeletionTimestamp = new(metav1.NewTime(epoch)) }, ratelimit.Edit},
		"the first observation was refused":  {conditions(v1alpha1.ConditionReconciling), ratelimit.Edit},
		"in sync":                            {conditions(v1alpha1.ConditionReady), ratelimit.Resync},
		"in sync, and a resync failed":       {conditions(v1alpha1.ConditionReady, v1alpha1.ConditionReconciling), ratelimit.Resync},
		"stalled: no user waits for that":    {conditions(v1alpha1.ConditionStalled), ratelimit.Resync},
		"an observation was asked for":       {requested("now", ""), ratelimit.Edit},
		"and done":                           {requested("now", "now"), ratelimit.Resync},
		"asked for in too many words to say": {requested(string(make([]byte, v1alpha1.MaxReconcileRequest+1)), ""), ratelimit.Resync},
	} {
		t.Run(name, func(t *testing.T) {
			p := &sgp{}
			p.Generation, p.Status.ObservedGeneration = 1, 1
			c.given(p)
			if got := (&Reconciler{Clock: testclock.NewFakePassiveClock(epoch)}).priority(p); got != c.want {
				t.Errorf("priority %d, want %d", got, c.want)
			}
		})
	}
}
