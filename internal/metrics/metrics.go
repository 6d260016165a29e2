// Package metrics holds every metric of the operator beside controller-runtime's
// own, registered once where the manager serves them. No label takes values that
// grow with the number of resources. It knows neither Kubernetes types nor ECS.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	// Requests counts the calls to ECS and STS by what became of them. The code
	// is OK, ECS's error code, or one of the client's own for no answer.
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

	// Policies is the number of resources by the state of their Ready condition.
	Policies = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sgp_policies",
		Help: "SecurityGroupPolicies by status and reason of their Ready condition.",
	}, []string{"ready", "reason"})
)

func init() {
	metrics.Registry.MustRegister(Requests, Duration, ThrottleWait, Modifications, Drift, Policies)
}
