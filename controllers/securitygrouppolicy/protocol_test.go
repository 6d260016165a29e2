package securitygrouppolicy

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

func TestADeletionRightAfterAChangeIsNotTakenInByAnOldRead(t *testing.T) {
	w := newStory(t)
	w.settle()
	w.isReady(true)
	w.pass(2 * time.Second)
	w.take("r0 is deleted")
	w.asks(observeCall)
	w.take("observe: Accept, which is old")
	w.settle()
	w.p()
	w.pass(time.Minute)
	w.isGone(ecs.Accept)
}

func TestALostChangeThatNobodyWantsAnyMoreIsNeverSentAgain(t *testing.T) {
	w := newStory(t)
	w.settle()
	first := w.p().Status.LastModification
	w.take("r0 is edited: Accept")
	w.asks(modifyCall)
	w.take("modify to Accept: never arrives")
	w.take("r0 is edited: Drop")
	w.asks(observeCall)
	w.take("observe: Accept, which is old")
	w.pass(3 * time.Minute)
	w.isReady(true)
	w.cloudIs(ecs.Drop)
	if w.sent != 2 || len(w.s.cloud.tokens) != 1 {
		t.Errorf("%d changes were sent, and %d took effect", w.sent, len(w.s.cloud.tokens))
	}
	if last := w.p().Status.LastModification; *last != *first || w.p().Status.PendingModification != nil {
		t.Errorf("status %+v, want the first change %+v", w.p().Status, first)
	}
}

func TestALostChangeThatNobodyWantsAnyMoreIsAwaited(t *testing.T) {
	begin := func(t *testing.T) *story {
		w := newStory(t)
		w.asks(modifyCall)
		w.take("modify to Drop: delayed, and the answer is lost")
		w.take("r0 is edited: Accept")
		w.settle()
		w.isReady(false)
		if p := w.p(); w.ready().Reason != v1alpha1.ReasonProgressing || !hasFinalizer(p) || p.Status.PendingModification == nil {
			t.Fatalf("while the change may still come: finalizers %v, %+v", p.Finalizers, p.Status)
		}
		return w
	}
	t.Run("it comes late, and is put right and recorded", func(t *testing.T) {
		w := begin(t)
		w.pass(10 * time.Second)
		w.isReady(false)
		w.take("the delayed change of r0 to Drop takes effect")
		w.pass(2 * time.Minute)
		w.isReady(true)
		w.cloudIs(ecs.Accept)
		if s := w.p().Status; s.OriginalInnerAccessPolicy != ecs.Accept || s.LastModification.From != ecs.Drop || s.LastModification.RequestID == "" || !hasFinalizer(w.p()) {
			t.Errorf("status %+v, finalizers %v", s, w.p().Finalizers)
		}
	})
	t.Run("it never comes, and leaves nothing", func(t *testing.T) {
		w := begin(t)
		w.pass(policy.Doubt + 15*time.Second)
		w.isReady(true)
		w.cloudIs(ecs.Accept)
		if p := w.p(); len(p.Finalizers) != 0 || p.Status.PendingModification != nil || p.Status.LastModification != nil || w.sent != 1 {
			t.Errorf("%d changes sent, finalizers %v, %+v", w.sent, p.Finalizers, p.Status)
		}
	})
	t.Run("it comes late to a resource that is deleted, and is put back", func(t *testing.T) {
		w := begin(t)
		w.take("r0 is deleted")
		w.pass(10 * time.Second)
		w.p()
		w.take("the delayed change of r0 to Drop takes effect")
		w.pass(2 * time.Minute)
		w.isGone(ecs.Accept)
	})
}

func TestALostChangeIsRepeatedAsItWasThoughItsParametersAreEdited(t *testing.T) {
	w := newStory(t)
	lost := w.asks(modifyCall)
	w.take("modify to Drop: done, and the answer is lost")
	w.take("r0 is edited: another ownerAccount")
	again := w.asks(modifyCall)
	if again.token != lost.token || again.owner != lost.owner || again.to != lost.to {
		t.Fatalf("sent %+v, repeated as %+v", lost, again)
	}
	w.settle()
	w.isReady(true)
	if s := w.p().Status; s.LastModification.RequestID != "req-"+lost.token || s.OriginalInnerAccessPolicy != ecs.Accept || s.PendingModification != nil {
		t.Errorf("status %+v, want the request id of %s", s, lost.token)
	}
	w.take("r0 is deleted")
	w.pass(2 * time.Minute)
	w.isGone(ecs.Accept)
}

