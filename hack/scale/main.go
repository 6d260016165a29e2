// Command scale shows what a fleet of security groups asks of ECS, and how long its
// users wait: the manager's own ratelimit.Governor and ratelimit.Spread, driven by
// simulated time. It writes a Markdown table to standard output.
//
// What a pass costs beside its calls (the API server, the CPU) is not simulated.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"
)

type config struct {
	groups, accounts, regions int
	skew                      float64
	qps                       float64
	burst                     int
	interval, latency         time.Duration
	intervals                 int
	quota                     int
	shards, workers           int
	edits                     float64
	seed                      uint64
}

func main() {
	c, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(2)
	}
	run(c, os.Stderr).write(os.Stdout)
}

func parse(args []string, stderr io.Writer) (*config, error) {
	c := &config{}
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.IntVar(&c.groups, "groups", 1_000_000, "security groups in the fleet")
	f.IntVar(&c.accounts, "accounts", 200, "accounts that own them")
	f.IntVar(&c.regions, "regions", 4, "regions of each account")
	f.Float64Var(&c.skew, "skew", 0.5, "how uneven the sizes are: the k-th largest account has 1/k^`skew` of the groups of the largest, and so has the k-th largest region of an account; 0: all alike")
	f.Float64Var(&c.qps, "qps", 10, "calls per second for each account, region and action, as --ecs-qps")
	f.IntVar(&c.burst, "burst", 20, "the burst that goes with it, as --ecs-burst")
	f.DurationVar(&c.interval, "interval", 2*time.Hour, "how often each group is observed again, as --resync-interval")
	f.IntVar(&c.intervals, "intervals", 3, "intervals to measure in the steady state")
	f.DurationVar(&c.latency, "latency", 20*time.Millisecond, "what every call takes")
	f.IntVar(&c.quota, "quota", 0, "what ECS grants for each account, region and action in a clock `minute`; 0: everything")
	f.IntVar(&c.shards, "shards", 10, "managers that share the accounts")
	f.IntVar(&c.workers, "workers", 64, "passes at the same time in each shard, as --max-concurrent-reconciles")
	f.Float64Var(&c.edits, "edits", 10, "specs that users change, per second over the fleet")
	f.Uint64Var(&c.seed, "seed", 1, "what the random choices follow from")
	f.Usage = func() {}
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(stderr)
		fmt.Fprintln(stderr, "scale simulates a fleet of security groups in virtual time.")
		f.PrintDefaults()
		return nil, err
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: everything is a flag", f.Arg(0))
	case min(c.groups, c.accounts, c.regions, c.burst, c.intervals, c.shards, c.workers) < 1:
		err = errors.New("groups, accounts, regions, burst, intervals, shards and workers: use 1 or more")
	case c.groups > math.MaxInt32:
		err = errors.New("--groups: that is too many")
	case !(c.qps > 0) || !(c.skew >= 0) || !(c.edits >= 0):
		err = errors.New("use a --qps above 0, and no negative --skew or --edits")
	case c.interval < time.Second || c.latency < 0 || c.quota < 0:
		err = errors.New("use an --interval of 1s or more, and no negative --latency or --quota")
	}
	if err != nil {
		return nil, fmt.Errorf("%w; see --help", err)
	}
	return c, nil
}

// rate is what an account-region can have observed per second in the long run.
func (c *config) rate() float64 {
	if granted := float64(c.quota) / 60; c.quota > 0 && granted < c.qps {
		return granted
	}
	return c.qps
}

// place is one region of one account.
type place struct{ account, region int }

// plan is what follows from the flags alone.
type plan struct {
	config
	sizes   [][]int // groups by account and region
	largest place
	most    int // groups of the largest
	// The steady state is measured from one of these to the other: Spread needs two
	// intervals, of one and a quarter at most, to bring every look to its place.
	from, end time.Duration
}

func newPlan(c *config) *plan {
	p := &plan{config: *c, sizes: make([][]int, c.accounts)}
	total, sum, given := c.weights(c.accounts)*c.weights(c.regions), 0.0, 0
	for a := range p.sizes {
		p.sizes[a] = make([]int, c.regions)
		for r := range p.sizes[a] {
			// What is left over by rounding goes to the next.
			sum += c.weight(a) * c.weight(r)
			n := int(math.Round(sum/total*float64(c.groups))) - given
			given += n
			p.sizes[a][r] = n
			if n > p.most {
				p.largest, p.most = place{a, r}, n
			}
		}
	}
	cold := float64(p.most) / max(p.spare(), c.rate()/4) * 5 / 4
	p.from = (c.interval*5/2 + time.Duration(cold*float64(time.Second))).Truncate(time.Second) + time.Second
	p.end = p.from + time.Duration(c.intervals)*c.interval
	return p
}

// weight is the share of the k-th largest, from 0, compared with the largest.
func (c *config) weight(k int) float64 { return math.Pow(float64(k+1), -c.skew) }

func (c *config) weights(n int) float64 {
	sum := 0.0
	for k := range n {
		sum += c.weight(k)
	}
	return sum
}

// run simulates shard after shard, because they have nothing in common.
func run(c *config, progress io.Writer) *report {
	p := newPlan(c)
	if p.spare()*c.interval.Seconds() <= float64(p.most) {
		fmt.Fprintf(progress, "scale: no steady state: the largest account-region has %s groups, and %.3g calls per second for them, less %.3g for edits, are too few for --interval %v; use a longer one, a higher --qps (and quota), or more accounts\n",
			whole(p.most), c.rate(), c.rate()-p.spare(), c.interval)
	}
	r := &report{plan: p, fleet: newTally(p)}
	for i := range c.shards {
		t := newShard(p, i).run()
		if n := t.phases[steady].calls; r.busiest == nil || n > r.busiest.phases[steady].calls {
			r.busiest = t
		}
		r.fleet.add(t)
		fmt.Fprintf(progress, "scale: shard %d of %d, %s calls\n", i+1, c.shards, whole(t.total()))
	}
	return r
}

// spare is what the edits leave of the rate for the looks at the largest
// account-region: each takes a read and a read-back.
func (p *plan) spare() float64 {
	return p.rate() - 2*p.edits*float64(p.most)/float64(p.groups)
}

// shortest is the shortest interval in which the largest account-region can be
// observed at so many calls per second, without edits.
func (p *plan) shortest(rate float64) time.Duration {
	return time.Duration(float64(p.most) / rate * float64(time.Second))
}
