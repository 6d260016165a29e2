// Package metrics holds every metric of the operator beside controller-runtime's
// own, registered once where the manager serves them. No label takes values that
// grow with the number of resources. It knows neither Kubernetes types nor ECS.
package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	// Requests counts the calls to ECS and STS by what became of them. The code
	// is OK, an error code that the client's table knows, one of the client's own for
	// no usable answer, or other.
	Requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sgp_ecs_requests_total",
		Help: "Calls to the cloud by action, region and error code (OK for success).",
	}, []string{"action", "region", "code"})

	// Duration is how long the calls took, in seconds.
	Duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sgp_ecs_request_duration_seconds",
		Help:    "Duration of the calls to the cloud in seconds.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"action", "region"})

	// ThrottleWait is how long calls waited for their turn, in seconds.
	ThrottleWait = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "sgp_ecs_throttle_wait_seconds",
		Help:    "Time that calls to the cloud waited for their turn, in seconds.",
		Buckets: []float64{.01, .1, .5, 1, 5, 15, 60, 300, 1800},
	})

	// Modifications counts the changes of groups that ECS confirmed.
	Modifications = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sgp_modifications_total",
		Help: "Confirmed changes of security groups by region and new policy.",
	}, []string{"region", "to"})

	// Drift counts the times that a group was found changed by somebody else.
	Drift = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sgp_drift_total",
		Help: "Times that a group was found to differ from a spec that it had matched, by region.",
	}, []string{"region"})
)

func init() {
	metrics.Registry.MustRegister(Requests, Duration, ThrottleWait, Modifications, Drift, &policies)
}

// PolicyState is what SecurityGroupPolicies are counted by: status and reason of
// their Ready condition.
type PolicyState struct{ Ready, Reason string }

// CountPolicies has the number of SecurityGroupPolicies in each state served as
// sgp_policies, counted whenever the metrics are read.
func CountPolicies(count func() map[PolicyState]int) { policies.count.Store(&count) }

var (
	policies       policyCounter
	policiesMetric = prometheus.NewDesc("sgp_policies",
		"SecurityGroupPolicies by status and reason of their Ready condition.", []string{"ready", "reason"}, nil)
)

type policyCounter struct {
	count atomic.Pointer[func() map[PolicyState]int]
}

// Describe implements prometheus.Collector.
func (*policyCounter) Describe(ch chan<- *prometheus.Desc) { ch <- policiesMetric }

// Collect implements prometheus.Collector.
func (p *policyCounter) Collect(ch chan<- prometheus.Metric) {
	count := p.count.Load()
	if count == nil {
		return
	}
	for state, n := range (*count)() {
		ch <- prometheus.MustNewConstMetric(policiesMetric, prometheus.GaugeValue, float64(n), state.Ready, state.Reason)
	}
}
