// Package metrics holds every metric of the operator beside controller-runtime's
// own, registered once where the manager serves them. No label takes values that
// grow with the number of resources. It knows neither Kubernetes types nor ECS.
package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sgp-operator/sgp-operator/internal/version"
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
	build := version.Get()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sgp_build_info", Help: "Which build this is, always 1.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "goversion": build.Go},
	})
	info.Set(1)
	metrics.Registry.MustRegister(Requests, Duration, ThrottleWait, Modifications, Drift, info, &fleet, &accounts)
}

// State is what resources are counted by: status and reason of their Ready condition.
type State struct{ Ready, Reason string }

// Fleet is what a manager has in its hands.
type Fleet struct {
	// Policies are the SecurityGroupPolicies in each state.
	Policies map[State]int
	// Claims are the groups that a SecurityGroupPolicy holds, and Requested those of them
	// that another one asks for.
	Claims, Requested int
	// HeldForApproval are the changes that somebody has to approve, and HeldForBudget those
	// that wait for --change-budget.
	HeldForApproval, HeldForBudget int
	// Observes says that this manager observes groups; a standby does not, and has no
	// ages.
	Observes bool
	// Oldest is the age of the oldest observation that a Ready or DriftDetected stands on,
	// and Overdue by how much the latest of them is over its resync interval.
	Oldest, Overdue time.Duration
}

// CountFleet has what a manager has in its hands served, counted whenever the metrics are
// read.
func CountFleet(count func() Fleet) { fleet.count.Store(&count) }

// CountAccounts has the number of ECSAccounts in each state served as sgp_accounts.
func CountAccounts(count func() map[State]int) { accounts.count.Store(&count) }

var (
	fleet          fleetCounter
	policiesMetric = prometheus.NewDesc("sgp_policies",
		"SecurityGroupPolicies by status and reason of their Ready condition.", []string{"ready", "reason"}, nil)
	claimsMetric = prometheus.NewDesc("sgp_claims",
		"Security groups that a SecurityGroupPolicy holds, by whether another one asks for the group.", []string{"requested"}, nil)
	heldMetric = prometheus.NewDesc("sgp_changes_held",
		"Changes of security groups that are not made yet, by what they wait for: an approval, or room in --change-budget.", []string{"waits_for"}, nil)
	oldestMetric = prometheus.NewDesc("sgp_oldest_observation_age_seconds",
		"Age in seconds of the oldest observation that the Ready condition of a SecurityGroupPolicy stands on. Absent on a standby.", nil, nil)
	overdueMetric = prometheus.NewDesc("sgp_resync_overdue_seconds",
		"Seconds by which the latest observation is over its resync interval. Absent on a standby.", nil, nil)

	accounts       accountCounter
	accountsMetric = prometheus.NewDesc("sgp_accounts",
		"ECSAccounts by status and reason of their Ready condition.", []string{"ready", "reason"}, nil)
)

type fleetCounter struct {
	count atomic.Pointer[func() Fleet]
}

// Describe implements prometheus.Collector.
func (*fleetCounter) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{policiesMetric, claimsMetric, heldMetric, oldestMetric, overdueMetric} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (f *fleetCounter) Collect(ch chan<- prometheus.Metric) {
	count := f.count.Load()
	if count == nil {
		return
	}
	now := (*count)()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for state, n := range now.Policies {
		gauge(policiesMetric, float64(n), state.Ready, state.Reason)
	}
	gauge(claimsMetric, float64(now.Claims-now.Requested), "false")
	gauge(claimsMetric, float64(now.Requested), "true")
	gauge(heldMetric, float64(now.HeldForApproval), "approval")
	gauge(heldMetric, float64(now.HeldForBudget), "budget")
	if now.Observes {
		gauge(oldestMetric, now.Oldest.Seconds())
		gauge(overdueMetric, now.Overdue.Seconds())
	}
}

type accountCounter struct {
	count atomic.Pointer[func() map[State]int]
}

// Describe implements prometheus.Collector.
func (*accountCounter) Describe(ch chan<- *prometheus.Desc) { ch <- accountsMetric }

// Collect implements prometheus.Collector.
func (a *accountCounter) Collect(ch chan<- prometheus.Metric) {
	count := a.count.Load()
	if count == nil {
		return
	}
	for state, n := range (*count)() {
		ch <- prometheus.MustNewConstMetric(accountsMetric, prometheus.GaugeValue, float64(n), state.Ready, state.Reason)
	}
}
