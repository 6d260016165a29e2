package main

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// small is a fleet that takes part of a second.
func small(t *testing.T, args ...string) *config {
	t.Helper()
	c, err := parse(append([]string{
		"--groups=10000", "--accounts=5", "--interval=10m", "--intervals=1", "--shards=2", "--edits=0",
	}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFleetWithoutEdits(t *testing.T) {
	t.Parallel()
	r := run(small(t), io.Discard)

	if n := len(r.fleet.firsts); n != r.groups {
		t.Errorf("%d of %d groups were observed in the cold start", n, r.groups)
	}
	if n := r.fleet.phases[cold].calls; n != r.groups {
		t.Errorf("the cold start took %d calls for %d groups", n, r.groups)
	}
	if last, bound := quantile(r.fleet.firstsLargest, 1), r.shortest(r.qps); last > bound+bound/20 {
		t.Errorf("the largest account-region was observed once after %v, at its rate it takes %v", last, bound)
	}
	if n := above(r.fleet.observedLargest, r.qps); n > float64(r.burst) {
		t.Errorf("%.1f calls above the rate in some span of time, with a burst of %d", n, r.burst)
	}
	mean, busiest := r.fleet.perSecondIn(r.from, r.end)
	if want := r.looksPerSecond(); math.Abs(mean-want) > want/50 {
		t.Errorf("%.2f calls per second in the steady state, want about %.2f", mean, want)
	} else if float64(busiest) > 2.5*mean {
		t.Errorf("%d calls in one second, with %.2f on average", busiest, mean)
	}
	if f := r.fleet.phases[steady]; f.late > 0 || f.looks == 0 {
		t.Errorf("%d of %d looks were late, the latest after %v", f.late, f.looks, f.longest)
	}
}

func TestEditsDoNotWaitInLine(t *testing.T) {
	t.Parallel()
	r := run(small(t, "--edits=5"), io.Discard)

	f := &r.fleet.phases[cold]
	if len(f.editTurns) < 100 {
		t.Fatalf("only %d edits in the cold start", len(f.editTurns))
	}
	if longest, looks := quantile(f.editTurns, 1), quantile(r.fleet.firsts, 0.5); longest > looks/10 {
		t.Errorf("an edit waited %v for its turn, half of the looks no longer than %v", longest, looks)
	}
	if seen := quantile(f.editsSeen, 1); seen > 5*time.Second {
		t.Errorf("a change was read back after %v", seen)
	}
	if n := above(r.fleet.observedLargest, r.qps); n > float64(r.burst) {
		t.Errorf("%.1f calls above the rate in some span of time, with a burst of %d", n, r.burst)
	}
}

func TestQuotaBelowTheRate(t *testing.T) {
	t.Parallel()
	r := run(small(t, "--quota=300"), io.Discard)

	f := r.fleet.phases[cold]
	if f.refused == 0 || f.refused*20 > f.calls {
		t.Errorf("%d of %d calls were refused in the cold start, want some, but less than 5 %%", f.refused, f.calls)
	}
	if n := len(r.fleet.firsts); n != r.groups {
		t.Errorf("%d of %d groups were observed", n, r.groups)
	}
	if last, bound := quantile(r.fleet.firstsLargest, 1), r.shortest(r.rate()); last > bound+bound/5 {
		t.Errorf("the largest account-region was observed once after %v, at its quota it takes %v", last, bound)
	}
	if n := r.fleet.phases[steady].refused; n > 0 {
		t.Errorf("%d calls were refused in the steady state", n)
	}
}

func TestTooManyGroupsForTheInterval(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	r := run(small(t, "--groups=500", "--accounts=1", "--qps=1", "--interval=2m"), &said)

	if text := said.String(); !strings.HasPrefix(text, "scale: no steady state: ") || !strings.Contains(text, "use a longer one") {
		t.Errorf("said %q", text)
	}
	if f := r.fleet.phases[steady]; f.late == 0 {
		t.Errorf("none of %d looks was late", f.looks)
	}
}

func TestSameSeedSameFigures(t *testing.T) {
	t.Parallel()
	figures := func(args ...string) string {
		var b bytes.Buffer
		run(small(t, append([]string{"--groups=500", "--accounts=3", "--edits=1"}, args...)...), io.Discard).write(&b)
		return b.String()
	}
	first := figures()
	if again := figures(); again != first {
		t.Errorf("two runs differ:\n%s\n%s", first, again)
	}
	if other := figures("--seed=2"); other == first {
		t.Error("another seed makes no difference")
	}
}

func TestSizesAddUp(t *testing.T) {
	t.Parallel()
	for _, skew := range []string{"0", "0.5", "2"} {
		p := newPlan(small(t, "--groups=12345", "--accounts=7", "--skew="+skew))
		sum, least := 0, p.groups
		for _, regions := range p.sizes {
			for _, n := range regions {
				sum += n
				least = min(least, n)
			}
		}
		if sum != p.groups || least < 0 {
			t.Errorf("skew %s: %d groups, %d at least", skew, sum, least)
		}
		if even := p.most-least <= 1; even != (skew == "0") {
			t.Errorf("skew %s: from %d to %d groups", skew, least, p.most)
		}
	}
}

func TestAbove(t *testing.T) {
	for name, c := range map[string]struct {
		seconds []float64
		want    float64
	}{
		"none":             {nil, 0},
		"at the rate":      {[]float64{0, 0.5, 1, 1.5}, 1},
		"a burst":          {[]float64{0, 0, 0, 1, 1.5}, 3},
		"a burst later":    {[]float64{0, 10, 10, 10, 10}, 4},
		"too soon after a": {[]float64{0, 0, 0, 0.1, 0.1}, 4.8},
	} {
		var calls []time.Duration
		for _, s := range c.seconds {
			calls = append(calls, time.Duration(s*float64(time.Second)))
		}
		if got := above(calls, 2); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range []string{"--groups=0", "--qps=0", "--qps=NaN", "--interval=0s", "--quota=-1", "--edits=-1", "--nothing", "word"} {
		if _, err := parse([]string{args}, io.Discard); err == nil {
			t.Errorf("%s is accepted", args)
		}
	}
}
