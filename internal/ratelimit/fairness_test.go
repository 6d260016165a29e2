package ratelimit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestEveryFifthCallIsAResyncWhileOneWaits, whatever else is asked for.
func TestEveryFifthCallIsAResyncWhileOneWaits(t *testing.T) {
	const perPriority = 40
	w := newWorld(10, 5)
	d := newDrive(w)
	d.again = true
	for i := range perPriority {
		for p := range Priority(priorities) {
			d.ask(Asker{ID: fmt.Sprint(p, "-", i), Tenant: strconv.Itoa(i % 4), Priority: p})
		}
	}
	d.until(w.now.Add(10 * time.Minute))
	var calls [priorities]int
	for _, p := range d.order {
		calls[p]++
	}
	if all := len(d.order); float64(calls[Resync]) < 0.2*float64(all)-1 || all < 5900 {
		t.Errorf("%d calls of a priority, want a fifth of all for resyncs, and 6,000 in all", calls)
	} else if calls[Resync] > all/4 {
		t.Errorf("%d calls of a priority: that is more than a fifth for resyncs", calls)
	}
	since, longest := 0, 0
	for _, p := range d.order {
		if since++; p == Resync {
			since = 0
		}
		longest = max(longest, since)
	}
	if longest > 2*othersPerResync {
		t.Errorf("%d calls without a resync", longest)
	}
}

// TestATenantWithAThousandWaitingDelaysNoOther by more than the calls that go in a turn.
func TestATenantWithAThousandWaitingDelaysNoOther(t *testing.T) {
	for p := range Priority(priorities) {
		w := newWorld(10, 2)
		d := newDrive(w)
		for i := range 1000 {
			d.ask(Asker{ID: fmt.Sprint("greedy-", i), Tenant: "greedy", Priority: p})
		}
		d.until(w.now.Add(20 * time.Second))
		asked := w.now
		d.ask(Asker{ID: "single", Tenant: "modest", Priority: p})
		for d.served["single"] == 0 && w.now.Sub(asked) < time.Minute {
			d.until(w.now.Add(10 * time.Millisecond))
		}
		// One of the greedy tenant in the round that has begun, and one in the next.
		if waited := w.now.Sub(asked); waited > 400*time.Millisecond {
			t.Errorf("priority %d: the single one waited %v at 10 calls per second", p, waited)
		}
	}
}

// TestTenantsTakeTurns: each gets as much as any other, however much it asks for.
func TestTenantsTakeTurns(t *testing.T) {
	w := newWorld(10, 2)
	d := newDrive(w)
	d.again = true
	for tenant, waiting := range []int{300, 100, 10, 1} {
		for i := range waiting {
			d.ask(Asker{ID: fmt.Sprint(tenant, "-", i), Tenant: strconv.Itoa(tenant), Priority: Edit})
		}
	}
	d.until(w.now.Add(10 * time.Minute))
	of := map[string]int{}
	for id, n := range d.served {
		of[id[:1]] += n
	}
	// The one that asks for one at a time misses the rounds that begin while it is served.
	if of["0"] > 2000 || of["1"] < 1600 || of["2"] < 1600 || of["3"] < 600 {
		t.Errorf("calls of the tenants with 300, 100, 10 and 1 waiting: %v", of)
	}
}

// TestWhoAsksAgainAtOnceHoldsUpNobody: a round ends, although its tenants come back
// before it does.
func TestWhoAsksAgainAtOnceHoldsUpNobody(t *testing.T) {
	w := newWorld(10, 2)
	d := newDrive(w)
	d.again = true
	for i := range 5 {
		d.ask(Asker{ID: fmt.Sprint("loop-", i), Tenant: strconv.Itoa(i), Priority: Edit})
	}
	d.until(w.now.Add(10 * time.Second))
	d.again = false
	for i := range 3 {
		d.ask(Asker{ID: fmt.Sprint("one-of-three-", i), Tenant: "modest", Priority: Edit})
	}
	d.again = true
	d.until(w.now.Add(10 * time.Second))
	for i := range 3 {
		if d.served[fmt.Sprint("one-of-three-", i)] == 0 {
			t.Errorf("the one with %d of its tenant before it was not served in ten seconds at 10 per second", i)
		}
	}
}