func TestTheOriginalIsThatOfTheFirstChangeThatTookEffect(t *testing.T) {
	w := newStory(t)
	w.asks(modifyCall)
	w.take("modify to Drop: refused")
	w.settle()
	if s := w.p().Status; s.OriginalInnerAccessPolicy != "" || s.PendingModification != nil {
		t.Fatalf("after a change that was refused: %+v", s)
	}
	w.take("somebody else sets Drop")
	w.pass(time.Minute)
	w.take("r0 is edited: Accept")
	w.settle()
	w.isReady(true)
	if s := w.p().Status; s.OriginalInnerAccessPolicy != ecs.Drop {
		t.Fatalf("original %q", s.OriginalInnerAccessPolicy)
	}
	w.pass(time.Minute)
	w.take("r0 is deleted")
	w.pass(time.Minute)
	w.isGone(ecs.Drop)
}

func TestAChangeThatTookEffectIsFoundThoughThePermissionIsWithdrawn(t *testing.T) {
	w := newStory(t)
	w.asks(modifyCall)
	w.take("modify to Drop: done, and the answer is lost")
	for end := w.s.now.Add(policy.Doubt + 15*time.Second); w.ready().Status != metav1.ConditionTrue; {
		if run := w.s.managers[0].runs[0]; run != nil && run.next.kind == modifyCall {
			w.take("modify to Drop: refused")
			continue
		}
		if w.goOn() {
			continue
		}
		next, due := w.s.nextMoment()
		if !due || next.After(end) {
			t.Fatalf("not Ready after the doubt:\n%s\n%s", w.s.path(), w.s.describe())
		}
		w.at(next)
	}
	w.isReady(true)
	s := w.p().Status
	if m := s.LastModification; m == nil || m.RequestID != "" || m.From != ecs.Accept || m.To != ecs.Drop || s.PendingModification != nil || s.OriginalInnerAccessPolicy != ecs.Accept {
		t.Errorf("status %+v", s)
	}
	if !hasFinalizer(w.p()) {
		t.Error("nothing would put the original back")
	}
}

func TestADriftThatWasSeenEndsReadyThoughItCannotBeRecorded(t *testing.T) {
	w := newStory(t)
	w.settle()
	w.pass(time.Minute)
	w.take("somebody else sets Accept")
	w.pass(time.Minute)
	w.asks(putStatus)
	w.answer(&answer{err: conflicting("r0"), label: "conflict"})
	w.isReady(true) // nothing could be written
	w.asks(observeCall)
	w.take("observe: no answer")
	w.settle()
	w.isReady(false)
	w.pass(2 * time.Minute)
	w.isReady(true)
	w.cloudIs(ecs.Drop)
}

func TestTimesOfAClockThatWasAheadHoldUpNoCorrection(t *testing.T) {
	w := newStory(t)
	w.settle()
	w.pass(time.Minute)
	w.written("the last leader's clock was an hour ahead", func(p *sgp) {
		ahead := metav1.NewTime(w.s.now.Add(time.Hour))
		p.Status.LastModification.Time = ahead
		p.Status.DriftCorrections = []metav1.Time{ahead, ahead, ahead}
		for i := range p.Status.Conditions {
			p.Status.Conditions[i].LastTransitionTime = ahead
		}
	})
	w.take("somebody else sets Accept")
	w.take("manager 0 crashes")
	w.observed = 0
	w.pass(policy.Lag + 10*time.Second)
	w.isReady(true)
	w.cloudIs(ecs.Drop)
	if w.observed > 10 {
		t.Errorf("%d observations", w.observed)
	}
	if at := w.p().Status.DriftCorrections; len(at) != 1 || at[0].After(w.s.now) {
		t.Errorf("corrections %v at %v", at, w.s.now)
	}
}

