package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/prometheus/promql/parser"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const root = "../.."

var picture = flag.String("picture", "", "File for a picture of what the dashboard shows.")

func TestMain(m *testing.M) {
	rig.Prepare()
	flag.Parse()
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	os.Exit(m.Run())
}

func TestWhatIsMadeIsCurrent(t *testing.T) {
	made, err := files(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range made {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not current: make dashboards (%v)", name, err)
		}
	}
}

// strict reads a dashboard by Grafana's own schema, with no field that it does not know.
func strict(text []byte) error {
	plugins.RegisterDefaultPlugins()
	var d dashboard.Dashboard //nolint:staticcheck // as in dashboard.go
	err := d.UnmarshalJSONStrict(text)
	if found, is := errors.AsType[cog.BuildErrors](err); is && len(found) == 0 {
		err = nil // its way to say that there is nothing
	}
	if err != nil {
		return err
	}
	return d.Validate()
}

func TestTheDashboardIsOneOfGrafana(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, dashboardFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := strict(text); err != nil {
		t.Error(err)
	}
	misspelt := bytes.Replace(text, []byte(`"title": "Drift"`), []byte(`"titel": "Drift"`), 1)
	if err := strict(misspelt); err == nil || !strings.Contains(err.Error(), "titel") {
		t.Errorf("a misspelt field: %v", err)
	}
}

// rules are the alerts.
func rules(t *testing.T) (all []struct {
	Alert, Expr string
	Annotations map[string]string
}) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, rulesFile))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// An alert without a page that says what to do is half of one.
func TestEveryAlertHasARunbookAndATest(t *testing.T) {
	runbooks, err := os.ReadFile(filepath.Join(root, "docs", "runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(root, filepath.Dir(rulesFile), "rules_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if !bytes.Contains(runbooks, []byte("\n## "+r.Alert+"\n")) {
			t.Errorf("docs/runbooks.md has no section %s", r.Alert)
		}
		if want := "docs/runbooks.md#" + strings.ToLower(r.Alert); !strings.HasSuffix(r.Annotations["runbook_url"], want) {
			t.Errorf("%s: its runbook_url does not end with %s", r.Alert, want)
		}
		if !bytes.Contains(tests, []byte("alertname: "+r.Alert+"\n")) {
			t.Errorf("%s has no test in rules_test.yaml", r.Alert)
		}
	}
}

func TestAlertsFireWhereTheyShould(t *testing.T) {
	promtool := filepath.Join(tools(t), "promtool")
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		command := exec.CommandContext(t.Context(), promtool, args...)
		command.Dir = filepath.Join(root, filepath.Dir(rulesFile))
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// replaced is an expression without Grafana's variables.
func replaced(expr string) string {
	return strings.NewReplacer("$__rate_interval", "10s", "$service", ".*").Replace(expr)
}

// Everything that dashboard and alerts ask for is served by a manager at work, and its
// metrics are as Prometheus expects metrics to be.
func TestEveryExpressionHasDataFromAManagerAtWork(t *testing.T) {
	folder := tools(t)
	i := install(t, folder)
	begun := time.Now()
	i.work()
	served := i.served(filepath.Join(folder, "promtool"))
	for _, r := range rules(t) {
		for _, name := range metricsOf(t, r.Expr) {
			if !served[name] && !onlyWhenBroken[name] {
				t.Errorf("%s asks for %s, which the manager does not serve", r.Alert, name)
			}
		}
	}
	shown := map[string][]line{}
	for _, row := range rows {
		for _, p := range row.panels {
			for _, q := range p.queries {
				lines, err := i.ask(t.Context(), replaced(q.expr), begun, time.Now())
				if err != nil || !someNumber(lines) {
					t.Errorf("%s: %s has no data: %v", p.title, q.expr, err)
				}
				shown[q.expr] = lines
			}
		}
	}
	if *picture != "" {
		if err := draw(*picture, shown); err != nil {
			t.Fatal(err)
		}
	}
}

// onlyWhenBroken are the metrics that are served once there is something to count.
var onlyWhenBroken = map[string]bool{}

func someNumber(lines []line) bool {
	return slices.ContainsFunc(lines, func(l line) bool {
		return slices.ContainsFunc(l.points, func(p [2]float64) bool { return !math.IsNaN(p[1]) })
	})
}

func metricsOf(t *testing.T, expr string) (names []string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatal(err)
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names
}

// promtoolFound is promtool's exit code where it has something to say.
const promtoolFound = 3

// served are the names of what the manager serves. promtool has nothing to say of those
// that are this project's.
func (i *installation) served(promtool string) map[string]bool {
	i.t.Helper()
	text, err := rig.Get(i.t.Context(), "http://"+i.manager.MetricsAddress()+"/metrics")
	if err != nil {
		i.t.Fatal(err)
	}
	check := exec.CommandContext(i.t.Context(), promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	out, err := check.CombinedOutput()
	if exit, ended := errors.AsType[*exec.ExitError](err); err != nil && (!ended || exit.ExitCode() != promtoolFound) {
		i.t.Errorf("promtool check metrics: %v: %s", err, out) // it could not read them
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "sgp_") {
			i.t.Errorf("promtool check metrics: %s", line)
		}
	}
	names := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^([a-z_]+)[{ ]`).FindAllSubmatch(text, -1) {
		names[string(found[1])] = true
	}
	return names
}

// work gives the manager 100 seconds of what it is there for: changes, drift, refusals,
// throttling, a second claimant, an account without keys.
func (i *installation) work() {
	i.t.Helper()
	for n := range 40 {
		i.policy(fmt.Sprintf("p-%d", n), "Drop")
	}
	i.policy("none", "Drop")
	i.policy("seen", "Drop", func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve })
	i.policy("second", "Accept", func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.SecurityGroupID = "sg-p-0" })
	account := &v1alpha1.ECSAccount{}
	account.Name = "empty"
	account.Spec.Credentials.SecretRef = &v1alpha1.SecretReference{Name: "none", Namespace: "sgp-system"}
	if err := i.cluster.Client.Create(i.t.Context(), account); err != nil {
		i.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(i.t.Context(), 100*time.Second)
	defer cancel()
	for n := 0; rig.Pause(ctx, 200*time.Millisecond) == nil; n++ {
		name := fmt.Sprintf("p-%d", n%40)
		if n > 250 { // past the time in which a read may lag the change
			i.sim.SetPolicy(region, "sg-"+name, ecssim.Accept)
		}
		if n == 20 {
			i.sim.Inject(ecssim.Fault{Kind: ecssim.Throttle, Times: 2})
		}
		if err := i.askAgain(name); err != nil {
			i.t.Fatal(err)
		}
	}
}

// titles are those of all panels, in order.
func titles() (all []string) {
	for _, row := range rows {
		for _, p := range row.panels {
			all = append(all, p.title)
		}
	}
	return all
}

func TestEveryPanelSaysWhatItShows(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range rows {
		for _, p := range row.panels {
			if p.description == "" || seen[p.title] {
				t.Errorf("%s: no description, or twice", p.title)
			}
			seen[p.title] = true
		}
	}
	if got := slices.Sorted(maps.Keys(seen)); len(got) != len(titles()) {
		t.Errorf("%d titles", len(got))
	}
}
