package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	simulatorclient "github.com/sgp-operator/sgp-operator/internal/ecssim/client"
)

// unlimited is a rate that no import reaches.
const unlimited = 100000

// imported is an import of some groups, and what it took.
type imported struct {
	groups int
	// qps is the flag's limit, granted the simulator's; 0: none.
	qps, granted float64

	pages, reads, refused int
	// listing and reading are from the first such call to the last.
	listing, reading time.Duration
	took             time.Duration
	peakRSS          float64
	cpu              time.Duration
}

// limit is the number of reads per second that may be made.
func (m *imported) limit() float64 {
	if m.granted > 0 {
		return min(m.qps, m.granted)
	}
	return m.qps
}

// useful is how many reads were answered per second, less those that may come at once.
func (m *imported) useful(burst int) float64 {
	return float64(m.reads-m.refused-burst) / m.reading.Seconds()
}

// measureImports measures the import of manager itself: how much of a limit it uses,
// and how its memory grows with the number of groups.
func measureImports(ctx context.Context, o options) error {
	cases := []*imported{
		{groups: 5000, qps: o.qps},
		{groups: 5000, qps: o.qps, granted: o.qps / 2},
	}
	for _, n := range []int{5000, 20000, 50000} {
		cases = append(cases, &imported{groups: n, qps: unlimited})
	}
	for _, m := range cases {
		if err := m.measure(ctx, o); err != nil {
			return fmt.Errorf("the import of %s groups: %w", whole(m.groups), err)
		}
		fmt.Println("bench:", strings.Join(m.row(o.burst), ", "))
	}
	report := []byte(importReport(o, describeMachine(ctx, o), cases))
	return errors.Join(os.WriteFile(filepath.Join(o.out, "import.md"), report, 0o644), promised(cases, o.burst)) //nolint:gosec // for everybody to read
}

// What docs/cli.md promises of an import.
const (
	leastShare = 0.95
	mostEach   = kib
)

// promised fails where an import uses less of its limit, or needs more memory for each
// group, than is promised.
func promised(cases []*imported, burst int) (err error) {
	for _, m := range cases {
		if share := m.useful(burst) / m.limit(); m.limit() < unlimited && share < leastShare {
			err = errors.Join(err, fmt.Errorf("the import of %s groups uses %.1f %% of its limit: %.0f %% are promised", whole(m.groups), 100*share, 100*leastShare))
		}
	}
	if each := eachGroup(cases); each > mostEach {
		err = errors.Join(err, fmt.Errorf("each group more takes %.2f KiB: 1 is promised", each/kib))
	}
	return err
}

// eachGroup is what each group more adds to the peak of memory. The last three cases
// differ in the number of groups alone.
func eachGroup(cases []*imported) float64 {
	first, last := cases[len(cases)-3], cases[len(cases)-1]
	return (last.peakRSS - first.peakRSS) / float64(last.groups-first.groups)
}

// measure runs one import, of groups whose names are as long as people make them.
func (m *imported) measure(ctx context.Context, o options) (err error) {
	r, err := rig.New(ctx, "sgp-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	url, err := startSimulator(ctx, r, o.latency, m.groups, m.granted)
	if err != nil {
		return err
	}
	p, err := r.Start(ctx, rig.Program{Name: "import", Path: o.manager,
		Args: []string{"import", "--region", region, "--ecs-endpoint", url, "-f", filepath.Join(r.Dir, "groups"),
			"--ecs-qps", fmt.Sprint(m.qps), "--ecs-burst", fmt.Sprint(o.burst)},
		Env: []string{"ALIBABA_CLOUD_ACCESS_KEY_ID=" + benchKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + benchSecret}})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	m.took, m.peakRSS, m.cpu = time.Since(p.Begun), p.PeakRSS(), p.CPU()
	if said := rig.LastLines(p.Log, 1); len(said) != 1 || !strings.HasPrefix(said[0], fmt.Sprintf("%d of %d groups written", m.groups, m.groups)) {
		return p.Failed(errors.New("not every group was written"))
	}
	calls, err := (&simulator{Client: simulatorclient.New(url)}).take(ctx)
	m.count(calls)
	return err
}

func (m *imported) count(calls []call) {
	var pages, reads []call
	for _, c := range calls {
		switch c.Action {
		case listAction:
			pages = append(pages, c)
		case readAction:
			reads = append(reads, c)
			if c.Status >= 400 {
				m.refused++
			}
		}
	}
	span := func(calls []call) time.Duration {
		return time.Duration(calls[len(calls)-1].At-calls[0].At) * time.Microsecond
	}
	m.pages, m.reads = len(pages), len(reads)
	m.listing, m.reading = span(pages), span(reads)
}

var importColumns = []string{"groups", "`--ecs-qps`", "granted", "pages / reads / refused", "listing", "reading", "answered per second", "of the limit", "CPU for each group", "peak RSS"}

func (m *imported) row(burst int) []string {
	rate := func(qps float64) string {
		if qps == 0 || qps >= unlimited {
			return "no limit"
		}
		return fmt.Sprint(qps)
	}
	share := "-"
	if m.limit() < unlimited {
		share = fmt.Sprintf("%.1f %%", 100*m.useful(burst)/m.limit())
	}
	return []string{whole(m.groups), rate(m.qps), rate(m.granted), fmt.Sprintf("%s / %s / %s", whole(m.pages), whole(m.reads), whole(m.refused)),
		fmt.Sprintf("%.1f s", m.listing.Seconds()), fmt.Sprintf("%.1f s", m.reading.Seconds()), fmt.Sprintf("%.0f", m.useful(burst)), share,
		fmt.Sprintf("%.2f ms", 1000*m.cpu.Seconds()/float64(m.groups)), mib(m.peakRSS)}
}

// importReport is the page of what was measured.
func importReport(o options, on machine, cases []*imported) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Import\n\nWritten by `make bench-import`: `manager import -f` of one region, from a simulator in another process, each of whose\n"+
		"calls takes %v. %s, %s, operator %s, %s.\n\n", o.latency, on.CPU, on.Go, on.Commit, on.Date)
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(importColumns)
	line(slices.Repeat([]string{"---"}, len(importColumns)))
	for _, m := range cases {
		line(m.row(o.burst))
	}
	fmt.Fprintf(&b, "\n- From %s to %s groups each group more adds %.2f KiB to the peak.\n", whole(cases[len(cases)-3].groups), whole(cases[len(cases)-1].groups), eachGroup(cases)/kib)
	fmt.Fprintf(&b, "- *Granted* is the simulator's own limit; what it refuses is read again. *Of the limit* is of the lower of both, less the burst of %d.\n", o.burst)
	return b.String()
}
