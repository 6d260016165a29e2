package states

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// actionTests are the tests of actions as Argo CD has them.
type actionTests struct {
	DiscoveryTests []struct {
		InputPath string   `json:"inputPath"`
		Result    []action `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

type action struct {
	Name        string `json:"name"`
	Disabled    bool   `json:"disabled"`
	IconClass   string `json:"iconClass"`
	DisplayName string `json:"displayName"`
}

func actionFolder(kind string) string { return filepath.Join(folder(kind), "actions") }

// actionNames are those of a kind that have a script.
func actionNames(t *testing.T, kind string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(actionFolder(kind), "*", "action.lua"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d actions: %v", len(paths), err)
	}
	for _, path := range paths {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	return names
}

func actionScript(t *testing.T, kind, name string) string {
	t.Helper()
	return string(read(t, filepath.Join(actionFolder(kind), name, "action.lua")))
}

func offered(t *testing.T, kind string, object map[string]any) map[string]action {
	t.Helper()
	found := map[string]action{}
	if err := run(t.Context(), string(read(t, filepath.Join(actionFolder(kind), "discovery.lua"))), object, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestActionsAreOfferedAsArgoCDsOwnTestsExpectIt(t *testing.T) {
	for _, kind := range kinds {
		var tests actionTests
		readYAML(t, filepath.Join(actionFolder(kind), "action_test.yaml"), &tests)
		for _, test := range tests.DiscoveryTests {
			want := map[string]action{}
			for _, a := range test.Result {
				want[a.Name] = action{Disabled: a.Disabled, IconClass: a.IconClass, DisplayName: a.DisplayName}
			}
			got := offered(t, kind, readObject(t, filepath.Join(actionFolder(kind), test.InputPath)).Object)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s: -want +got\n%s", kind, test.InputPath, diff)
			}
		}
	}
}

// TestAnActionIsOfferedWhereItDoesSomething asks in every state.
func TestAnActionIsOfferedWhereItDoesSomething(t *testing.T) {
	for _, kind := range kinds {
		names := actionNames(t, kind)
		for _, s := range states(t, kind) {
			suspended, _, _ := unstructured.NestedBool(s.object.Object, "spec", "suspend")
			held := len(s.object.GetFinalizers()) > 0 && s.object.GetFinalizers()[0] == group+"/restore"
			want := map[string]bool{"reconcile": !suspended, "suspend": !suspended && !s.deleted(), "resume": suspended, "abandon": s.deleted() && held}
			found := offered(t, kind, s.object.Object)
			for _, name := range names {
				a, listed := found[name]
				if enabled := listed && !a.Disabled; enabled != want[name] {
					t.Errorf("%s: %s: %s is offered: %v", kind, s.name, name, enabled)
				}
			}
			if _, listed := found["abandon"]; listed != want["abandon"] {
				t.Errorf("%s: %s: abandon is listed: %v", kind, s.name, listed)
			}
		}
	}
}

func TestActionsChangeWhatArgoCDsOwnTestsExpect(t *testing.T) {
	for _, kind := range kinds {
		var tests actionTests
		readYAML(t, filepath.Join(actionFolder(kind), "action_test.yaml"), &tests)
		tested := map[string]bool{}
		for _, test := range tests.ActionTests {
			tested[test.Action] = true
			object := &unstructured.Unstructured{}
			input := readObject(t, filepath.Join(actionFolder(kind), test.InputPath)).Object
			if err := run(t.Context(), actionScript(t, kind, test.Action), input, &object.Object); err != nil {
				t.Fatalf("%s: %s: %v", kind, test.Action, err)
			}
			settleTime(t, object)
			current(t, filepath.Join(actionFolder(kind), test.ExpectedOutputPath), toYAML(t, object.Object))
		}
		for _, name := range actionNames(t, kind) {
			if !tested[name] {
				t.Errorf("%s: the action %s has no test", kind, name)
			}
		}
	}
}

// settleTime puts a constant in place of the time of a request.
func settleTime(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	const requested = group + "/reconcile-requested-at"
	annotations := object.GetAnnotations()
	if annotations[requested] == "" {
		return
	}
	if _, err := time.Parse(time.RFC3339, annotations[requested]); err != nil {
		t.Errorf("requested at %v", err)
	}
	annotations[requested] = "0001-01-01T00:00:00Z"
	object.SetAnnotations(annotations)
}

// TestTheConfigMapHasTheScripts is for who has no such folder in his Argo CD.
func TestTheConfigMapHasTheScripts(t *testing.T) {
	type definition struct {
		Name   string `json:"name"`
		Action string `json:"action.lua"`
	}
	data := map[string]string{}
	for _, kind := range kinds {
		actions := struct {
			Discovery   string       `json:"discovery.lua"`
			Definitions []definition `json:"definitions"`
		}{Discovery: string(read(t, filepath.Join(actionFolder(kind), "discovery.lua")))}
		for _, name := range actionNames(t, kind) {
			actions.Definitions = append(actions.Definitions, definition{name, actionScript(t, kind, name)})
		}
		data["resource.customizations.actions."+group+"_"+kind] = string(toYAML(t, actions))
		data["resource.customizations.health."+group+"_"+kind] = string(read(t, filepath.Join(folder(kind), "health.lua")))
	}
	file := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": map[string]any{
		"name": "argocd-cm", "namespace": "argocd", "labels": map[string]string{"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"}}}
	head := "# Written by make states from resource_customizations. Merge it into your own:\n" +
		"#   kubectl -n argocd patch configmap argocd-cm --patch-file argocd-cm.yaml\n"
	current(t, filepath.Join(customizations, "..", "argocd-cm.yaml"), append([]byte(head), toYAML(t, file)...))
}

// TestNothingElseLiesInTheLayout finds an expectation that no test has.
func TestNothingElseLiesInTheLayout(t *testing.T) {
	for _, kind := range kinds {
		var tests actionTests
		readYAML(t, filepath.Join(actionFolder(kind), "action_test.yaml"), &tests)
		expected := map[string]bool{}
		for _, test := range tests.ActionTests {
			expected[filepath.Base(test.ExpectedOutputPath)] = true
		}
		files, err := os.ReadDir(filepath.Join(actionFolder(kind), "testdata"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !expected[f.Name()] {
				t.Errorf("%s/actions/testdata/%s belongs to no test", kind, f.Name())
			}
		}
	}
}
