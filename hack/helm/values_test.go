package helm

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func as[T any](t *testing.T, o unstructured.Unstructured) (typed T) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &typed, true); err != nil {
		t.Fatalf("%s: %v", named(o), err)
	}
	return typed
}

func TestAWrongValueIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"replica: 3":                                          "replica",
		"replicas: two":                                       "replicas",
		"replicas: -1":                                        "replicas",
		"crds: {enable: true}":                                "enable",
		"crds: {keep: 'yes'}":                                 "keep",
		"image: v2":                                           "image",
		"image: {digest: latest}":                             "digest",
		"image: {pullPolicy: Sometimes}":                      "pullPolicy",
		"manager: {resyncInterval: 10}":                       "resyncInterval",
		"manager: {resyncInterval: 10 minutes}":               "resyncInterval",
		"manager: {extraRegions: cn-hangzhou}":                "extraRegions",
		"manager: {extraRegions: [oss-cn-hangzhou]}":          "extraRegions",
		"manager: {ecsEndpoint: ecs.aliyuncs.com}":            "ecsEndpoint",
		"manager: {ecsQps: 3}":                                "ecsQps",
		"manager: {secretNamespaces: [Team_A]}":               "secretNamespaces",
		"extraArgs: [leader-elect]":                           "extraArgs",
		"shards: [a]":                                         "shards",
		"shards: [{selector: x}]":                             "selector",
		"shards: [{name: a}, {name: a}]":                      "two have the same name",
		"shards: [{name: a, watchNamespaces: [team-a]}]":      "what is left for the first manager",
		"accounts: [{name: prod}]":                            "spec",
		"accounts: [{name: prod, specs: {}}]":                 "specs",
		"metrics: {certificate: {source: letsencrypt}}":       "source",
		"metrics: {certificate: {issuerRef: {nam: ours}}}":    "nam",
		"serviceMonitor: true":                                "serviceMonitor",
		"leaderElection: {enabled: false}":                    "one replica only",
		"{prometheusRule: {enabled: true, rules: [{ex: 1}]}}": "expr",
	} {
		if _, err := template(t, chartDir, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a word of %q", text, err, want)
		}
	}
	if _, err := template(t, chartDir, "global: {region: any}"); err != nil {
		t.Errorf("it cannot be a dependency of another chart: %v", err)
	}
}

func TestTheSchemaKnowsEveryValueAndNoOther(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var compare func(path string, schema, value map[string]any)
	compare = func(path string, schema, value map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		if schema["description"] == nil {
			t.Errorf("the schema does not say what %s is", path)
		}
		if len(value) == 0 || properties == nil {
			return
		}
		for key, of := range properties {
			if _, is := value[key]; !is && key != "global" {
				t.Errorf("%s.%s has no default", path, key)
			}
			below, _ := value[key].(map[string]any)
			compare(path+"."+key, of.(map[string]any), below)
		}
		for key := range value {
			if properties[key] == nil {
				t.Errorf("%s.%s is not in the schema", path, key)
			}
		}
	}
	compare("values", values(t, string(text)), values(t, string(defaults)))
}

func TestEveryValueReachesTheManagers(t *testing.T) {
	all := render(t, everything, accountV1)
	first, a := as[appsv1.Deployment](t, find(t, all, "Deployment", "sgp-manager")), as[appsv1.Deployment](t, find(t, all, "Deployment", "sgp-manager-a"))
	args, argsOfA := first.Spec.Template.Spec.Containers[0].Args, a.Spec.Template.Spec.Containers[0].Args
	own := []string{"--watch-namespaces=team-c", "--leader-election-id=sgp-operator"}
	ownOfA := []string{"--watch-namespaces=team-a,team-b", "--leader-election-id=sgp-operator-a", "--ecs-qps=3"}
	common := []string{
		"--leader-elect", "--leader-election-namespace=$(POD_NAMESPACE)", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081",
		"--ecs-endpoint=https://ecs-vpc.{region}.aliyuncs.com", "--sts-endpoint=https://sts-vpc.{region}.aliyuncs.com",
		"--extra-regions=cn-*-finance-2,sa-east-1", "--ecs-qps=2.5", "--ecs-burst=5", "--ecs-timeout=5s", "--resync-interval=1h30m",
		"--max-concurrent-reconciles=64", "--secret-namespaces=keys,more-keys", "--lend-own-credentials=true", "--instance-role=true",
		"--zap-log-level=debug", "--metrics-cert-path=/etc/sgp/metrics-certificate", "--pprof-bind-address=127.0.0.1:6060"}
	for got, want := range map[*[]string][]string{&args: append(slices.Clone(common), own...), &argsOfA: append(slices.Clone(common), ownOfA...)} {
		slices.Sort(*got)
		if slices.Sort(want); !slices.Equal(*got, want) {
			t.Errorf("the flags are\n%q, want\n%q", *got, want)
		}
	}
	pod := first.Spec.Template.Spec
	if *first.Spec.Replicas != 2 || *a.Spec.Replicas != 1 || pod.Volumes[0].Secret.SecretName != "metrics" || !strings.Contains(pod.Containers[0].Image, "@sha256:") ||
		pod.Containers[0].EnvFrom[0].SecretRef.Name != "keys" || *pod.Containers[0].EnvFrom[0].SecretRef.Optional || pod.PriorityClassName == "" ||
		pod.NodeSelector == nil || pod.Tolerations == nil || pod.Affinity == nil || pod.ImagePullSecrets == nil ||
		first.Spec.Template.Labels["team"] != "platform" || first.Spec.Template.Annotations["note"] != "seen" {
		t.Errorf("a value is lost in %+v", pod)
	}
	processors := 0
	for _, e := range pod.Containers[0].Env {
		if e.Name == "GOMAXPROCS" {
			processors++
			if e.Value != "2" {
				t.Errorf("GOMAXPROCS is %s", e.Value)
			}
		}
	}
	if processors != 1 {
		t.Errorf("GOMAXPROCS is set %d times", processors)
	}
}

