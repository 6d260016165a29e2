package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

// phase is where a fleet, a shard or an account-region stands.
type phase int

const (
	cold     phase = iota // until every group was observed once
	settling              // until every look has found its place in the interval
	steady

	phases = 3
)

// tally is what is counted.
type tally struct {
	plan      *plan
	perSecond []int // calls
	phases    [phases]figures
	firsts    []time.Duration // when each group was observed first
	// The same for the largest account-region, and when it was observed at all.
	firstsLargest, observedLargest []time.Duration
}

// figures of a phase. Edits belong to the one in which they were made.
type figures struct {
	calls, refused int
	takes, turns   int // asked for and given, for the first read of a pass
	looks, late    int // beside the first one at each group
	longest        time.Duration
	workers        int // in use at the same time in one shard
	editTurns      []time.Duration
	editsSeen      []time.Duration
}

func newTally(p *plan) *tally {
	return &tally{plan: p, perSecond: make([]int, p.end/time.Second+1)}
}

// noteGap notes how long after the last look a look came.
func (t *tally) noteGap(in phase, gap time.Duration) {
	f := &t.phases[in]
	f.looks++
	f.longest = max(f.longest, gap)
	if gap > t.lateAfter() {
		f.late++
	}
}

// noteOverdue notes what is left at the end: a look that never came would not be
// counted otherwise.
func (t *tally) noteOverdue(gap time.Duration) {
	if gap > t.lateAfter() {
		t.noteGap(steady, gap)
	}
}

func (t *tally) lateAfter() time.Duration { return t.plan.interval * 5 / 4 }

func (t *tally) add(o *tally) {
	for i, n := range o.perSecond {
		t.perSecond[i] += n
	}
	t.firsts = append(t.firsts, o.firsts...)
	t.firstsLargest = append(t.firstsLargest, o.firstsLargest...)
	t.observedLargest = append(t.observedLargest, o.observedLargest...)
	for i := range o.phases {
		f, g := &t.phases[i], &o.phases[i]
		f.calls += g.calls
		f.refused += g.refused
		f.takes += g.takes
		f.turns += g.turns
		f.looks += g.looks
		f.late += g.late
		f.longest = max(f.longest, g.longest)
		f.workers = max(f.workers, g.workers)
		f.editTurns = append(f.editTurns, g.editTurns...)
		f.editsSeen = append(f.editsSeen, g.editsSeen...)
	}
}

func (t *tally) total() int {
	n := 0
	for i := range t.phases {
		n += t.phases[i].calls
	}
	return n
}

// perSecondIn gives the mean and the busiest second between two times.
func (t *tally) perSecondIn(from, to time.Duration) (mean float64, busiest int) {
	seconds := t.perSecond[from/time.Second : to/time.Second]
	for _, n := range seconds {
		mean += float64(n) / float64(len(seconds))
		busiest = max(busiest, n)
	}
	return mean, busiest
}

// above is the highest number of calls by which any span of time exceeds rate: the
// burst, if everything is right.
func above(calls []time.Duration, rate float64) float64 {
	least, most := math.Inf(1), 0.0
	for i, at := range calls {
		allowed := rate * at.Seconds()
		least = min(least, float64(i)-allowed)
		most = max(most, float64(i+1)-allowed-least)
	}
	return most
}

// quantile of some times, zero if there are none.
func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[max(0, int(math.Ceil(q*float64(len(of))))-1)]
}

// report is what is shown.
type report struct {
	*plan
	fleet, busiest *tally
}

