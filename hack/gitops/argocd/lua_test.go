package argocd

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	config = "../../../config/argocd"
	group  = "ecs.alibabacloud.com"
)

// actions are the names of the actions of each kind.
var actions = map[string][]string{
	"SecurityGroupPolicy": {"abandon", "reconcile", "resume", "suspend"},
	"ECSAccount":          {"reconcile"},
}

func folder(kind string) string { return filepath.Join(config, "resource_customizations", group, kind) }

func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// readObject keeps integers integers, as a client of the API server does.
func readObject(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	object := &unstructured.Unstructured{}
	if err == nil {
		err = object.UnmarshalJSON(text)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return object
}

// overrides are what Argo CD makes of the ConfigMap that users merge into theirs.
func overrides(t *testing.T) map[string]v1alpha1.ResourceOverride {
	t.Helper()
	var file struct {
		Data map[string]string `json:"data"`
	}
	read(t, filepath.Join(config, "argocd-cm.yaml"), &file)
	found := map[string]v1alpha1.ResourceOverride{}
	for key, value := range file.Data {
		what, kind, ok := strings.Cut(strings.TrimPrefix(key, "resource.customizations."), "."+group+"_")
		if !ok {
			t.Fatalf("no key of Argo CD: %s", key)
		}
		o := found[group+"/"+kind]
		switch what {
		case "health":
			o.HealthLua = value
		case "actions":
			o.Actions = value
		default:
			t.Fatalf("no key of Argo CD: %s", key)
		}
		found[group+"/"+kind] = o
	}
	return found
}

func TestArgoCDShowsTheHealthThatIsExpected(t *testing.T) {
	all := overrides(t)
	for kind := range actions {
		folder := folder(kind)
		var file struct {
			Tests []struct {
				InputPath    string              `json:"inputPath"`
				HealthStatus health.HealthStatus `json:"healthStatus"`
			} `json:"tests"`
		}
		read(t, filepath.Join(folder, "health_test.yaml"), &file)
		if len(file.Tests) == 0 {
			t.Fatalf("%s has no tests", kind)
		}
		for _, test := range file.Tests {
			t.Run(kind+"/"+test.InputPath, func(t *testing.T) {
				object := readObject(t, filepath.Join(folder, test.InputPath))
				script, err := lua.ResourceHealthOverrides(all).GetResourceHealth(object)
				if err != nil || !reflect.DeepEqual(script, &test.HealthStatus) {
					t.Errorf("the script: %+v, %v, want %+v", script, err, test.HealthStatus)
				}
				shown, err := health.GetResourceHealth(object, lua.ResourceHealthOverrides(all))
				want := &test.HealthStatus
				if object.GetDeletionTimestamp() != nil {
					want = &health.HealthStatus{Status: health.HealthStatusProgressing, Message: "Pending deletion"} // before 3.6
				}
				if err != nil || !reflect.DeepEqual(shown, want) {
					t.Errorf("shown: %+v, %v, want %+v", shown, err, want)
				}
			})
		}
	}
}

// tests are those of action_test.yaml.
type tests struct {
	DiscoveryTests []struct {
		InputPath string                    `json:"inputPath"`
		Result    []v1alpha1.ResourceAction `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

func TestArgoCDOffersTheActionsThatAreExpected(t *testing.T) {
	vm := lua.VM{ResourceOverrides: overrides(t)}
	for kind := range actions {
		actions := filepath.Join(folder(kind), "actions")
		var file tests
		read(t, filepath.Join(actions, "action_test.yaml"), &file)
		for _, test := range file.DiscoveryTests {
			object := readObject(t, filepath.Join(actions, test.InputPath))
			scripts, err := vm.GetResourceActionDiscovery(object)
			if err != nil {
				t.Fatal(err)
			}
			got, err := vm.ExecuteResourceActionDiscovery(object, scripts)
			byName := func(a, b v1alpha1.ResourceAction) int { return cmp.Compare(a.Name, b.Name) }
			slices.SortFunc(got, byName)
			slices.SortFunc(test.Result, byName)
			if err != nil || !reflect.DeepEqual(got, test.Result) {
				t.Errorf("%s: %s: %+v, %v, want %+v", kind, test.InputPath, got, err, test.Result)
			}
		}
	}
}

func TestArgoCDsActionsChangeWhatIsExpected(t *testing.T) {
	vm := lua.VM{ResourceOverrides: overrides(t)}
	for kind, want := range actions {
		actions := filepath.Join(folder(kind), "actions")
		var file tests
		read(t, filepath.Join(actions, "action_test.yaml"), &file)
		ran := map[string]bool{}
		for _, test := range file.ActionTests {
			ran[test.Action] = true
			object := readObject(t, filepath.Join(actions, test.InputPath))
			action, err := vm.GetResourceAction(object, test.Action)
			if err != nil {
				t.Fatal(err)
			}
			changes, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
			if err != nil || len(changes) != 1 || changes[0].K8SOperation != lua.PatchOperation {
				t.Fatalf("%s: %s: %+v, %v", kind, test.Action, changes, err)
			}
			got, want := changes[0].UnstructuredObj, readObject(t, filepath.Join(actions, test.ExpectedOutputPath))
			settleTime(t, got)
			if !reflect.DeepEqual(got.Object, want.Object) {
				t.Errorf("%s: %s of %s: %v, want %v", kind, test.Action, test.InputPath, got.Object, want.Object)
			}
		}
		if names := slices.Sorted(maps.Keys(ran)); !slices.Equal(names, want) {
			t.Errorf("%s: ran %v", kind, names)
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
