package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
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
	rig.Manifest
	// policy is the same, if it is one.
	policy *v1alpha1.SecurityGroupPolicy
}

// ofAccount tells whether the tour comes to the sample with the second account
// only.
func (s *sample) ofAccount() bool {
	return s.Object.GetKind() == "ECSAccount" || s.policy != nil && s.policy.Spec.AccountRef != nil
}

// readSamples reads the manifests in the order in which the kustomization lists
// them.
func readSamples(dir string) ([]sample, error) {
	manifests, err := rig.ReadManifests(dir)
	if err != nil {
		return nil, fmt.Errorf("the demo runs from the top of the repository: %w", err)
	}
	var samples []sample
	for _, m := range manifests {
		s := sample{Manifest: m}
		if m.Object.GetKind() == "SecurityGroupPolicy" {
			s.policy = &v1alpha1.SecurityGroupPolicy{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.Object.Object, s.policy); err != nil {
				return nil, fmt.Errorf("%s: %w", m.File, err)
			}
		}
		samples = append(samples, s)
	}
	return samples, nil
}