func (r *report) write(w io.Writer) {
	row := func(when, what, format string, args ...any) {
		fmt.Fprintf(w, "| %s | %s | %s |\n", when, what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "%s groups in %d accounts of %d regions, skew %g; %g calls per second, burst %d; interval %v; latency %v; %d shards of %d workers; %g edits per second",
		whole(r.groups), r.accounts, r.regions, r.skew, r.qps, r.burst, r.interval, r.latency, r.shards, r.workers, r.edits)
	if r.quota > 0 {
		fmt.Fprintf(w, "; ECS grants %d calls per minute", r.quota)
	}
	fmt.Fprint(w, ".\n\n| phase | figure | value |\n| --- | --- | --- |\n")
	row("arithmetic", "groups per account-region: mean, largest", "%s, %s", whole(r.groups/(r.accounts*r.regions)), whole(r.most))
	row("", "shortest interval that --qps permits the largest account-region", "%v", span(r.shortest(r.qps)))
	if r.rate() < r.qps {
		row("", "shortest interval that the quota permits it", "%v", span(r.shortest(r.rate())))
	}
	row("", "calls per second over the fleet: looks; with edits, at most", "%.1f; %.1f", r.looksPerSecond(), r.looksPerSecond()+3*r.edits)
	r.coldStart(row)
	r.steadyState(row)
	if r.edits > 0 {
		r.editWaits(row, cold, "cold start")
		r.editWaits(row, steady, "steady state")
	}
}

type rowFunc func(when, what, format string, args ...any)

func (r *report) looksPerSecond() float64 { return float64(r.groups) / r.interval.Seconds() }

func (r *report) coldStart(row rowFunc) {
	seen := func(firsts []time.Duration, of int) string {
		text := ""
		for i, share := range []float64{0.5, 0.99, 1} {
			if i > 0 {
				text += ", "
			}
			if n := int(math.Ceil(share * float64(of))); n <= len(firsts) {
				text += span(quantile(firsts, float64(n)/float64(len(firsts)))).String()
				continue
			}
			text += "never"
		}
		return text
	}
	f := &r.fleet.phases[cold]
	row("cold start", "half, 99 % and all groups of the fleet were read after", "%s", seen(r.fleet.firsts, r.groups))
	row("", "the same for the largest account-region", "%s", seen(r.fleet.firstsLargest, r.most))
	_, busiest := r.fleet.perSecondIn(0, r.from)
	row("", "calls in the busiest second over the fleet", "%s", whole(busiest))
	row("", "Take calls (passes) per read", "%s", ratio(f.takes, f.turns))
	row("", "most workers in use in one shard", "%d of %d", f.workers, r.workers)
	r.refusals(row, cold)
}

func (r *report) steadyState(row rowFunc) {
	f := &r.fleet.phases[steady]
	row("settling", "longest time between two looks at a group", "%.3f intervals", r.fleet.phases[settling].longest.Seconds()/r.interval.Seconds())
	rates := func(what string, t *tally) {
		mean, busiest := t.perSecondIn(r.from, r.end)
		row("", what+": mean, busiest second, ratio", "%.1f, %d, %.2f", mean, busiest, float64(busiest)/mean)
	}
	row("steady state", "from, to", "%v, %v", span(r.from), span(r.end))
	rates("calls per second over the fleet", r.fleet)
	rates("the same in the busiest shard", r.busiest)
	row("", "most calls above --qps x t in any span t, largest account-region", "%.1f", above(r.fleet.observedLargest, r.qps))
	row("", "looks later than 1.25 intervals; longest time between two", "%s; %.3f intervals", percent(f.late, f.looks), f.longest.Seconds()/r.interval.Seconds())
	row("", "Take calls (passes) per read", "%s", ratio(f.takes, f.turns))
	row("", "most workers in use in one shard", "%d of %d", f.workers, r.workers)
	r.refusals(row, steady)
}

func (r *report) refusals(row rowFunc, p phase) {
	if f := &r.fleet.phases[p]; r.quota > 0 {
		row("", "calls refused", "%s of %s (%s)", whole(f.refused), whole(f.calls), percent(f.refused, f.calls))
	}
}

func (r *report) editWaits(row rowFunc, p phase, name string) {
	f := &r.fleet.phases[p]
	three := func(d []time.Duration) string {
		return fmt.Sprintf("%v, %v, %v", span(quantile(d, 0.5)), span(quantile(d, 0.99)), span(quantile(d, 1)))
	}
	row("edits, "+name, "edits made", "%s", whole(len(f.editTurns)))
	row("", "wait for the first turn: p50, p99, max", "%s", three(f.editTurns))
	row("", "until the change was read back: p50, p99, max", "%s", three(f.editsSeen))
}

func percent(n, of int) string { return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(max(1, of))) }

func ratio(n, of int) string { return fmt.Sprintf("%.2f", float64(n)/float64(max(1, of))) }

// span rounds a time to what is worth reading.
func span(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// whole writes a number with a comma at every thousand.
func whole(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
