package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	registry "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sgp-operator/sgp-operator/internal/metrics"
)

// metricsPage lists what the registry serves, which holds what has a value only: each
// metric gets one first.
func metricsPage() (string, error) {
	metrics.Requests.WithLabelValues("", "", "")
	metrics.Duration.WithLabelValues("", "")
	metrics.Modifications.WithLabelValues("", "")
	metrics.Drift.WithLabelValues("")
	metrics.CountFleet(func() metrics.Fleet {
		return metrics.Fleet{Policies: map[metrics.State]int{{}: 1}, Claims: 1, Observes: true}
	})
	metrics.CountAccounts(func() map[metrics.State]int { return map[metrics.State]int{{}: 1} })
	families, err := registry.Registry.Gather()
	if err != nil {
		return "", err
	}
	p := newPage("Metrics", "internal/metrics")
	p.line("The operator's own. [observability.md](../observability.md) says how to read them, beside controller-runtime's.\n")
	p.head("metric", "type", "labels", "meaning")
	written := map[string]bool{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "sgp_") {
			continue
		}
		written[family.GetName()] = true
		p.row(code(family.GetName()), strings.ToLower(family.GetType().String()), labels(family), family.GetHelp())
	}
	for _, name := range described() {
		if !written[name] {
			return "", fmt.Errorf("%s has no value here: give it one in hack/docs", name)
		}
	}
	return p.String(), nil
}

func labels(family *dto.MetricFamily) string {
	var names []string
	for _, pair := range family.GetMetric()[0].GetLabel() {
		names = append(names, code(pair.GetName()))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// described are the names of the operator's metrics, with a value or without.
func described() (names []string) {
	all, ok := registry.Registry.(prometheus.Collector)
	if !ok {
		return nil
	}
	descriptions := make(chan *prometheus.Desc)
	go func() {
		all.Describe(descriptions)
		close(descriptions)
	}()
	for d := range descriptions {
		_, name, _ := strings.Cut(d.String(), `fqName: "`)
		if name, _, _ = strings.Cut(name, `"`); strings.HasPrefix(name, "sgp_") {
			names = append(names, name)
		}
	}
	return names
}
