package operator_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the states that the API server returns into config/argocd")

// statesOf is the folder with the states of a kind, where Argo CD's own tests look for
// them. What hack/gitops/states says of GitOps tools, it says of these files.
func statesOf(kind string) string {
	return filepath.Join("..", "..", "config", "argocd", "resource_customizations", v1alpha1.GroupVersion.Group, kind, "testdata")
}

// statesByKind are all states, by kind and name.
func statesByKind() map[string]map[string]func(*testing.T) *world {
	policies := maps.Clone(policyStates)
	maps.Copy(policies, safetyStates)
	return map[string]map[string]func(*testing.T) *world{"SecurityGroupPolicy": policies, "ECSAccount": accountStates}
}

// TestEveryStateIsOnRecord brings a resource into each state, and compares what the API
// server returns with the file of that name.
func TestEveryStateIsOnRecord(t *testing.T) {
	t.Parallel()
	record := func(kind, name string, bring func(*testing.T) *world) {
		t.Run(kind+"/"+name, func(t *testing.T) {
			t.Parallel()
			w := bring(t)
			path := filepath.Join(statesOf(kind), name+".yaml")
			got := w.state(kind)
			if *update {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s is not what the API server returns, run make states: -want +got\n%s", path, diff)
			}
		})
	}
	for kind, states := range statesByKind() {
		for name, bring := range states {
			record(kind, name, bring)
		}
	}
}

// TestEveryReasonHasAState also finds a file that no state is compared with.
func TestEveryReasonHasAState(t *testing.T) {
	t.Parallel()
	var all []byte
	for kind, states := range statesByKind() {
		files, err := os.ReadDir(statesOf(kind))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(statesOf(kind), f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
			names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
		}
		slices.Sort(names)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(states)), names); diff != "" {
			t.Errorf("states of %s and their files: -states +files\n%s", kind, diff)
		}
	}
	for _, reason := range reasonsOfTheAPI(t) {
		if !bytes.Contains(all, []byte("    reason: "+reason+"\n")) {
			t.Errorf("no state has the reason %s", reason)
		}
	}
}

// reasonsOfTheAPI are the values of the constants that begin with Reason.
func reasonsOfTheAPI(t *testing.T) (reasons []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "api", "v1alpha1", "condition_types.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, reason)
		return false
	})
	if len(reasons) == 0 {
		t.Fatal("api/v1alpha1 has no reasons")
	}
	return reasons
}

// subject is the name of the resource whose state is recorded.
const subject = "web-tier"

// state is what the API server returns of the subject, with constants in place of what
// differs from run to run.
func (w *world) state(kind string) []byte {
	w.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	key := types.NamespacedName{Namespace: w.namespace, Name: subject}
	if kind == "ECSAccount" {
		key = types.NamespacedName{Name: w.name(subject)}
	}
	if err := api.Get(w.t.Context(), key, o); err != nil {
		w.t.Fatal(err)
	}
	for _, field := range []string{"uid", "resourceVersion", "managedFields"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	if kind == "ECSAccount" {
		o.SetLabels(nil) // which say of what test it is
	}
	constants := strings.NewReplacer(w.name(""), "", w.region, "cn-hangzhou", w.namespace, "team-a")
	text, err := yaml.Marshal(settle(o.Object, constants))
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// settle replaces what differs from run to run.
func settle(value any, constants *strings.Replacer) any {
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			switch key {
			case "requestId":
				v[key] = "473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E"
			case "clientToken":
				v[key] = "sgp-0123456789abcdef"
			default:
				v[key] = settle(field, constants)
			}
		}
	case []any:
		for i := range v {
			v[i] = settle(v[i], constants)
		}
	case string:
		if _, err := time.Parse(time.RFC3339, v); err == nil {
			return "2026-01-01T00:00:00Z"
		}
		return constants.Replace(v)
	}
	return value
}
