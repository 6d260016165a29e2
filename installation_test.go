package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// installation is what `kubectl apply -k config/default` leaves in a cluster.
type installation struct {
	t         *testing.T
	env       *envtest.Environment
	api       client.WithWatch
	kubectl   string
	admin     string // kubeconfig files
	manager   string
	namespace string
	cache     string // kubectl's, of what the API server serves
}

// startCluster starts a control plane that holds nothing of this project.
func startCluster(t *testing.T) *installation {
	t.Helper()
	env := &envtest.Environment{}
	rest, err := env.Start()
	if err != nil {
		t.Fatalf("control plane: %v (run the tests through make test, which provides one)", err)
	}
	t.Cleanup(func() { _ = env.Stop() })
	scheme := runtime.NewScheme()
	_ = clientgoscheme.AddToScheme(scheme)
	_ = v1alpha1.AddToScheme(scheme)
	api, err := client.NewWithWatch(rest, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{t: t, env: env, api: api, namespace: "sgp-system", cache: t.TempDir(),
		kubectl: filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")}
	i.admin = i.kubeconfig("admin", "system:masters")
	i.manager = i.kubeconfig("system:serviceaccount:sgp-system:sgp-manager",
		"system:serviceaccounts", "system:serviceaccounts:sgp-system", "system:authenticated")
	return i
}

func (i *installation) kubeconfig(name string, groups ...string) string {
	i.t.Helper()
	user, err := i.env.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	config, err := user.KubeConfig()
	if err != nil {
		i.t.Fatal(err)
	}
	file := filepath.Join(i.t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		i.t.Fatal(err)
	}
	return file
}

func (i *installation) command(args ...string) *exec.Cmd {
	return exec.CommandContext(i.t.Context(), i.kubectl, append([]string{"--kubeconfig", i.admin, "--cache-dir", i.cache}, args...)...)
}

// try tells whether kubectl does what it is asked for.
func (i *installation) try(args ...string) error { return i.command(args...).Run() }

func (i *installation) run(args ...string) string {
	i.t.Helper()
	out, err := i.command(args...).CombinedOutput()
	if err != nil {
		i.t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// apply installs as a user would; the custom resources come after their CRD.
func (i *installation) apply() {
	i.t.Helper()
	i.run("apply", "-k", "config/default", "--validate=strict")
	for _, crd := range []string{"securitygrouppolicies", "securitygroupclaims", "ecsaccounts"} {
		i.run("wait", "--for=condition=Established", "--timeout=30s", "crd", crd+".ecs.alibabacloud.com")
	}
}

func (i *installation) eventually(what string, holds func() (bool, error)) {
	i.t.Helper()
	if err := wait.PollUntilContextTimeout(i.t.Context(), 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) { return holds() }); err != nil {
		i.t.Fatalf("%s: %v", what, err)
	}
}

func TestInstallation(t *testing.T) {
	i := startCluster(t)
	if err := run(t.Context(), []string{"--kubeconfig", i.admin, "--metrics-bind-address=0", "--health-probe-bind-address=0"}); err == nil || !strings.Contains(err.Error(), "are the CRDs installed") {
		t.Errorf("without CRDs: %v", err)
	}
	i.apply()
	versions := func() string {
		return i.run("get", "-k", "config/default", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
	}
	first := versions()
	if i.apply(); versions() != first {
		t.Errorf("a second apply has changed something: before\n%safter\n%s", first, versions())
	}
	t.Run("three shards stand beside each other", i.shards)
	t.Run("its permissions have no wildcard and reach no Secret", i.noWildcards)
	t.Run("its pod passes the restricted level", i.restrictedPod)
	t.Run("its Go runtime is frugal", i.frugal)
	t.Run("a lease of another is out of its reach", i.leasesAreBound)
	t.Run("who edits a namespace edits policies only where an administrator says so", i.nothingIsAggregated)
	t.Run("kubectl explains every field", i.explained)
	t.Run("claims are the manager's to write and an administrator's to read", i.claimsAreGuarded)
	t.Run("the manager works with exactly these permissions", i.managerWorks)
}

// shards holds config/shards against what it promises: a lease for each, and every
// label in exactly one.
func (i *installation) shards(t *testing.T) {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(i.run("kustomize", "config/shards")), 4096)
	owners, leases, granted := map[string][]string{}, map[string]string{}, map[string]bool{}
	for {
		u := &unstructured.Unstructured{}
		if err := decoder.Decode(u); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		d, role := &appsv1.Deployment{}, &rbacv1.Role{}
		switch convert := runtime.DefaultUnstructuredConverter.FromUnstructured; {
		case u.GetKind() == "Role" && u.GetName() == "sgp-leader-election":
			if err := convert(u.Object, role); err != nil {
				t.Fatal(err)
			}
			for _, rule := range role.Rules {
				for _, name := range rule.ResourceNames {
					granted[name] = true
				}
			}
			continue
		case u.GetKind() != "Deployment":
			continue
		default:
			if err := convert(u.Object, d); err != nil {
				t.Fatal(err)
			}
		}
		o, err := parse(d.Spec.Template.Spec.Containers[0].Args)
		if err != nil {
			t.Fatalf("%s: %v", d.Name, err)
		}
		if other := leases[o.LeaderElectionID]; other != "" {
			t.Errorf("%s and %s share a lease", d.Name, other)
		}
		leases[o.LeaderElectionID] = d.Name
		if !reflect.DeepEqual(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels) || d.Spec.Template.Labels["app.kubernetes.io/instance"] != d.Name {
			t.Errorf("%s selects %v, its pods are %v", d.Name, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
		}
		selector, err := labels.Parse(o.WatchLabelSelector)
		if err != nil {
			t.Fatal(err)
		}
		for _, shard := range []string{"", "a", "b", "c"} {
			of := labels.Set{}
			if shard != "" {
				of["ecs.alibabacloud.com/shard"] = shard
			}
			if selector.Matches(of) {
				owners[shard] = append(owners[shard], d.Name)
			}
		}
	}
	for lease, of := range leases {
		if !granted[lease] {
			t.Errorf("%s may not renew its lease %s: %v", of, lease, granted)
		}
	}
	if len(granted) != len(leases) {
		t.Errorf("the leases %v are granted, and %v used", granted, leases)
	}
	want := map[string][]string{"": {"sgp-manager"}, "a": {"sgp-manager-a"}, "b": {"sgp-manager-b"}, "c": {"sgp-manager"}}
	if !reflect.DeepEqual(owners, want) {
		t.Errorf("resources by the label's value are owned by %v, want %v", owners, want)
	}
	i.run("apply", "--dry-run=server", "-k", "config/shards")
}

func (i *installation) noWildcards(t *testing.T) {
	roles := &rbacv1.ClusterRoleList{}
	if err := i.api.List(t.Context(), roles); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, role := range roles.Items {
		if !strings.HasPrefix(role.Name, "sgp-") {
			continue
		}
		seen++
		for _, rule := range role.Rules {
			all := strings.Join(append(append(append([]string{}, rule.Verbs...), rule.Resources...), rule.APIGroups...), " ")
			if strings.Contains(all, "*") || strings.Contains(all, "secrets") {
				t.Errorf("%s: %v", role.Name, rule)
			}
		}
	}
	if seen < 4 {
		t.Errorf("only %d roles found", seen)
	}
}

func (i *installation) restrictedPod(t *testing.T) {
	deployment := &unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(i.run("-n", i.namespace, "get", "deployment", "sgp-manager", "-o", "yaml")), 4096)
	if err := decoder.Decode(deployment); err != nil {
		t.Fatal(err)
	}
	template, _, _ := unstructured.NestedMap(deployment.Object, "spec", "template")
	pod := &unstructured.Unstructured{Object: template}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetName("try")
	pod.SetNamespace(i.namespace)
	if err := i.api.Create(t.Context(), pod); err != nil {
		t.Errorf("refused: %v", err)
	}
	spec := pod.Object["spec"].(map[string]any)
	delete(spec, "securityContext")
	loose := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": spec}}
	loose.SetName("loose")
	loose.SetNamespace(i.namespace)
	if err := i.api.Create(t.Context(), loose); !apierrors.IsForbidden(err) {
		t.Errorf("the namespace does not enforce the restricted level: %v", err)
	}
}

func (i *installation) managerWorks(t *testing.T) {
	const key, secret = "LTAIinstalledkey000001", "installedsecret0123456789abcdef"
	sim := ecssim.New(ecssim.Options{
		Keys:   []ecssim.Key{{ID: key, Secret: secret}},
		Groups: []ecssim.Group{{Region: "cn-hangzhou", ID: "sg-1", Policy: "Accept"}},
	})
	endpoint, stop, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", key)
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret)
	metrics, probes := freeAddress(t), freeAddress(t)
	lease := i.leaseOfAnother(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--kubeconfig", i.manager, "--ecs-endpoint", endpoint, "--sts-endpoint", endpoint, "--leader-elect", "--leader-election-namespace", i.namespace,
			"--metrics-bind-address", metrics, "--health-probe-bind-address", probes})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
		if err := i.api.Get(context.WithoutCancel(t.Context()), client.ObjectKeyFromObject(lease), lease); err != nil || (lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "") {
			t.Errorf("the lease was not given back: %+v, %v", lease.Spec, err)
		}
	}()

	i.eventually("ready as a standby", func() (bool, error) { return status(t, "http://"+probes+"/readyz") == http.StatusOK, nil })
	if !i.watched(t) {
		t.Error("a standby is ready before it has read the resources")
	}
	lease.Spec.HolderIdentity = nil
	if err := i.api.Update(t.Context(), lease); err != nil {
		t.Fatal(err)
	}

	p := &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1", InnerAccessPolicy: "drop",
			DeletionPolicy: v1alpha1.DeletionRestore},
	}
	if err := i.api.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	i.run("wait", "sgp/p", `--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=AccountNotReady`, "--timeout=30s")
	i.run("apply", "-k", "config/account", "--validate=strict")
	i.run("wait", "ecsaccount/default", "--for=condition=Ready", "--timeout=30s")
	if n := sim.CallCount("DescribeSecurityGroupAttribute"); n != 0 {
		t.Errorf("%d calls for a namespace without the label", n)
	}
	i.run("label", "namespace", "default", "ecs.alibabacloud.com/account=default")
	i.run("wait", "sgp/p", "--for=condition=Ready", "--timeout=30s")
	if out := i.run("get", "sgp", "-o", "wide"); !strings.Contains(out, "sg-1") || !strings.Contains(out, sim.Effects("cn-hangzhou", "sg-1")[0].RequestID) {
		t.Errorf("kubectl get sgp -o wide shows\n%s", out)
	}
	i.claimIsListed(t)
	for _, page := range []string{"/readyz", "/healthz"} {
		if got := status(t, "http://"+probes+page); got != http.StatusOK {
			t.Errorf("%s of the leader answers %d", page, got)
		}
	}
	if err := i.api.Get(t.Context(), client.ObjectKeyFromObject(lease), lease); err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		t.Errorf("the lease: %+v, %v", lease.Spec, err)
	}
	i.metricsAreGuarded(t, metrics)

	if err := i.api.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	i.eventually("the original is back and the resource gone", func() (bool, error) {
		err := i.api.Get(t.Context(), client.ObjectKeyFromObject(p), p)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if g, _ := sim.Group("cn-hangzhou", "sg-1"); g.Policy != "Accept" {
		t.Errorf("the group is %s", g.Policy)
	}
	i.eventually("its claim is gone", func() (bool, error) {
		list := &v1alpha1.SecurityGroupClaimList{}
		err := i.api.List(t.Context(), list)
		return len(list.Items) == 0, err
	})
	i.eventually("both changes are told by events", func() (bool, error) {
		list := &eventsv1.EventList{}
		if err := i.api.List(t.Context(), list, client.InNamespace("default")); err != nil {
			return false, err
		}
		told := map[string]bool{}
		for _, e := range list.Items {
			told[e.Reason] = true
		}
		return told[v1alpha1.EventModified] && told[v1alpha1.EventRestored], nil
	})
}

// leaseOfAnother is the manager's lease, held by somebody else.
func (i *installation) leaseOfAnother(t *testing.T) *coordinationv1.Lease {
	now := metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.namespace, Name: "sgp-operator"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("another"), LeaseDurationSeconds: new(int32(3600)), AcquireTime: &now, RenewTime: &now},
	}
	if err := i.api.Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	return lease
}

