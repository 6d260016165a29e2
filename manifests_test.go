package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// render is what a kustomization comes to.
func render(t *testing.T, folder string) (objects []unstructured.Unstructured) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "kustomize", folder).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v: %s", folder, err, text)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(text)), 4096)
	for {
		var o unstructured.Unstructured
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
}

// overlay is a kustomization as an administrator would write it.
func overlay(t *testing.T, text string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	// Kustomize takes no absolute paths.
	relative, err := filepath.Rel(folder, root)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "ROOT", relative)
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// managers are the Deployments among objects.
func managers(t *testing.T, objects []unstructured.Unstructured) (deployments []appsv1.Deployment) {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		var d appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
			t.Fatal(err)
		}
		deployments = append(deployments, d)
	}
	if len(deployments) == 0 {
		t.Fatal("no manager is installed")
	}
	return deployments
}

func field(o unstructured.Unstructured, path ...string) string {
	value, _, _ := unstructured.NestedString(o.Object, path...)
	return value
}

func TestNoNamespaceStandsForAHostOfAlibabaCloud(t *testing.T) {
	for _, folder := range []string{"config/default", "config/shards"} {
		for _, d := range managers(t, render(t, folder)) {
			config := d.Spec.Template.Spec.DNSConfig
			if config == nil || len(config.Options) != 1 || config.Options[0].Name != "ndots" || config.Options[0].Value == nil || *config.Options[0].Value != "1" {
				t.Errorf("%s, %s: names are looked up among the cluster's first: %+v", folder, d.Name, config)
			}
		}
	}
}

func TestEveryManagerShowsTheCertificateThatPrometheusExpects(t *testing.T) {
	objects := render(t, overlay(t, "resources: [ROOT/config/shards, ROOT/config/prometheus]\ncomponents: [ROOT/config/metrics-certificate]\n"))
	secret, names, expected, ca := "", []string{}, "", ""
	for _, o := range objects {
		switch o.GetKind() {
		case "Certificate":
			secret = field(o, "spec", "secretName")
			names, _, _ = unstructured.NestedStringSlice(o.Object, "spec", "dnsNames")
		case "ServiceMonitor":
			endpoints, _, _ := unstructured.NestedSlice(o.Object, "spec", "endpoints")
			endpoint := unstructured.Unstructured{Object: endpoints[0].(map[string]any)}
			expected, ca = field(endpoint, "tlsConfig", "serverName"), field(endpoint, "tlsConfig", "ca", "secret", "name")
		}
	}
	if secret == "" || ca != secret || !slices.Contains(names, expected) {
		t.Errorf("the certificate is for %q in Secret %q, and Prometheus expects %q of Secret %q", names, secret, expected, ca)
	}
	for _, d := range managers(t, objects) {
		pod := d.Spec.Template.Spec
		if len(pod.Volumes) != 1 || pod.Volumes[0].Secret == nil || pod.Volumes[0].Secret.SecretName != secret || len(pod.Containers[0].VolumeMounts) != 1 {
			t.Errorf("%s has the volumes %+v", d.Name, pod.Volumes)
			continue
		}
		if flag := fmt.Sprint("--metrics-cert-path=", pod.Containers[0].VolumeMounts[0].MountPath); !slices.Contains(pod.Containers[0].Args, flag) {
			t.Errorf("%s has the arguments %q without %s", d.Name, pod.Containers[0].Args, flag)
		}
	}
}
