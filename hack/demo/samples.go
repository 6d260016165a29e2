package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// The samples that the tour speaks of, by name.
const (
	unchangedGroup = "shared-services"
	changedGroup   = "web-tier"
	observedGroup  = "legacy-batch"
	borrowedGroup  = "audit-week"
	missingGroup   = "next-release"
	lentGroup      = "card-vault"
	refusedGroup   = "side-door"
)

// sample is one manifest of config/samples.
type sample struct {
	file   string
	object *unstructured.Unstructured
	// policy is the same, if it is one.
	policy *v1alpha1.SecurityGroupPolicy
}

// ofAccount tells whether the tour comes to the sample with the second account
// only.
func (s *sample) ofAccount() bool {
	return s.object.GetKind() == "ECSAccount" || s.policy != nil && s.policy.Spec.AccountRef != nil
}

// readSamples reads the manifests in the order in which the kustomization lists
// them.
func readSamples(dir string) ([]sample, error) {
	var list struct {
		Resources []string `json:"resources"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		return nil, fmt.Errorf("the demo runs from the top of the repository: %w", err)
	}
	if err := yaml.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	var samples []sample
	for _, name := range list.Resources {
		read, err := readManifests(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		samples = append(samples, read...)
	}
	return samples, nil
}

func readManifests(path string) ([]sample, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()

	var samples []sample
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return samples, nil
		}
		if err != nil {
			return nil, err
		}
		s := sample{file: path, object: object}
		if object.GetKind() == "SecurityGroupPolicy" {
			s.policy = &v1alpha1.SecurityGroupPolicy{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, s.policy); err != nil {
				return nil, err
			}
		}
		samples = append(samples, s)
	}
}
