package main

import (
	"fmt"
	"time"
)

// figure is one of the figures to reach.
type figure struct {
	What, Target, Measured string
	Met                    bool
}

const (
	kib = 1024
	// notCounted stands for what earlier results may not have.
	notCounted = "not counted"
)

// share is the part of the bound that the useful reads of a phase made use of.
// What the burst lets through at once is no rate.
func (p phase) share(s settings) float64 {
	useful := min(p.Reads-p.Fails, p.Resources+p.Changed)
	return (float64(useful) - float64(s.Burst)) / (p.Span.Seconds() * s.Bound)
}

// laterShare is the part of the bound that is made use of while the bench no
// longer takes processor time from everybody else.
func (p phase) laterShare(s settings) float64 {
	// The last seconds have too little left to do.
	from, to := int(p.Asked/time.Second)+1, len(p.ReadsPerSecond)-2
	if to <= from {
		return 0
	}
	return spreadOf(p.ReadsPerSecond[from:to]).Mean / s.Bound
}

// perResource is the growth of something for each resource.
func (r *run) perResource(empty, full float64) float64 { return (full - empty) / float64(r.N) }

// steadyCore is the share of a core that 1,000 resources take at an interval of
// ten minutes. What the manager takes without resources does not shrink.
func (r *run) steadyCore() float64 {
	used := r.Steady.Used.CPU / r.Steady.Watched.Seconds()
	forResources := max(0, used-r.IdleCPU)
	return forResources*r.Steady.Interval.Seconds()/(10*time.Minute).Seconds()*1000/float64(r.N) + r.IdleCPU
}

// anyWrites prints the manager's writes of any kind, which earlier results have not
// counted: while resources converge there are always some.
func (r *run) anyWrites(n float64) string {
	if r.Create.Used.Writes == 0 {
		return notCounted
	}
	return whole(int(n))
}

// maxShare is what the manager may take, of the API server's processor time: 1.25 times
// what it took before there were claims, which was 24.8 %.
const maxShare = 0.31

// figures compares a run with what is to be reached.
func (r *run) figures(s settings) []figure {
	c, st := r.Create, r.Steady
	needed := c.Resources + c.Changed
	heap, rss := r.perResource(r.Empty.Heap, r.Full.Heap)/kib, r.perResource(r.Empty.RSS, c.PeakRSS)/kib
	share := c.share(s)
	edits := whole(int(r.Edit.API.Status))
	return []figure{
		{"useful ECS throughput while all converge, of what the limit allows", "≥ 95 %", fmt.Sprintf("%.1f %%", 100*share), share >= 0.95},
		{"status writes while all converge: 1 for each resource in sync, 2 for each changed", "≤ " + whole(needed), whole(int(c.API.Status)), int(c.API.Status) <= needed},
		{"status writes of a mass edit: 2 for each changed", "≤ " + whole(2*r.Edit.Changed), edits, int(r.Edit.API.Status) <= 2*r.Edit.Changed},
		{"API server writes in steady state, of any kind", "0", r.anyWrites(st.Used.Writes), r.anyWrites(st.Used.Writes) == "0"},
		{"API server writes after a restart, of any kind but for edits", "0", r.anyWrites(r.Cold.Unexplained), r.anyWrites(r.Cold.Unexplained) == "0"},
		{"ECS reads while all converge: 1 for each resource in sync, 2 for each changed", "≤ " + whole(needed), whole(c.Reads), c.Reads <= needed},
		{"memory for each resource: live heap", "≤ 4 KiB", fmt.Sprintf("%.2f KiB", heap), heap <= 4},
		{"memory for each resource: peak RSS while they converge", "≤ 4.5 KiB", fmt.Sprintf("%.2f KiB", rss), rss <= 4.5},
		{"manager CPU while all converge, of the API server's", fmt.Sprintf("≤ %.0f %%", 100*maxShare), fmt.Sprintf("%.1f %%", 100*c.Used.toAPI()), c.Used.toAPI() <= maxShare},
		{"steady state, of a core, per 1,000 resources at an interval of 10 minutes", "< 1 %", fmt.Sprintf("%.2f %%", 100*r.steadyCore()), r.steadyCore() < 0.01},
		{"p99 from edit to cloud, busy with resyncs against idle", "≤ 3 ×", fmt.Sprintf("%.2f ×", r.Busy.p99()/r.Idle.p99()), r.Busy.p99() <= 3*r.Idle.p99()},
		{"busiest second of the resyncs against the mean", "≤ 2 ×", fmt.Sprintf("%.2f ×", st.Spread.mostShare()), st.Spread.mostShare() <= 2},
	}
}

// row is a line of the table: a name, and what it is in each run.
type row struct {
	name string
	of   func(*run) string
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/kib/kib) }