func TestReadyEndsWhileTheOwnRateLimitHoldsUpObservations(t *testing.T) {
	w := newStory(t)
	w.settle()
	w.isReady(true)
	wait := func(until time.Duration) {
		for w.s.now.Sub(epoch) < until {
			w.asks(observeCall)
			w.answer(&answer{wait: time.Minute, label: "wait"})
		}
	}
	wait(2*resync - 2*time.Minute)
	w.isReady(true)
	wait(2*resync + 2*time.Minute)
	w.isReady(false)
	if w.ready().Reason != v1alpha1.ReasonThrottled {
		t.Errorf("reason %s", w.ready().Reason)
	}
	w.pass(2 * time.Minute)
	w.isReady(true)
}

func TestWhatECSAsksForIsHonouredUpToFiveMinutes(t *testing.T) {
	for name, c := range map[string]struct{ asked, least, most time.Duration }{
		"two minutes": {2 * time.Minute, 2 * time.Minute, 3 * time.Minute},
		"a week":      {7 * 24 * time.Hour, maxRetryAfter, maxRetryAfter + time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStory(t)
			w.settle()
			w.asks(observeCall)
			w.answer(&answer{err: &ecs.Error{Action: ecs.ActionObserve, Code: "ServiceUnavailable", HTTPStatus: 503, RetryAfter: c.asked}, label: "503"})
			began := w.s.now
			w.asks(observeCall)
			if waited := w.s.now.Sub(began); waited < c.least || waited > c.most {
				t.Errorf("observed again after %v, asked for %v", waited, c.asked)
			}
		})
	}
}

func TestADeletionInMidPassLeavesNothingInMemory(t *testing.T) {
	for name, successor := range map[string]bool{"nobody follows": false, "a successor of the same name starts afresh": true} {
		t.Run(name, func(t *testing.T) {
			w := newStory(t)
			for range 3 {
				w.asks(observeCall)
				w.take("observe: no answer")
			}
			w.asks(observeCall)
			old := w.p().UID
			if e, _ := w.remembered(old); e.failures != 3 {
				t.Fatalf("%d failures are remembered", e.failures)
			}
			w.take("r0 is deleted")
			var uid types.UID
			if successor {
				w.take("r0 is made anew")
				uid = w.p().UID
			}
			w.take("observe: Accept")
			for w.s.managers[0].runs[0] != nil {
				w.goOn()
			}
			if _, known := w.remembered(old); known {
				t.Error("the resource is remembered after its end")
			}
			if e, known := w.remembered(uid); known != successor || known && e != (entry{since: w.s.now}) {
				t.Errorf("of the successor: %+v, %v", e, known)
			}
			w.pass(time.Minute)
			if kept, candidates := len(w.s.managers[0].entries), w.s.managers[0].lines.Len(); kept > 1 || !successor && kept+candidates > 0 {
				t.Errorf("%d resources and %d candidates are kept", kept, candidates)
			}
		})
	}
}

func TestACacheThatStandsStillCostsABackoff(t *testing.T) {
	w := newStory(t)
	w.settle()
	w.pass(time.Minute)
	w.take("somebody else sets Accept")
	w.asks(observeCall)
	began := w.s.now
	w.observed = 0
	for w.s.now.Sub(began) < 10*time.Minute {
		w.asks(putStatus)
		w.answer(&answer{err: conflicting("r0"), label: "conflict"})
	}
	if w.observed > 20 {
		t.Errorf("%d observations in ten minutes", w.observed)
	}
}

// At each restart of a large fleet most resources have to wait for the rate.
func TestARestartThatHasToWaitForTheRateTakesReadyBackAfterTwoIntervalsOnly(t *testing.T) {
	w := newStory(t)
	w.settle()
	w.pass(3*time.Hour + 2*time.Minute)
	w.isReady(true)
	w.take("manager 0 crashes")
	restarted, written := w.s.now, w.p().ResourceVersion
	for w.s.now.Sub(restarted) < 2*resync-2*time.Minute {
		w.asks(observeCall)
		w.answer(&answer{wait: time.Minute, label: "wait"})
		w.settle()
	}
	w.isReady(true)
	if now := w.p().ResourceVersion; now != written {
		t.Errorf("the resource was written: version %s, then %s", written, now)
	}
	for w.s.now.Sub(restarted) < 2*resync+2*time.Minute {
		w.asks(observeCall)
		w.answer(&answer{wait: time.Minute, label: "wait"})
		w.settle()
	}
	w.isReady(false)
}
