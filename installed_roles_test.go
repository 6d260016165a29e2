package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// leasesAreBound asks the API server what the manager may do with leases.
func (i *installation) leasesAreBound(t *testing.T) {
	may := func(verb, lease string) bool {
		return i.try("-n", i.namespace, "auth", "can-i", verb, "leases.coordination.k8s.io/"+lease, "--as", "system:serviceaccount:sgp-system:sgp-manager") == nil
	}
	for _, verb := range []string{"get", "update"} {
		if !may(verb, "sgp-operator") || may(verb, "another") {
			t.Errorf("%s: its own lease %v, another's %v", verb, may(verb, "sgp-operator"), may(verb, "another"))
		}
	}
}

// nothingIsAggregated holds the roles as installed, and with the component that
// aggregates them, against what the users of a namespace may do then.
func (i *installation) nothingIsAggregated(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay := t.TempDir()
	config, err := filepath.Rel(overlay, filepath.Join(here, "config"))
	if err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + config + "/default]\ncomponents: [" + config + "/components/aggregate-roles]\n"
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string][]string{
		"config/default": nil,
		overlay:          {"sgp-ecsaccount-admin to admin", "sgp-securitygrouppolicy-editor to admin", "sgp-securitygrouppolicy-editor to edit"},
	} {
		var got []string
		decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(i.run("kustomize", dir)), 4096)
		for {
			u := &unstructured.Unstructured{}
			if err := decoder.Decode(u); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			for _, to := range []string{"admin", "edit"} {
				if u.GetLabels()["rbac.authorization.k8s.io/aggregate-to-"+to] == "true" {
					got = append(got, u.GetName()+" to "+to)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s aggregates %v, want %v", dir, got, want)
		}
	}
}
