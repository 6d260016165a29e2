package claims

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// queue is a line of candidates whose time is told.
type queue struct {
	*testing.T
	Lines

	now time.Time
}

func newQueue(t *testing.T, ages map[string]time.Duration) *queue {
	t.Helper()
	q := &queue{T: t, now: noon}
	for uid, age := range ages {
		q.Enter(resource(uid, age))
	}
	return q
}

func (q *queue) next(want string) {
	q.Helper()
	got, found := q.Next(group, q.now)
	if string(got.UID) != want || found != (want != "") {
		q.Fatalf("next is %q, want %q", got.UID, want)
	}
	if found && got.NamespacedName != (types.NamespacedName{Namespace: "team", Name: "r-" + want}) {
		q.Fatalf("%q is called %v", want, got.NamespacedName)
	}
}

func (q *queue) pass(d time.Duration) { q.now = q.now.Add(d) }

func TestTheOldestGoesFirstThenTheSmallerUID(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"d": time.Minute, "b": 2 * time.Minute, "c": 2 * time.Minute, "a": 0})
	for _, uid := range []string{"b", "c", "d", "a"} {
		q.next(uid)
		q.Leave(types.UID(uid))
	}
	q.next("")
	if q.Len() != 0 || len(q.groups) != 0 {
		t.Errorf("%d candidates and %d groups are kept", q.Len(), len(q.groups))
	}
}

func TestGroupsHaveTheirOwnLines(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"a": 0})
	other := resource("b", time.Hour)
	other.Spec.RegionID = "cn-beijing"
	q.Enter(other)
	q.next("a")
	if got, found := q.Next(GroupOf(other), q.now); !found || got.UID != "b" {
		t.Errorf("next is %+v", got)
	}
	q.Leave("a")
	q.next("")
}

func TestACandidateHasAMinuteFromWhenItsTurnBegins(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"a": 2 * time.Hour, "b": time.Hour})
	q.pass(time.Hour) // nobody has asked yet
	q.next("a")
	q.pass(Turn - 1)
	q.next("a")
	q.pass(1)
	q.next("b")
	q.pass(Turn - 1)
	q.next("b")
}

func TestWhoIsPassedOverGoesBehindTheOthersAndComesAgain(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"a": 3 * time.Hour, "b": 2 * time.Hour, "c": time.Hour})
	for range 3 {
		for _, uid := range []string{"a", "b", "c"} {
			q.next(uid)
			q.pass(Turn)
		}
	}
	q.next("a")
	q.Enter(resource("young", 0)) // which has not had its turn yet
	q.pass(Turn)
	q.next("young")
}

func TestAnOlderCandidateThatComesLaterGoesFirst(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"b": time.Hour})
	q.next("b")
	q.pass(Turn / 2)
	q.Enter(resource("a", 2*time.Hour))
	q.next("a")
	q.Leave("a")
	q.pass(Turn / 2)
	q.next("b") // it had its minute, and nobody else is there
}

func TestWhoLeavesLosesItsPlaceAndMayEnterAgain(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"a": 2 * time.Hour, "b": time.Hour})
	q.next("a")
	q.pass(Turn)
	q.next("b")
	q.Leave("a")
	q.Leave("a") // twice is once
	q.Leave("nobody")
	q.Enter(resource("a", 2*time.Hour))
	q.next("a")
	q.pass(Turn - 1)
	q.next("a")
}

func TestWhoEntersTwiceKeepsItsPlace(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"a": 2 * time.Hour, "b": time.Hour})
	q.next("a")
	q.pass(Turn)
	q.next("b")
	q.Enter(resource("a", 2*time.Hour))
	q.next("b")
	if q.Len() != 2 {
		t.Errorf("%d candidates", q.Len())
	}
}

func TestACopyOfTheLinesGoesItsOwnWay(t *testing.T) {
	q := newQueue(t, map[string]time.Duration{"a": 2 * time.Hour, "b": time.Hour})
	q.next("a")
	c := q.Clone()
	c.Leave("a")
	q.next("a")
	q.pass(Turn)
	if got, _ := c.Next(group, q.now); got.UID != "b" || q.Len() != 2 || c.Len() != 1 {
		t.Errorf("next is %q of %d, and of the original %d", got.UID, c.Len(), q.Len())
	}
}

// BenchmarkLinesNext is what an event costs that lets the next candidate of a group go:
// the one before is passed over.
func BenchmarkLinesNext(b *testing.B) {
	for _, candidates := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(candidates, "-candidates"), func(b *testing.B) {
			var lines Lines
			for i := range candidates {
				lines.Enter(resource(fmt.Sprintf("%05d", i), time.Duration(candidates-i)*time.Second))
			}
			now := noon
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(Turn)
				lines.Next(group, now)
			}
		})
	}
}

// BenchmarkLinesLeaveAndEnter is a candidate that gets the group, and one that is new.
func BenchmarkLinesLeaveAndEnter(b *testing.B) {
	for _, candidates := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(candidates, "-candidates"), func(b *testing.B) {
			var lines Lines
			for i := range candidates {
				lines.Enter(resource(fmt.Sprintf("%05d", i), time.Duration(candidates-i)*time.Second))
			}
			first := resource("00000", time.Duration(candidates)*time.Second)
			b.ReportAllocs()
			for b.Loop() {
				lines.Leave(first.UID)
				lines.Enter(first)
				lines.Next(group, noon)
			}
		})
	}
}
