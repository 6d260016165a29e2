package operator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/operator"
)

// The control plane that all tests share; each test has a namespace, a simulator
// and a manager of its own.
var (
	cluster *rest.Config // as the manager
	admin   *rest.Config
	api     client.WithWatch
)

const (
	testKey    = "LTAItestkeyid0000001"
	testSecret = "testsecret0123456789abcdefghij"
	// ofTest is the label that says which test an account belongs to.
	ofTest = "test"
)

func TestMain(m *testing.M) {
	os.Exit(runWithControlPlane(m))
}

func runWithControlPlane(m *testing.M) int {
	log.SetLogger(ctrl.Log.WithSink(nil))
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	var err error
	admin, err = env.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "control plane:", err, "(run the tests through make test, which provides one)")
		return 1
	}
	defer func() { _ = env.Stop() }()
	admin.QPS, admin.Burst = 1000, 2000
	scheme := runtime.NewScheme()
	_ = clientgoscheme.AddToScheme(scheme)
	_ = v1alpha1.AddToScheme(scheme)
	if api, err = client.NewWithWatch(admin, client.Options{Scheme: scheme}); err == nil {
		err = asInstalled(env)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// managerName is the user whom the installed roles are bound to.
const managerName = "system:serviceaccount:sgp-system:sgp-manager"

// secretsRole is what the installation grants in the manager's own namespace; in
// the tests, each test's namespace is one.
var secretsRole rbacv1.Role

// asInstalled has every manager of the suite run with exactly the permissions of
// config/rbac, and with no others.
func asInstalled(env *envtest.Environment) error {
	file, err := os.Open(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	role := &rbacv1.ClusterRole{}
	if err := errors.Join(decoder.Decode(role), decoder.Decode(&secretsRole)); err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: managerName}}}
	if err := errors.Join(api.Create(context.Background(), role), api.Create(context.Background(), binding)); err != nil {
		return err
	}
	for _, folder := range []string{"guard", "approvals"} {
		if err := install(filepath.Join("..", "..", "config", folder)); err != nil {
			return err
		}
	}
	user, err := env.AddUser(envtest.User{Name: managerName}, nil)
	if err != nil {
		return err
	}
	cluster = user.Config()
	cluster.QPS, cluster.Burst = 1000, 2000
	return nil
}

// install creates what the files of a folder hold.
func install(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil || filepath.Base(name) == "kustomization.yaml" {
			continue
		}
		for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
			o := &unstructured.Unstructured{}
			if err := decoder.Decode(o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			if err := api.Create(context.Background(), o); err != nil {
				return err
			}
		}
	}
	return nil
}

// grantSecrets lets the manager read the Secrets of the test's namespace.
func (w *world) grantSecrets() {
	w.t.Helper()
	role := secretsRole.DeepCopy()
	role.Namespace = w.namespace
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name, Namespace: w.namespace},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: managerName}}}
	if err := errors.Join(api.Create(w.t.Context(), role), api.Create(w.t.Context(), binding)); err != nil {
		w.t.Fatal(err)
	}
}

// world is what one test works in: a namespace, a simulator, and a region, since
// claims are of the whole cluster.
type world struct {
	t         *testing.T
	namespace string
	region    string
	sim       *ecssim.Server
	clock     clock.PassiveClock
	options   operator.Options
	wrap      func(client.WithWatch) client.Client
	log       logr.Logger
}

var serial atomic.Int64

// newWorld makes a namespace and a simulator with the given groups.
func newWorld(t *testing.T, groups ...ecssim.Group) *world {
	t.Helper()
	n := serial.Add(1)
	w := &world{t: t, namespace: fmt.Sprintf("test-%d", n), region: fmt.Sprintf("cn-test-%d", n)}
	for i := range groups {
		if groups[i].Region == "" {
			groups[i].Region = w.region
		}
	}
	w.sim = ecssim.New(ecssim.Options{
		Keys:   []ecssim.Key{{ID: testKey, Secret: testSecret}},
		Groups: groups, Regions: []string{w.region},
	})
	endpoint, stop, err := w.sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w.options = operator.Options{
		ECSEndpoint: endpoint, STSEndpoint: endpoint, ExtraRegions: []string{"cn-test-*"}, QPS: 10000, Burst: 1000, Timeout: 10 * time.Second,
		ResyncInterval: 10 * time.Minute, MaxConcurrentReconciles: 4,
		WatchNamespaces: []string{w.namespace}, SecretNamespaces: []string{w.namespace},
		LendOwnCredentials: true, // most tests are not about accounts
		MetricsBindAddress: "0", HealthProbeBindAddress: "0", PprofBindAddress: "0",
	}
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}); err != nil {
		t.Fatal(err)
	}
	w.grantSecrets()
	return w
}

