package rig

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Manifest is one object of a kustomization.
type Manifest struct {
	File   string
	Object *unstructured.Unstructured
}

// ReadManifests reads the objects of a folder's kustomization, in the order in
// which it lists them. What else it says is not followed.
func ReadManifests(dir string) ([]Manifest, error) {
	var kustomization struct {
		Resources []string `json:"resources"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var manifests []Manifest
	for _, name := range kustomization.Resources {
		read, err := readFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		manifests = append(manifests, read...)
	}
	return manifests, nil
}

func readFile(path string) (manifests []Manifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(object); {
		case errors.Is(err, io.EOF):
			return manifests, nil
		case err != nil:
			return nil, err
		case len(object.Object) > 0: // not a comment between two separators
			manifests = append(manifests, Manifest{path, object})
		}
	}
}

// installedEnvironment is the environment that config/manager gives the manager, as
// far as it holds plain values: what tells Go's runtime how frugal to be.
func installedEnvironment(root string) ([]string, error) {
	path := filepath.Join(root, "config", "manager", "deployment.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	deployment := &appsv1.Deployment{}
	if err := yaml.Unmarshal(text, deployment); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		if container.Name != "manager" {
			continue
		}
		var env []string
		for _, e := range container.Env {
			if e.ValueFrom == nil {
				env = append(env, e.Name+"="+e.Value)
			}
		}
		return env, nil
	}
	return nil, fmt.Errorf("%s: no container is called manager", path)
}
