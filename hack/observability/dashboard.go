package main

import (
	"encoding/json"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// query is an expression of PromQL, and how its lines are called.
type query struct{ expr, legend string }

// panel is one of the dashboard.
type panel struct {
	title, description, unit string
	// number shows the last value large, in place of lines.
	number  bool
	queries []query
}

// row is a row of panels.
type row struct {
	title  string
	panels []panel
}

// rows are what the dashboard shows. $service is a variable: the managers of shards have
// a service each, and the replicas of one count the same resources.
var rows = []row{
	{"At a glance", []panel{
		{title: "Ready", unit: "percentunit", number: true, description: "Share of the SecurityGroupPolicies whose group is as declared, as far as anybody looks.",
			queries: []query{{`sum(max by (service, reason) (sgp_policies{service=~"$service",ready="True"})) / sum(max by (service, ready, reason) (sgp_policies{service=~"$service"}))`, "ready"}}},
		{title: "Resources", number: true, description: "SecurityGroupPolicies.",
			queries: []query{{`sum(max by (service, ready, reason) (sgp_policies{service=~"$service"}))`, "resources"}}},
		{title: "Oldest observation", unit: "s", number: true, description: "Age of the oldest observation that a Ready stands on.",
			queries: []query{{`max(sgp_oldest_observation_age_seconds{service=~"$service"})`, "age"}}},
		{title: "Accounts not ready", number: true, description: "ECSAccounts whose credentials cannot be used.",
			queries: []query{{`sum(max by (service, reason) (sgp_accounts{service=~"$service",ready="False"})) or vector(0)`, "accounts"}}},
	}},
	{"Resources", []panel{
		{title: "Not ready, by reason", description: "The reasons of the Ready condition.",
			queries: []query{{`sum by (reason) (max by (service, reason) (sgp_policies{service=~"$service",ready!="True"}))`, "{{reason}}"}}},
		{title: "Changes", unit: "cpm", description: "Changes of groups that ECS confirmed, a minute.",
			queries: []query{{`60 * sum by (region, to) (rate(sgp_modifications_total{service=~"$service"}[$__rate_interval]))`, "{{region}} to {{to}}"}}},
		{title: "Drift", unit: "cpm", description: "Groups found changed by somebody else, a minute.",
			queries: []query{{`60 * sum by (region) (rate(sgp_drift_total{service=~"$service"}[$__rate_interval]))`, "{{region}}"}}},
		{title: "Claims", description: "Groups that a resource holds, and those of them that another one asks for.",
			queries: []query{{`sum by (requested) (max by (service, requested) (sgp_claims{service=~"$service"}))`, "requested: {{requested}}"}}},
	}},
	{"The cloud", []panel{
		{title: "Calls", unit: "reqps", description: "Calls to ECS and STS by action and region.",
			queries: []query{{`sum by (action, region) (rate(sgp_ecs_requests_total{service=~"$service"}[$__rate_interval]))`, "{{action}} {{region}}"}}},
		{title: "Failed calls", unit: "reqps", description: "Calls that were refused or got no answer, by code.",
			queries: []query{{`sum by (region, code) (rate(sgp_ecs_requests_total{service=~"$service",code!="OK"}[$__rate_interval]))`, "{{code}} {{region}}"}}},
		{title: "Duration of calls", unit: "s", description: "Median and 99th percentile.",
			queries: []query{
				{`histogram_quantile(0.5, sum by (le) (rate(sgp_ecs_request_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`, "p50"},
				{`histogram_quantile(0.99, sum by (le) (rate(sgp_ecs_request_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`, "p99"},
			}},
		{title: "Waiting for the rate", unit: "s", description: "How long calls wait for their turn at the rate limit: median and 99th percentile.",
			queries: []query{
				{`histogram_quantile(0.5, sum by (le) (rate(sgp_ecs_throttle_wait_seconds_bucket{service=~"$service"}[$__rate_interval])))`, "p50"},
				{`histogram_quantile(0.99, sum by (le) (rate(sgp_ecs_throttle_wait_seconds_bucket{service=~"$service"}[$__rate_interval])))`, "p99"},
			}},
	}},
	{"The manager", []panel{
		{title: "Queue, by priority", description: "Resources that wait for a worker. Resyncs have a negative priority, so that edits pass them.",
			queries: []query{{`sum by (priority) (workqueue_depth{service=~"$service",controller="securitygrouppolicy"})`, "priority {{priority}}"}}},
		{title: "Reconciliations", unit: "ops", description: "By controller and result.",
			queries: []query{{`sum by (controller, result) (rate(controller_runtime_reconcile_total{service=~"$service"}[$__rate_interval]) > 0)`, "{{controller}} {{result}}"}}},
		{title: "Resyncs overdue", unit: "s", description: "By how much the latest observation is over its interval.",
			queries: []query{{`max by (service) (sgp_resync_overdue_seconds{service=~"$service"})`, "overdue {{service}}"}}},
		{title: "Memory", unit: "bytes", description: "Resident memory of each manager.",
			queries: []query{{`process_resident_memory_bytes{service=~"$service"} and on (instance) sgp_build_info`, "{{instance}}"}}},
	}},
}

// grid is Grafana's: 24 columns.
const (
	columns      = 24
	numberHeight = 4
	lineHeight   = 8
)

// board builds the dashboard.
func board() ([]byte, error) {
	plugins.RegisterDefaultPlugins()
	source := common.DataSourceRef{Uid: cog.ToPtr("$datasource")}
	//nolint:staticcheck // the successor is for a Grafana that few run yet
	b := dashboard.NewDashboardBuilder("sgp-operator").Uid("sgp-operator").
		Description("Inner access policies of Alibaba Cloud ECS security groups: what is declared, what is observed, and what it takes.").
		Tags([]string{"sgp-operator", "kubernetes", "alibaba-cloud"}).Time("now-1h", "now").Refresh("30s").Timezone("browser").
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("service").Label("Service").Datasource(source).
			Query(dashboard.StringOrMap{String: cog.ToPtr("label_values(sgp_build_info, service)")}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).IncludeAll(true).AllValue(".*").
			Current(dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")}}))
	for _, r := range rows {
		b.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			width := uint32(columns / len(r.panels)) //nolint:gosec // a handful
			if p.number {
				s := stat.NewPanelBuilder().Title(p.title).Description(p.description).Unit(p.unit).Datasource(source).Height(numberHeight).Span(width)
				for _, q := range p.queries {
					s.WithTarget(prometheus.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.legend).Instant())
				}
				b.WithPanel(s)
				continue
			}
			t := timeseries.NewPanelBuilder().Title(p.title).Description(p.description).Unit(p.unit).Datasource(source).Height(lineHeight).Span(width).Min(0)
			for _, q := range p.queries {
				t.WithTarget(prometheus.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.legend).Range())
			}
			b.WithPanel(t)
		}
	}
	built, err := b.Build()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(built, "", "  ")
	return append(text, '\n'), err
}