func TestSecretsMayBeReadWhereTheyAreAndNowhereElse(t *testing.T) {
	for text, want := range map[string][]string{"": {namespace}, "manager: {secretNamespaces: [keys, more-keys]}": {"keys", "more-keys"}} {
		roles, bindings := []string{}, []string{}
		for _, o := range render(t, text) {
			switch {
			case o.GetKind() == "Role" && o.GetName() == "sgp-manager":
				roles = append(roles, o.GetNamespace())
			case o.GetKind() == "RoleBinding" && o.GetName() == "sgp-manager":
				bindings = append(bindings, o.GetNamespace())
				if b := as[rbacv1.RoleBinding](t, o); b.Subjects[0].Namespace != namespace {
					t.Errorf("%s is bound to %+v", named(o), b.Subjects)
				}
			}
		}
		if !slices.Equal(roles, want) || !slices.Equal(bindings, want) {
			t.Errorf("%s: Secrets may be read in %v, by bindings in %v, want %v", text, roles, bindings, want)
		}
	}
}

func TestMonitoringComesFromTheFilesOfConfig(t *testing.T) {
	const rules, dashboard = "groups:\n- name: sgp\n  rules:\n  - alert: Stalled\n    expr: sgp_policies > 0\n    annotations: {summary: '{{ $labels.reason }}'}\n", `{"title": "{{ policies }}"}`
	dir := chartWith(t, [3]string{"files/rules.yaml", "", rules}, [3]string{"files/dashboards/policies.json", "", dashboard})
	all, err := template(t, dir, "{prometheusRule: {enabled: true, additionalLabels: {release: prometheus}, rules: [{alert: Ours, expr: up}]}, dashboards: {enabled: true}}")
	if err != nil {
		t.Fatal(err)
	}
	rule := find(t, all, "PrometheusRule", "sgp-operator")
	groups, _, _ := unstructured.NestedSlice(rule.Object, "spec", "groups")
	if len(groups) != 2 || rule.GetLabels()["release"] != "prometheus" {
		t.Errorf("the groups are %v", groups)
	}
	summary, _, _ := unstructured.NestedSlice(groups[0].(map[string]any), "rules")
	if text, _, _ := unstructured.NestedString(summary[0].(map[string]any), "annotations", "summary"); text != "{{ $labels.reason }}" {
		t.Errorf("the summary is %q", text)
	}
	shown := find(t, all, "ConfigMap", "policies-dashboard")
	if text, _, _ := unstructured.NestedString(shown.Object, "data", "policies.json"); text != dashboard || shown.GetLabels()["grafana_dashboard"] != "1" {
		t.Errorf("the dashboard is %v", shown.Object)
	}
	without := chartWith(t)
	for _, file := range []string{"rules.yaml", "dashboards"} {
		if err := os.RemoveAll(filepath.Join(without, "files", file)); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{"prometheusRule: {enabled: true}": "holds no rules", "dashboards: {enabled: true}": "holds no dashboards"} {
		if _, err := template(t, without, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestEveryValueOfTheChartIsDocumented(t *testing.T) {
	chart, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "helm.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `[^|]+\\|").FindAllString(string(text), -1) {
		for _, value := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row, -1) {
			documented[value[1]] = true
		}
	}
	known := map[string]bool{}
	for key, value := range values(t, string(chart)) {
		section, nested := value.(map[string]any)
		if !nested || len(section) == 0 || key == "resources" {
			known[key] = true
		}
		for below := range section {
			if nested && key != "resources" {
				known[key+"."+below] = true
			}
		}
	}
	for value := range known {
		if !documented[value] {
			t.Errorf("docs/helm.md says nothing of %s", value)
		}
	}
	for value := range documented {
		if !known[value] {
			t.Errorf("docs/helm.md tells of %s, which is no value", value)
		}
	}
}
