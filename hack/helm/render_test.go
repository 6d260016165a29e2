package helm

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	kube3 "helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

const (
	root      = "../.."
	chartDir  = root + "/charts/sgp-operator"
	name      = "sgp-operator"
	namespace = rig.ManagerNamespace
	accountV1 = "ecs.alibabacloud.com/v1alpha1/ECSAccount"
)

func TestMain(m *testing.M) {
	rig.Prepare()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	log.SetLogger(logr.Discard())
	// By default it is the name of the program.
	kube.ManagedFieldsManager, kube3.ManagedFieldsManager = "helm", "helm"
	os.Exit(m.Run())
}

// values are given as a user writes them.
func values(t *testing.T, text string) (v map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// template is what `helm template` prints, for a cluster that serves apis.
func template(t *testing.T, dir, text string, apis ...string) ([]unstructured.Unstructured, error) {
	t.Helper()
	chart, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler)))
	install.DryRunStrategy, install.WaitStrategy = action.DryRunClient, kube.HookOnlyStrategy
	install.ReleaseName, install.Namespace, install.APIVersions = name, namespace, common.VersionSet(apis)
	install.KubeVersion = &common.KubeVersion{Version: "v1.37.2", Major: "1", Minor: "37"}
	rendered, err := install.Run(chart, values(t, text))
	if err != nil {
		return nil, err
	}
	r := rendered.(*release.Release)
	manifest := r.Manifest
	for _, hook := range r.Hooks {
		manifest += "\n---\n" + hook.Manifest
	}
	return objects(t, manifest), nil
}

func render(t *testing.T, text string, apis ...string) []unstructured.Unstructured {
	t.Helper()
	rendered, err := template(t, chartDir, text, apis...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return rendered
}

func objects(t *testing.T, manifest string) (found []unstructured.Unstructured) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+manifest, "\n---\n") {
		o := unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &o.Object); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		if o.GetKind() != "" {
			found = append(found, o)
		}
	}
	return found
}

func named(o unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}

// find returns the only object of that kind and name.
func find(t *testing.T, among []unstructured.Unstructured, kind, name string) unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(among, func(o unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		t.Fatalf("no %s is called %s", kind, name)
	}
	return among[i]
}

// kustomize is what an overlay of config comes to.
func kustomize(t *testing.T, overlay string) []unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	// Kustomize takes no absolute paths.
	config, err := filepath.Rel(dir, filepath.Join(here, "config"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(overlay, "config/", config+"/")
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, string(manifest))
}

// index holds objects by name, without what Helm alone says of them.
func index(t *testing.T, all []unstructured.Unstructured) map[string]any {
	t.Helper()
	by := map[string]any{}
	for _, o := range all {
		marks, notes := o.GetLabels(), o.GetAnnotations()
		delete(marks, "app.kubernetes.io/managed-by")
		delete(marks, "helm.sh/chart")
		delete(notes, "helm.sh/resource-policy")
		o.SetLabels(marks)
		o.SetAnnotations(notes)
		if by[named(o)] != nil {
			t.Errorf("%s is there twice", named(o))
		}
		// Helm creates the namespace, without labels: docs/helm.md says which it needs.
		if o.GetKind() != "Namespace" {
			by[named(o)] = o.Object
		}
	}
	return by
}

func TestTheChartInstallsWhatConfigInstalls(t *testing.T) {
	for _, c := range []struct{ name, overlay, values string }{
		{"by default", "resources: [config/default]", ""},
		{"three shards", "resources: [config/shards]", "shards: [{name: a}, {name: b}]"},
		{"everything", "resources: [config/shards, config/account, config/network-policy, config/prometheus]\n" +
			"components: [config/metrics-certificate, config/components/aggregate-roles]",
			"{shards: [{name: a}, {name: b}], defaultAccount: {enabled: true}, networkPolicy: {enabled: true}, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboards: {enabled: true}," +
				"metrics: {certificate: {source: certManager}}, aggregateRoles: true}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, want := index(t, render(t, c.values, accountV1)), index(t, kustomize(t, c.overlay))
			for _, key := range slices.Sorted(maps.Keys(want)) {
				if got[key] == nil {
					t.Errorf("the chart lacks %s", key)
				} else if diff := cmp.Diff(want[key], got[key]); diff != "" {
					t.Errorf("%s (- config, + chart): %s", key, diff)
				}
			}
			for key := range got {
				if want[key] == nil {
					t.Errorf("config lacks %s", key)
				}
			}
			if len(want) < 20 {
				t.Errorf("config has %d objects only", len(want))
			}
		})
	}
}

func TestHelmFindsNothingToCriticise(t *testing.T) {
	for _, text := range []string{"", everything} {
		lint := action.NewLint()
		lint.Strict, lint.Namespace = true, namespace
		result := lint.Run([]string{chartDir}, values(t, text))
		for _, m := range result.Messages {
			t.Errorf("%s: %v", m.Path, m.Err)
		}
		if result.TotalChartsLinted != 1 {
			t.Errorf("%d charts were linted: %v", result.TotalChartsLinted, result.Errors)
		}
	}
}

// everything sets each value that is off by default.
const everything = `
image: {digest: "sha256:0123456789012345678901234567890123456789012345678901234567890123"}
imagePullSecrets: [{name: registry}]
manager:
  ecsEndpoint: "https://ecs-vpc.{region}.aliyuncs.com"
  stsEndpoint: "https://sts-vpc.{region}.aliyuncs.com"
  extraRegions: ["cn-*-finance-2", sa-east-1]
  ecsQPS: 2.5
  ecsBurst: 5
  ecsTimeout: 5s
  resyncInterval: 1h30m
  maxConcurrentReconciles: 64
  watchNamespaces: [team-c]
  secretNamespaces: [keys, more-keys]
  lendOwnCredentials: true
  instanceRole: true
  logLevel: debug
extraArgs: [--pprof-bind-address=127.0.0.1:6060]
env: [{name: GOMAXPROCS, value: "2"}]
shards: [{name: a, watchNamespaces: [team-a, team-b], replicas: 1, extraArgs: [--ecs-qps=3]}]
credentials: {existingSecret: keys, optional: false}
defaultAccount: {enabled: true}
accounts: [{name: prod, labels: {of: us}, annotations: {why: tested}, spec: {allowedNamespaces: {all: true}}}]
serviceAccount: {annotations: {pod-identity.alibabacloud.com/role-name: sgp}}
aggregateRoles: true
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: system-cluster-critical
podLabels: {team: platform}
podAnnotations: {note: seen}
networkPolicy: {enabled: true}
metrics: {certificate: {source: certManager, secretName: metrics, issuerRef: {kind: ClusterIssuer, name: ours}}}
serviceMonitor: {enabled: true, additionalLabels: {release: prometheus}, interval: 15s}
prometheusRule: {enabled: true, additionalLabels: {release: prometheus}, rules: [{alert: Ours, expr: "vector(1)"}]}
`