// TestPlacesGivenUpCostTheirTenantNothing: a tenant whose resyncs became edits is not
// sent to the end of the line with the next one.
func TestPlacesGivenUpCostTheirTenantNothing(t *testing.T) {
	w := newWorld(10, 2)
	d := newDrive(w)
	d.again = true
	for i := range 20 {
		d.ask(Asker{ID: fmt.Sprint("other-", i), Tenant: "other", Priority: Resync})
	}
	for i := range 1000 {
		w.g.Take(Asker{ID: fmt.Sprint("edited-", i), Tenant: "editor", Priority: Resync})
	}
	for i := range 999 {
		w.g.Take(Asker{ID: fmt.Sprint("edited-", i), Tenant: "editor", Priority: Edit})
	}
	d.ask(Asker{ID: "next", Tenant: "editor", Priority: Resync})
	// Nobody comes for the edits, or for the last one that was not made.
	for asked := w.now; d.served["next"] == 0; d.until(w.now.Add(10 * time.Millisecond)) {
		if waited := w.now.Sub(asked); waited > 5*time.Second {
			t.Fatalf("the next resync waited %v", waited)
		}
	}
}

// drive lets askers come back when told.
type drive struct {
	w      *world
	queue  heapOf[event]
	again  bool // who was served asks again
	served map[string]int
	order  []Priority // of the calls
}

func newDrive(w *world) *drive { return &drive{w: w, served: map[string]int{}} }

func (d *drive) ask(a Asker) {
	if wait, _ := d.w.g.Take(a); wait > 0 {
		d.queue.push(event{at: d.w.now.Add(wait), asker: a})
		return
	}
	d.w.g.Done(Answered, 0)
	d.served[a.ID]++
	d.order = append(d.order, a.Priority)
	if d.again {
		d.queue.push(event{at: d.w.now.Add(roundTrip), asker: a})
	}
}

func (d *drive) until(end time.Time) {
	for len(d.queue) > 0 && !d.queue[0].at.After(end) {
		e := d.queue.pop()
		d.w.now = later(d.w.now, e.at)
		d.ask(e.asker)
	}
	d.w.now = end
}

// TestADayBesideAGreedyNamespace: of ten namespaces one edits in a loop, more than the
// quota holds. The others' edits do not wait, and their resyncs come in time.
func TestADayBesideAGreedyNamespace(t *testing.T) {
	const (
		limit, burst = 10, 20
		namespaces   = 10
		each         = 60 // resources
		interval     = 10 * time.Minute
		greedyRate   = 11. // edits per second
		modestRate   = 1. / 60
		lasts        = 24 * time.Hour / shorter
	)
	d := newDay(limit, burst, interval, namespaces, each)
	d.editEvery(0, greedyRate)
	for n := 1; n < namespaces; n++ {
		d.editEvery(n, modestRate)
	}
	d.run(lasts)
	for n := range namespaces {
		edits, resyncs := d.waits[n][Edit], d.waits[n][Resync]
		slices.Sort(edits)
		slices.Sort(resyncs)
		t.Logf("namespace %d: waits of %d edits %v, of %d resyncs %v; at most %.3f intervals between two reads",
			n, len(edits), quantiles(edits), len(resyncs), quantiles(resyncs), d.longest[n].Seconds()/interval.Seconds())
		if n == 0 {
			continue // it has itself to thank
		}
		if p99 := edits[len(edits)*99/100]; p99 > 2*time.Second {
			t.Errorf("namespace %d: one edit in a hundred waited %v and more", n, p99)
		}
		// Spread makes the next read come after one and a quarter at most.
		worst := resyncs[len(resyncs)-1]
		if worst > 5*time.Second || d.longest[n] > interval*5/4+worst {
			t.Errorf("namespace %d: a resync waited %v, and one came after %v", n, worst, d.longest[n])
		}
		if due := int(each * (lasts/interval - 4)); len(resyncs) < due*85/100 {
			t.Errorf("namespace %d: %d resyncs, want about %d, less those that an edit spared", n, len(resyncs), due)
		}
	}
	t.Logf("%d calls, %d times asked", d.calls, d.asked)
	if used := float64(d.calls) / limit / lasts.Seconds(); used < 0.99 {
		t.Errorf("%.3f of the rate was used", used)
	}
}