// watched tells whether anybody watches the resources, by the API server's metrics.
func (i *installation) watched(t *testing.T) bool {
	return regexp.MustCompile(`(?m)^apiserver_longrunning_requests\{.*resource="securitygrouppolicies".*\} [1-9]`).MatchString(i.run("get", "--raw", "/metrics"))
}

// metricsAreGuarded reads the metrics without and with the right to.
func (i *installation) metricsAreGuarded(t *testing.T, address string) {
	if got := status(t, "https://"+address+"/metrics"); got != http.StatusUnauthorized {
		t.Errorf("metrics without a token: %d", got)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "scraper", Namespace: "default"}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "scraper"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sgp-metrics-reader"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "scraper", Namespace: "default"}}}
	for _, o := range []client.Object{account, binding} {
		if err := i.api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	token := &authenticationv1.TokenRequest{}
	if err := i.api.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	var body string
	i.eventually("metrics with a token", func() (bool, error) {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
		request.Header.Set("Authorization", "Bearer "+token.Status.Token)
		response, err := insecure.Do(request)
		if err != nil {
			return false, err
		}
		defer func() { _ = response.Body.Close() }()
		var b bytes.Buffer
		_, err = io.Copy(&b, response.Body)
		body = b.String()
		return response.StatusCode == http.StatusOK, err
	})
	for _, want := range []string{
		`sgp_ecs_requests_total{action="ModifySecurityGroupPolicy",code="OK",region="cn-hangzhou"} 1`,
		`sgp_modifications_total{region="cn-hangzhou",to="Drop"} 1`,
		`sgp_policies{ready="True",reason="InSync"} 1`,
		`sgp_claims{requested="false"} 1`, "sgp_oldest_observation_age_seconds ", "sgp_resync_overdue_seconds 0", "sgp_build_info{", "sgp_accounts{",
		"sgp_ecs_request_duration_seconds_bucket", "sgp_ecs_throttle_wait_seconds_bucket",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

var insecure = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
}}

func status(t *testing.T, url string) int {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := insecure.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
