package states

import (
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
)

// health is what a health script returns.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	// DeletionMessage replaces Argo CD's own text while an object is being deleted,
	// from 3.6 on.
	DeletionMessage string `json:"deletionMessage,omitempty"`
}

func (s state) argo(t *testing.T) (h health) {
	t.Helper()
	if err := run(t.Context(), string(read(t, folder(s.kind)+"/health.lua")), s.object.Object, &h); err != nil {
		t.Fatalf("%s %s: %v", s.kind, s.name, err)
	}
	return h
}

func (s state) kstatus(t *testing.T) string {
	t.Helper()
	result, err := status.Compute(s.object)
	if err != nil {
		t.Fatalf("%s %s: %v", s.kind, s.name, err)
	}
	return string(result.Status)
}

// flux is what Flux makes of a state with the expressions of config/flux, which are for
// policies.
func (s state) flux(t *testing.T) string {
	t.Helper()
	for _, check := range expressions(t) {
		if check.Kind != s.kind || check.APIVersion != s.object.GetAPIVersion() {
			continue
		}
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			t.Fatal(err)
		}
		result, err := evaluator.Evaluate(t.Context(), s.object)
		if err != nil {
			t.Fatalf("%s %s: %v", s.kind, s.name, err)
		}
		return string(result.Status)
	}
	return s.kstatus(t)
}

func expressions(t *testing.T) []kustomize.CustomHealthCheck {
	t.Helper()
	var patch struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	readYAML(t, root+"/config/flux/health-check-exprs.yaml", &patch)
	return patch.Spec.HealthCheckExprs
}

// TestEachToolTellsReadyFromNotReady holds the three against the conditions themselves.
func TestEachToolTellsReadyFromNotReady(t *testing.T) {
	for _, kind := range kinds {
		for _, s := range states(t, kind) {
			t.Run(kind+"/"+s.name, func(t *testing.T) {
				is := func(condition string) bool { return s.observed() && s.condition(condition, "status") == "True" }
				settled := s.observed() && !s.deleted()
				argo, kstatus, flux := s.argo(t), s.kstatus(t), s.flux(t)
				expect := func(what string, got, want bool) {
					t.Helper()
					if got != want {
						t.Errorf("%s: %v, want %v (Argo CD %+v, kstatus %s, Flux %s)", what, got, want, argo, kstatus, flux)
					}
				}
				drifted := s.observed() && s.condition("Ready", "reason") == "DriftDetected"
				expect("Healthy", argo.Status == "Healthy", settled && is("Ready") && !is("Suspended"))
				expect("Suspended", argo.Status == "Suspended", is("Suspended"))
				expect("Degraded", argo.Status == "Degraded", is("Stalled") || drifted)
				expect("Terminating for kstatus", kstatus == "Terminating", s.deleted())
				expect("Current for kstatus", kstatus == "Current", settled && is("Ready") && !is("Reconciling"))
				expect("Failed for kstatus", kstatus == "Failed", settled && is("Stalled"))
				if kind == "SecurityGroupPolicy" {
					expect("Current for Flux", flux == "Current", settled && (is("Ready") || is("Suspended")) && !is("Reconciling"))
					expect("Failed for Flux", flux == "Failed", settled && (is("Stalled") || drifted))
					expect("awaited by Flux", flux == "InProgress", !settled || is("Reconciling"))
				}
			})
		}
	}
}

func TestArgoCDSaysWhy(t *testing.T) {
	for _, kind := range kinds {
		for _, s := range states(t, kind) {
			h := s.argo(t)
			if reason := s.condition("Ready", "reason"); s.observed() && !strings.Contains(h.Message, reason+": "+s.condition("Ready", "message")) {
				t.Errorf("%s %s: %q does not have reason and message", kind, s.name, h.Message)
			}
			if h.Message == "" || s.deleted() != (h.DeletionMessage != "") || s.deleted() && h.DeletionMessage != h.Message {
				t.Errorf("%s %s: %+v", kind, s.name, h)
			}
			held := strings.Join(s.object.GetFinalizers(), " ")
			if s.deleted() && strings.Contains(held, group+"/restore") != strings.Contains(h.Message, group+"/abandon") {
				t.Errorf("%s %s: held by %s: %q", kind, s.name, held, h.Message)
			}
		}
	}
}

// healthTests are the tests of a health script as Argo CD has them.
type healthTests struct {
	Tests []healthTest `json:"tests"`
}

type healthTest struct {
	HealthStatus health `json:"healthStatus"`
	InputPath    string `json:"inputPath"`
}

func TestHealthIsAsArgoCDsOwnTestsExpectIt(t *testing.T) {
	for _, kind := range kinds {
		var file healthTests
		for _, s := range states(t, kind) {
			h := s.argo(t)
			h.DeletionMessage = "" // which these tests do not know
			file.Tests = append(file.Tests, healthTest{h, s.path})
		}
		current(t, folder(kind)+"/health_test.yaml", toYAML(t, file))
	}
}