func quantiles(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	return fmt.Sprintf("%v (half), %v (99 %%), %v (all)", d[len(d)/2], d[len(d)*99/100], d[len(d)-1])
}

// day is the life of some resources: edits, each with a read and a read-back, and
// resyncs.
type day struct {
	*world
	begun    time.Time
	queue    heapOf[moment]
	interval time.Duration
	random   *rand.Rand
	each     int
	places   []place
	waits    [][priorities][]time.Duration // by namespace
	longest  []time.Duration               // between two reads
	calls    int
}

// place is a resource.
type place struct {
	asker   Asker
	version int // of its moment in the queue
	due     time.Time
	readAt  time.Time
}

func newDay(limit float64, burst int, interval time.Duration, namespaces, each int) *day {
	d := &day{world: newWorld(limit, burst), interval: interval, each: each, random: rand.New(rand.NewPCG(1, 2)),
		waits: make([][priorities][]time.Duration, namespaces), longest: make([]time.Duration, namespaces)}
	d.begun = d.now
	for i := range namespaces * each {
		id := strconv.Itoa(i)
		d.places = append(d.places, place{asker: Asker{ID: id, Tenant: strconv.Itoa(i / each)}, readAt: d.now})
		d.next(i, Resync, Spread(id, d.now, interval))
	}
	return d
}

// next lets a resource want a token after a while.
func (d *day) next(i int, p Priority, after time.Duration) {
	d.places[i].asker.Priority = p
	d.places[i].due = d.now.Add(after)
	d.wake(i, after)
}

func (d *day) wake(i int, after time.Duration) {
	d.places[i].version++
	d.queue.push(moment{at: d.now.Sub(d.begun) + after, place: i, version: d.places[i].version})
}

// editEvery lets the users of a namespace edit something so many times per second.
func (d *day) editEvery(namespace int, rate float64) {
	after := time.Duration(d.random.ExpFloat64() / rate * float64(time.Second))
	d.queue.push(moment{at: d.now.Sub(d.begun) + after, place: namespace, rate: rate})
}

func (d *day) run(lasts time.Duration) {
	for d.queue[0].at < lasts {
		m := d.queue.pop()
		d.now = d.begun.Add(m.at)
		switch {
		case m.rate > 0:
			d.editEvery(m.place, m.rate)
			i := m.place*d.each + d.random.IntN(d.each)
			if d.places[i].asker.Priority == Resync { // else one pass serves both
				d.next(i, Edit, 0)
			}
		case m.version == d.places[m.place].version:
			d.ask(m.place)
		}
	}
}

func (d *day) ask(i int) {
	p := &d.places[i]
	d.asked++
	if wait, _ := d.g.Take(p.asker); wait > 0 {
		d.wake(i, wait)
		return
	}
	d.calls++
	d.g.Done(Answered, 0)
	if d.now.Sub(d.begun) > 4*d.interval { // the resyncs have been spread
		n := i / d.each
		d.longest[n] = max(d.longest[n], d.now.Sub(p.readAt))
		w := &d.waits[n][p.asker.Priority]
		*w = append(*w, d.now.Sub(p.due))
	}
	p.readAt = d.now
	if p.asker.Priority == Edit { // and then the read-back
		d.next(i, Finish, 3*roundTrip)
		return
	}
	d.next(i, Resync, Spread(p.asker.ID, d.now, d.interval))
}

// moment is when something happens.
type moment struct {
	at             time.Duration
	place, version int
	rate           float64 // of edits
}

func (m moment) earlier(than moment) bool { return m.at < than.at }
