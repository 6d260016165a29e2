package states

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the files that follow from the states and scripts")

const (
	root           = "../../.."
	customizations = root + "/config/argocd/resource_customizations"
	group          = "ecs.alibabacloud.com"
)

// kinds are those whose state a GitOps tool is asked for.
var kinds = []string{"SecurityGroupPolicy", "ECSAccount"}

// folder is where Argo CD looks for what concerns a kind.
func folder(kind string) string { return filepath.Join(customizations, group, kind) }

// state is an object as the API server returned it.
type state struct {
	kind, name string
	path       string // from the folder of the kind
	object     *unstructured.Unstructured
}

// states are those on record.
func states(t *testing.T, kind string) (all []state) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder(kind), "testdata", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d states of %s: %v", len(paths), kind, err)
	}
	for _, path := range paths {
		name := filepath.Base(path)
		all = append(all, state{kind: kind, name: strings.TrimSuffix(name, ".yaml"), path: "testdata/" + name, object: readObject(t, path)})
	}
	return all
}

func (s state) deleted() bool  { return s.object.GetDeletionTimestamp() != nil }
func (s state) observed() bool { return s.number("observedGeneration") == s.object.GetGeneration() }

func (s state) number(field string) int64 {
	n, _, _ := unstructured.NestedInt64(s.object.Object, "status", field)
	return n
}

// condition is a field of a condition, empty if the state has no such condition.
func (s state) condition(kind, field string) string {
	list, _, _ := unstructured.NestedSlice(s.object.Object, "status", "conditions")
	for _, c := range list {
		if c := c.(map[string]any); c["type"] == kind {
			return c[field].(string)
		}
	}
	return ""
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal(read(t, path), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// readObject keeps integers integers, as a client of the API server does.
func readObject(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	text, err := yaml.YAMLToJSON(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return object
}

// current compares a file with what it should be, or writes it.
func current(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, path); !bytes.Equal(got, want) {
		t.Errorf("%s is stale, run make states: -file +should be\n%s", path, cmp.Diff(string(got), string(want)))
	}
}

func toYAML(t *testing.T, value any) []byte {
	t.Helper()
	text, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
