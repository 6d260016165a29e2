package claims

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/internal/policy"
)

func TestTheGroupOfAHolderThatIsGoneIsFreeWhenNothingOfItsCanTakeEffect(t *testing.T) {
	var e Endings
	e.Gone("clean", false, noon)
	e.Gone("changing", true, noon)
	for uid, want := range map[string]time.Time{
		"clean":    noon,
		"changing": noon.Add(policy.Doubt),
	} {
		for _, later := range []time.Duration{0, time.Second, time.Hour} {
			if got := e.FreeAt(types.UID(uid), noon.Add(later)); !got.Equal(want) {
				t.Errorf("%s: free at %v, want %v", uid, got, want)
			}
		}
	}
}

func TestAHolderWhoseEndNobodySawIsInDoubtFromWhenItIsMissed(t *testing.T) {
	var e Endings
	for _, later := range []time.Duration{0, time.Second, time.Hour} {
		if got := e.FreeAt("unseen", noon.Add(later)); !got.Equal(noon.Add(policy.Doubt)) {
			t.Errorf("free at %v", got)
		}
	}
}

func TestTheHourOfWhoIsAskedBeginsWhenThisProcessLearnsOfIt(t *testing.T) {
	var e Endings
	for name, asked := range map[string]time.Time{
		"a clock behind": noon.Add(-time.Hour), "the same clock": noon, "a clock ahead": noon.Add(time.Hour),
	} {
		now := noon.Add(time.Minute)
		if got := e.Asked(types.UID(name), asked, now); !got.Equal(now) {
			t.Errorf("%s: asked since %v", name, got)
		}
		if got := e.Asked(types.UID(name), asked, now.Add(time.Minute)); !got.Equal(now) {
			t.Errorf("%s: the hour begins anew at %v", name, got)
		}
	}
	again := noon.Add(2 * time.Hour)
	if got := e.Asked("the same clock", again, again); !got.Equal(again) {
		t.Errorf("another request counts from the first one: %v", got)
	}
}

func TestWhoIsAskedIsNotGone(t *testing.T) {
	var e Endings
	e.Gone("moved", false, noon)
	e.Asked("moved", noon, noon)
	if got := e.FreeAt("moved", noon); !got.Equal(noon.Add(policy.Doubt)) {
		t.Errorf("its end was only that of its place in this shard; free at %v", got)
	}
}

func TestWhoHasAnsweredIsForgotten(t *testing.T) {
	var e Endings
	e.Gone("a", true, noon)
	e.Asked("b", noon, noon)
	c := e.Clone()
	e.Forget("a")
	e.Forget("b")
	e.Forget("nobody")
	if e.Len() != 0 || c.Len() != 2 {
		t.Errorf("%d are kept, and in the copy %d", e.Len(), c.Len())
	}
	later := noon.Add(time.Hour)
	if got := e.Asked("b", noon, later); !got.Equal(later) {
		t.Errorf("asked since %v", got)
	}
}
