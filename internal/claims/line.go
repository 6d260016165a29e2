package claims

import (
	"cmp"
	"container/heap"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// Candidate is a resource that wants a group and does not hold it.
type Candidate struct {
	types.NamespacedName
	UID types.UID
}

// Lines are the candidates of each group, in the order of their turns: the oldest
// first, then the smaller UID. A candidate that has no claim after its Turn goes
// behind the others. Each operation costs the logarithm of the number of candidates
// of one group. The zero value is ready for use.
type Lines struct {
	mu     sync.Mutex
	groups map[Group]*line
	places map[types.UID]*place
}

// place is where a candidate stands.
type place struct {
	Candidate
	group   Group
	created time.Time
	// rounds is how often it was passed over.
	rounds int
	// first is since when it has been the first; zero before.
	first time.Time
	index int
}

// Enter puts a resource in line. One that is in line already keeps its place.
func (l *Lines) Enter(p *v1alpha1.SecurityGroupPolicy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[p.UID] != nil {
		return
	}
	if l.groups == nil {
		l.groups, l.places = map[Group]*line{}, map[types.UID]*place{}
	}
	at := &place{Candidate: Candidate{types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, p.UID},
		group: GroupOf(p), created: p.CreationTimestamp.Time}
	if l.groups[at.group] == nil {
		l.groups[at.group] = &line{}
	}
	heap.Push(l.groups[at.group], at)
	l.places[p.UID] = at
}

// Leave takes a resource out of line: it holds the group, does not want it, cannot
// have it, or is gone. It may enter again.
func (l *Lines) Leave(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.places[uid]
	if at == nil {
		return
	}
	delete(l.places, uid)
	waiting := l.groups[at.group]
	heap.Remove(waiting, at.index)
	if waiting.Len() == 0 {
		delete(l.groups, at.group)
	}
}

// Next is the candidate whose turn it is. Its turn begins when it is first asked for.
func (l *Lines) Next(g Group, now time.Time) (Candidate, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.groups[g]
	if waiting == nil {
		return Candidate{}, false
	}
	first := (*waiting)[0]
	if !first.first.IsZero() && now.Sub(first.first) >= Turn {
		first.rounds++
		first.first = time.Time{}
		heap.Fix(waiting, 0)
		first = (*waiting)[0]
	}
	if first.first.IsZero() {
		first.first = now
	}
	return first.Candidate, true
}

// Len is how many candidates there are, for all groups.
func (l *Lines) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.places)
}

// Clone is a copy that goes its own way.
func (l *Lines) Clone() *Lines {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &Lines{groups: map[Group]*line{}, places: map[types.UID]*place{}}
	for g, waiting := range l.groups {
		copied := make(line, len(*waiting))
		for i, at := range *waiting {
			copied[i] = new(*at)
			c.places[at.UID] = copied[i]
		}
		c.groups[g] = &copied
	}
	return c
}

// line is a heap of places.
type line []*place

func (l line) Len() int { return len(l) }

func (l line) Less(i, j int) bool {
	a, b := l[i], l[j]
	return cmp.Or(cmp.Compare(a.rounds, b.rounds), a.created.Compare(b.created), cmp.Compare(a.UID, b.UID)) < 0
}

func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push implements heap.Interface.
func (l *line) Push(x any) {
	at := x.(*place)
	at.index = len(*l)
	*l = append(*l, at)
}

// Pop implements heap.Interface.
func (l *line) Pop() any {
	old := *l
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	return last
}
