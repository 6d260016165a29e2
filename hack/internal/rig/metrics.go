package rig

import (
	"bytes"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// The metrics of every process that Go's client of Prometheus has written.
const (
	CPUSeconds    = "process_cpu_seconds_total"
	ResidentBytes = "process_resident_memory_bytes"
	HeapBytes     = "go_memstats_heap_alloc_bytes"
	Goroutines    = "go_goroutines"
)

// Metrics are the counters and gauges that a process served at a moment.
type Metrics struct{ families map[string]*dto.MetricFamily }

// Labels choose among the values of a metric; those that are not named match any.
type Labels map[string]string

// ParseMetrics reads Prometheus' text format.
func ParseMetrics(text []byte) (Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	return Metrics{families}, err
}

// Sum adds up the values of a metric whose labels match; none make zero.
func (m Metrics) Sum(name string, where Labels) (sum float64) {
	for labels, value := range m.Each(name) {
		if where.match(labels) {
			sum += value
		}
	}
	return sum
}

// Value is Sum of a metric that has to be there.
func (m Metrics) Value(name string) (float64, error) {
	if m.families[name] == nil {
		return 0, fmt.Errorf("no metric %s is served", name)
	}
	return m.Sum(name, nil), nil
}

// Each goes through the values of a metric, with all labels of each.
func (m Metrics) Each(name string) func(yield func(Labels, float64) bool) {
	return func(yield func(Labels, float64) bool) {
		for _, metric := range m.families[name].GetMetric() {
			labels := Labels{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			// Of the three one is there, and the others are zero.
			if !yield(labels, metric.GetCounter().GetValue()+metric.GetGauge().GetValue()+metric.GetUntyped().GetValue()) {
				return
			}
		}
	}
}

func (l Labels) match(of Labels) bool {
	for name, value := range l {
		if of[name] != value {
			return false
		}
	}
	return true
}