func sec(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// phaseRows are those of a phase.
func (s settings) phaseRows(name string, of func(*run) phase) []row {
	per := func(n float64, p phase) string { return fmt.Sprintf("%.2f", n/float64(p.Resources)) }
	return []row{
		{"**" + name + "**: resources / of which changed", func(r *run) string { return whole(of(r).Resources) + " / " + whole(of(r).Changed) }},
		{"the bench's own requests took", func(r *run) string { return sec(of(r).Asked) }},
		{"until all are Ready", func(r *run) string { return sec(of(r).Took) }},
		{"ECS reads / changes / failures", func(r *run) string {
			return fmt.Sprintf("%s / %s / %d", whole(of(r).Reads), whole(of(r).Modifies), of(r).Fails)
		}},
		{"ECS reads / calls for each resource", func(r *run) string {
			return per(float64(of(r).Reads), of(r)) + " / " + per(float64(of(r).Reads+of(r).Modifies), of(r))
		}},
		{"status writes / claims written / events / conflicts", func(r *run) string { return of(r).API.String() }},
		{"status writes / claims / all API server writes for each resource", func(r *run) string {
			api := of(r).API
			return per(api.Status, of(r)) + " / " + per(api.Claims, of(r)) + " / " + ratio(of(r).Used.Writes, of(r).Resources)
		}},
		{"reads, of the bound", func(r *run) string { return fmt.Sprintf("%.1f %%", 100*of(r).share(s)) }},
		{"the same, once the bench's own requests are made", func(r *run) string { return fmt.Sprintf("%.1f %%", 100*of(r).laterShare(s)) }},
		{"manager CPU, for each resource", func(r *run) string {
			return fmt.Sprintf("%.1f s, %.2f ms", of(r).Used.CPU, 1000*of(r).Used.CPU/float64(of(r).Resources))
		}},
		{"the same, of the API server's", func(r *run) string { return share(of(r).Used.toAPI()) }},
		{"passes for each resource", func(r *run) string { return ratio(of(r).Used.Passes, of(r).Resources) }},
		{"peak RSS", func(r *run) string { return mib(of(r).PeakRSS) }},
	}
}

func (s settings) rows() []row {
	ms := func(l latencies) string {
		return fmt.Sprintf("%.0f / %.0f ms (%d)", 1000*l.p50(), 1000*l.p99(), len(l.Cloud))
	}
	rows := append(s.phaseRows("Create", func(r *run) phase { return r.Create }), s.phaseRows("Mass edit", func(r *run) phase { return r.Edit })...)
	return append(rows, []row{
		{"**Memory**: live heap without resources / with all", func(r *run) string { return mib(r.Empty.Heap) + " / " + mib(r.Full.Heap) }},
		{"RSS without resources", func(r *run) string { return mib(r.Empty.RSS) }},
		{"peak RSS of the whole run", func(r *run) string { return mib(r.PeakRSS) }},
		{"**Cold start**: process start to first call / to every group read", func(r *run) string { return sec(r.Cold.FirstCall) + " / " + sec(r.Cold.Took) }},
		{"ECS reads / changes, edits included", func(r *run) string { return whole(r.Cold.Reads) + " / " + whole(r.Cold.Modifies) }},
		{"reads per second: mean / most", func(r *run) string {
			spread := spreadOf(r.Cold.ReadsPerSecond)
			return fmt.Sprintf("%.0f / %.0f", spread.Mean, spread.Most)
		}},
		{"API server writes of any kind, but for edits", func(r *run) string { return r.anyWrites(r.Cold.Unexplained) }},
		{"manager CPU, of the API server's", func(r *run) string { return share(r.Cold.Used.toAPI()) }},
		{"manager CPU / passes for each resource", func(r *run) string {
			return fmt.Sprintf("%.1f s / %s", r.Cold.Used.CPU, ratio(r.Cold.Used.Passes, r.N))
		}},
		{"**Steady state**: interval / watched", func(r *run) string { return r.Steady.Interval.String() + " / " + sec(r.Steady.Watched) }},
		{"ECS reads / changes", func(r *run) string { return whole(r.Steady.Reads) + " / " + whole(r.Steady.Modifies) }},
		{"reads for each resource and interval", func(r *run) string {
			return fmt.Sprintf("%.3f", float64(r.Steady.Reads)/float64(r.N)/(r.Steady.Watched.Seconds()/r.Steady.Interval.Seconds()))
		}},
		{"API server writes of any kind", func(r *run) string { return r.anyWrites(r.Steady.Used.Writes) }},
		{"reads per second: least / mean / p99 / most", func(r *run) string {
			return fmt.Sprintf("%.0f / %.1f / %.0f / %.0f", r.Steady.Spread.Least, r.Steady.Spread.Mean, r.Steady.Spread.P99, r.Steady.Spread.Most)
		}},
		{"manager CPU, of a core", func(r *run) string { return fmt.Sprintf("%.1f %%", 100*r.Steady.Used.CPU/r.Steady.Watched.Seconds()) }},
		{"the same, of the API server's", func(r *run) string { return share(r.Steady.Used.toAPI()) }},
		{"passes for each read", func(r *run) string { return ratio(r.Steady.Used.Passes, r.Steady.Reads) }},
		{"CPU for each resync", func(r *run) string {
			return fmt.Sprintf("%.2f ms", 1000*r.Steady.Used.CPU/float64(max(1, r.Steady.Reads)))
		}},
		{"**Edit to cloud**, p50 / p99 (edits): idle", func(r *run) string { return ms(r.Idle) }},
		{"busy with resyncs", func(r *run) string { return ms(r.Busy) }},
		{"during a cold start", func(r *run) string { return ms(r.Cold.Edits) }},
		{"**The whole run**", func(r *run) string { return sec(r.Took) }},
	}...)
}

// ratio of something that earlier results may not have.
func ratio(sum float64, n int) string {
	if sum == 0 || n == 0 {
		return notCounted
	}
	return fmt.Sprintf("%.2f", sum/float64(n))
}

// share of something that earlier results may not have.
func share(of float64) string {
	if of == 0 {
		return notCounted
	}
	return fmt.Sprintf("%.1f %%", 100*of)
}

// whole prints a number with commas between the thousands.
func whole(n int) string {
	if n < 0 {
		return "-" + whole(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", whole(n/1000), n%1000)
}
