package securitygrouppolicy

import (
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

func TestAChangeThatWasNotWrittenAheadCountsForNothing(t *testing.T) {
	for _, write := range []string{putMeta, putStatus} {
		t.Run(write, func(t *testing.T) {
			w := newStory(t)
			left := w.s.left
			w.s = setting{resources: 1, managers: 1, total: left.total, budget: 1}.start()
			w.s.left = left
			w.asks(write)
			w.answer(&answer{err: conflicting("r0"), label: "conflict"})
			w.pass(time.Minute)
			w.cloudIs(ecs.Drop)
			w.isReady(true)
		})
	}
}

func TestARequestThatIsRepeatedCountsOnce(t *testing.T) {
	w := newStory(t)
	left := w.s.left
	w.s = setting{resources: 1, managers: 1, total: left.total, budget: 1}.start()
	w.s.left = left
	w.asks(putStatus)
	w.take("write status")
	w.asks(modifyCall)
	w.take("modify to Drop: done, and the answer is lost")
	w.pass(time.Minute)
	w.isReady(true)
	if spent := w.s.managers[0].spent.spent; len(spent) != 1 {
		t.Fatalf("%+v", spent)
	}
	for key, all := range w.s.managers[0].spent.spent {
		if len(all) != 1 {
			t.Errorf("%+v: %+v", key, all)
		}
	}
}
