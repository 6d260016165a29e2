package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// side is one of the two managers that are compared, with what each round gave.
type side struct {
	name, root, manager string
	rounds              []*run
}

// costs are what is compared, for each resource that converges.
var costs = []struct {
	name, unit string
	of         func(*run) float64
}{
	{"manager CPU", "ms", func(r *run) float64 { return 1000 * r.Create.Used.CPU / float64(r.N) }},
	{"the same, of the API server's", "%", func(r *run) float64 { return 100 * r.Create.Used.toAPI() }},
	{"API server CPU", "ms", func(r *run) float64 { return 1000 * r.Create.Used.APICPU / float64(r.N) }},
	{"live heap", "KiB", func(r *run) float64 { return r.perResource(r.Empty.Heap, r.Full.Heap) / kib }},
	{"peak RSS", "KiB", func(r *run) float64 { return r.perResource(r.Empty.RSS, r.Create.PeakRSS) / kib }},
	{"status writes", "", func(r *run) float64 { return r.Create.API.Status / float64(r.N) }},
	{"claims written", "", func(r *run) float64 { return r.Create.API.Claims / float64(r.N) }},
	{"all API server writes", "", func(r *run) float64 { return r.Create.Used.Writes / float64(r.N) }},
	{"passes", "", func(r *run) float64 { return r.Create.Used.Passes / float64(r.N) }},
	{"ECS reads", "", func(r *run) float64 { return float64(r.Create.Reads) / float64(r.N) }},
}

// compare has both managers converge the same resources alternately, each time in a new
// cluster that has the CRDs and permissions of its checkout. Both get the environment
// of this checkout, so that the code alone differs. The folder gets the binaries.
func compare(ctx context.Context, o options, dir string) error {
	sides := []*side{{name: "this", root: o.root, manager: o.manager}, {name: "other", root: o.against}}
	for _, s := range sides {
		if s.manager != "" {
			continue
		}
		s.manager = filepath.Join(dir, s.name)
		fmt.Println("bench: building the manager of", s.root)
		if err := buildManager(ctx, s.root, s.manager); err != nil {
			return err
		}
	}
	for _, n := range o.sizes {
		for round := range o.rounds {
			for _, s := range sides {
				o.installed, o.manager = s.root, s.manager
				w := &world{options: o, name: fmt.Sprintf("N=%d, round %d, %-5s", n, round+1, s.name), n: n, begun: time.Now()}
				run, err := w.take(ctx, w.converge)
				if err != nil {
					return fmt.Errorf("%s, with N = %d: %w", s.name, n, err)
				}
				s.rounds = append(s.rounds, run)
			}
		}
		fmt.Print(comparison(n, sides[0], sides[1]))
		sides[0].rounds, sides[1].rounds = nil, nil
	}
	return nil
}

// comparison is the table of what was compared.
func comparison(n int, this, other *side) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nFor each of %s resources that converge, the median of %d interleaved rounds\n(this: %s, other: %s):\n\n", whole(n), len(this.rounds), this.root, other.root)
	fmt.Fprintf(&b, "  %-30s %10s %10s %9s   %s\n", "", "this", "other", "ratio", "each round, this | other")
	for _, cost := range costs {
		var medians [2]float64
		var each [2]string
		for i, s := range []*side{this, other} {
			var values []float64
			for _, r := range s.rounds {
				values = append(values, cost.of(r))
				each[i] += fmt.Sprintf(" %.2f", cost.of(r))
			}
			medians[i] = median(values)
		}
		ratio := "-"
		if medians[1] > 0 {
			ratio = fmt.Sprintf("%.3f", medians[0]/medians[1])
		}
		fmt.Fprintf(&b, "  %-30s %10s %10s %9s  %s |%s\n", cost.name, amount(medians[0], cost.unit), amount(medians[1], cost.unit), ratio, each[0], each[1])
	}
	return b.String()
}

func amount(value float64, unit string) string {
	return strings.TrimSpace(fmt.Sprintf("%.2f %s", value, unit))
}

// buildManager builds the manager of a checkout as it is released.
func buildManager(ctx context.Context, root, binary string) error {
	return rig.Build(ctx, root, binary, []string{"CGO_ENABLED=0"}, "-trimpath")
}
