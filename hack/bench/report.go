package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// report is everything that was measured.
type report struct {
	Machine  machine
	Settings settings
	Runs     []*run
}

const resultsFile = "results.json"

// save writes the figures themselves, and the profiles.
func (r *report) save(folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	slices.SortFunc(r.Runs, func(a, b *run) int { return a.N - b.N })
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	files := map[string]string{resultsFile: string(text) + "\n"}
	for _, run := range r.Runs {
		if run.CPUProfile != "" {
			files["profile-cpu.txt"], files["profile-allocs.txt"] = run.CPUProfile, run.Allocs
		}
	}
	for name, text := range files {
		if err := writeFile(folder, name, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// load reads what save has written.
func load(folder string) (*report, error) {
	text, err := os.ReadFile(filepath.Join(folder, resultsFile))
	if err != nil {
		return nil, err
	}
	r := &report{}
	return r, json.Unmarshal(text, r)
}

func writeFile(folder, name string, text []byte) error {
	return os.WriteFile(filepath.Join(folder, name), text, 0o644) //nolint:gosec // for all to read
}

// write makes the table and the plots.
func (r *report) write(folder string) error {
	last := r.Runs[len(r.Runs)-1]
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Results\n")
	line("Written by `make bench`; [README.md](README.md) tells what is measured and how to read it. The figures behind it are in [%s](%s).\n", resultsFile, resultsFile)
	m, s := r.Machine, r.Settings
	line("| | |\n| --- | --- |")
	line("| machine | %s, %s, %s |", m.CPU, m.Memory, m.System)
	line("| versions | %s, Kubernetes %s, operator %s, %s |", m.Go, last.Kubernetes, m.Commit, m.Date)
	line("| simulator | %v for each call, no throttling |", s.Latency)
	line("| manager | `--ecs-qps %g --ecs-burst %d --max-concurrent-reconciles %d` |", s.QPS, s.Burst, s.Workers)
	line("| bound | %.0f reads per second: the lower of the limit and a quarter of the workers / latency |", s.Bound)
	line("\nControl plane, simulator, manager and bench share the machine.\n")

	line("## Figures to reach, N = %s\n", whole(last.N))
	line("| figure | target | measured | |\n| --- | --- | --- | --- |")
	for _, f := range last.figures(s) {
		line("| %s | %s | %s | %s |", f.What, f.Target, f.Measured, map[bool]string{true: "met", false: "**missed**"}[f.Met])
	}
	line("\n## Table\n")
	head, rule := "| N |", "| --- |"
	for _, run := range r.Runs {
		head, rule = head+" "+whole(run.N)+" |", rule+" --- |"
	}
	line("%s\n%s", head, rule)
	for _, row := range s.rows() {
		text := "| " + row.name + " |"
		for _, run := range r.Runs {
			text += " " + row.of(run) + " |"
		}
		line("%s", text)
	}
	r.slopes(line)
	line("\n## Plots\n")
	plots, err := r.plot(folder)
	if err != nil {
		return err
	}
	for _, p := range plots {
		line("![%s](%s)\n", p.title, p.file)
	}
	line("## Profiles\n")
	line("The heads of `go tool pprof -top` while %s resources converge: [CPU](profile-cpu.txt), [allocations](profile-allocs.txt).", whole(last.N))
	fmt.Println("bench: the results are in " + filepath.Base(folder) + "/results.md")
	for _, f := range last.figures(s) {
		fmt.Printf("  %s  %-82s %10s  %s\n", map[bool]string{true: "✓", false: "✗"}[f.Met], f.What, f.Target, f.Measured)
	}
	return writeFile(folder, "results.md", []byte(b.String()))
}

// slopes tells what each 1,000 resources more cost, from the least to the most.
func (r *report) slopes(line func(string, ...any)) {
	first, last := r.Runs[0], r.Runs[len(r.Runs)-1]
	if first == last {
		return
	}
	slope := func(of func(*run) float64) float64 {
		return (of(last) - of(first)) / float64(last.N-first.N) * 1000
	}
	line("\n## Slopes per 1,000 resources, from N = %s to %s\n", whole(first.N), whole(last.N))
	line("| | |\n| --- | --- |")
	line("| live heap | %.2f MiB |", slope(func(r *run) float64 { return r.Full.Heap })/kib/kib)
	line("| peak RSS while they converge | %.2f MiB |", slope(func(r *run) float64 { return r.Create.PeakRSS })/kib/kib)
	line("| peak RSS of the whole run | %.2f MiB |", slope(func(r *run) float64 { return r.PeakRSS })/kib/kib)
	line("| manager CPU to converge | %.2f s |", slope(func(r *run) float64 { return r.Create.Used.CPU }))
	line("| manager CPU of a cold start | %.2f s |", slope(func(r *run) float64 { return r.Cold.Used.CPU }))
}