// start runs a manager for the namespace until the test ends or stop is called, which
// waits for its end. It is wired as the command's, and differs only in what it finds.
func (w *world) start() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	o := w.options
	o.Replace.Clock = w.clock
	o.Replace.Env = func(name string) string {
		return map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": testKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": testSecret}[name]
	}
	wrap, log := w.wrap, w.log
	o.Replace.ManagerOptions = func(m *ctrl.Options) {
		// Accounts are cluster-wide: each test sees its own only.
		m.Cache.ByObject[&v1alpha1.ECSAccount{}] = cache.ByObject{Label: labels.SelectorFromSet(labels.Set{ofTest: w.namespace})}
		m.Controller.SkipNameValidation, m.Logger = new(true), log
		m.NewClient = func(c *rest.Config, o client.Options) (client.Client, error) {
			inner, err := client.NewWithWatch(c, o)
			if err != nil || wrap == nil {
				return inner, err
			}
			return wrap(inner), nil
		}
	}
	mgr, err := operator.New(ctx, rest.CopyConfig(cluster), o)
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := mgr.Start(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

// policy makes a resource for a group, with what edit changes.
func (w *world) policy(name, group, desired string, edits ...func(*v1alpha1.SecurityGroupPolicy)) *v1alpha1.SecurityGroupPolicy {
	w.t.Helper()
	p := &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec:       v1alpha1.SecurityGroupPolicySpec{RegionID: w.region, SecurityGroupID: group, InnerAccessPolicy: desired},
	}
	for _, edit := range edits {
		edit(p)
	}
	if err := api.Create(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) get(name string) *v1alpha1.SecurityGroupPolicy {
	w.t.Helper()
	p := &v1alpha1.SecurityGroupPolicy{}
	if err := api.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// edit changes a resource as a user would.
func (w *world) edit(name string, change func(*v1alpha1.SecurityGroupPolicy)) {
	w.t.Helper()
	p := w.get(name)
	before := p.DeepCopy()
	change(p)
	if err := api.Patch(w.t.Context(), p, client.MergeFrom(before)); err != nil {
		w.t.Fatal(err)
	}
}

// reconcileNow asks for the cloud to be observed and waits until it was.
func (w *world) reconcileNow(name string) *v1alpha1.SecurityGroupPolicy {
	w.t.Helper()
	at := fmt.Sprint(serial.Add(1))
	w.edit(name, func(p *v1alpha1.SecurityGroupPolicy) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, at)
	})
	return w.await(name, "a look was taken", func(p *v1alpha1.SecurityGroupPolicy) bool { return p.Status.LastHandledReconcileAt == at })
}

// longest is how long any wait may take on a slow machine; none should.
const longest = 30 * time.Second

// await waits until a resource is as told, and checks that its conditions agree
// with one another.
func (w *world) await(name, what string, holds func(*v1alpha1.SecurityGroupPolicy) bool) *v1alpha1.SecurityGroupPolicy {
	w.t.Helper()
	var p *v1alpha1.SecurityGroupPolicy
	w.eventually(what, func() bool {
		p = w.get(name)
		return holds(p)
	}, func() string { return fmt.Sprintf("%+v", p.Status) })
	checkConditions(w.t, p)
	return p
}

func (w *world) awaitReason(name, reason string) *v1alpha1.SecurityGroupPolicy {
	w.t.Helper()
	return w.await(name, "reason "+reason, func(p *v1alpha1.SecurityGroupPolicy) bool {
		ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == reason && ready.ObservedGeneration == p.Generation
	})
}

func (w *world) eventually(what string, holds func() bool, state func() string) {
	w.t.Helper()
	err := wait.PollUntilContextTimeout(w.t.Context(), 10*time.Millisecond, longest, true, func(context.Context) (bool, error) { return holds(), nil })
	if err != nil {
		w.t.Fatalf("%s: not within %v: %s", what, longest, state())
	}
}

// checkConditions holds the conditions against the conventions of kstatus.
func checkConditions(t *testing.T, p *v1alpha1.SecurityGroupPolicy) {
	t.Helper()
	s := p.Status
	is := func(kind string) bool { return apimeta.IsStatusConditionTrue(s.Conditions, kind) }
	ready := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		t.Errorf("no Ready condition: %+v", s)
		return
	case is(v1alpha1.ConditionReconciling) && is(v1alpha1.ConditionStalled):
		t.Error("both Reconciling and Stalled")
	case ready.Status == metav1.ConditionTrue && is(v1alpha1.ConditionStalled):
		t.Error("both Ready and Stalled")
	case ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == p.Generation && s.InnerAccessPolicy != ecs.CanonicalPolicy(p.Spec.InnerAccessPolicy):
		t.Errorf("Ready, but %q was observed and %q is declared", s.InnerAccessPolicy, p.Spec.InnerAccessPolicy)
	}
	for _, c := range s.Conditions {
		if c.Type != v1alpha1.ConditionReady && c.Type != v1alpha1.ConditionIsolated && c.Status != metav1.ConditionTrue {
			t.Errorf("%s is there although it is %s", c.Type, c.Status)
		}
		if c.Message == "" || c.Reason == "" {
			t.Errorf("%s says nothing: %+v", c.Type, c)
		}
		if c.ObservedGeneration > s.ObservedGeneration {
			t.Errorf("%s is of generation %d, the status of %d", c.Type, c.ObservedGeneration, s.ObservedGeneration)
		}
	}
}
