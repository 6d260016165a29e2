package helm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// cluster is a control plane without controllers, and Helm as its administrator uses it.
type cluster struct {
	t          *testing.T
	env        *envtest.Environment
	api        client.Client
	kubeconfig string
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv(rig.AssetsVariable) == "" {
		t.Skip(rig.AssetsVariable + " is not set; run the tests through make helm, which provides a control plane")
	}
	env := &envtest.Environment{}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Stop() })
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, env: env, api: api, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(c.kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// getter reads the API server's kinds anew each time, as each run of helm does.
func (c *cluster) getter() genericclioptions.RESTClientGetter {
	flags, cache, in := genericclioptions.NewConfigFlags(false), c.t.TempDir(), namespace
	flags.KubeConfig, flags.CacheDir, flags.Namespace = &c.kubeconfig, &cache, &in
	return flags
}

func (c *cluster) configuration() *action.Configuration {
	c.t.Helper()
	configuration := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := configuration.Init(c.getter(), namespace, "secret"); err != nil {
		c.t.Fatal(err)
	}
	return configuration
}

// install is `helm install sgp-operator dir -n sgp-system --create-namespace`.
func (c *cluster) install(dir, text string, options ...func(*action.Install)) error {
	c.t.Helper()
	install := action.NewInstall(c.configuration())
	install.ReleaseName, install.Namespace, install.CreateNamespace = name, namespace, true
	install.WaitStrategy, install.Timeout = kube.HookOnlyStrategy, time.Minute
	for _, option := range options {
		option(install)
	}
	chart, err := loader.LoadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = install.Run(chart, values(c.t, text))
	return err
}

// upgrade is `helm upgrade sgp-operator dir -n sgp-system`.
func (c *cluster) upgrade(dir, text string, options ...func(*action.Upgrade)) error {
	c.t.Helper()
	upgrade := action.NewUpgrade(c.configuration())
	upgrade.Namespace, upgrade.WaitStrategy, upgrade.Timeout = namespace, kube.HookOnlyStrategy, time.Minute
	for _, option := range options {
		option(upgrade)
	}
	chart, err := loader.LoadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = upgrade.Run(name, chart, values(c.t, text))
	return err
}

// uninstall is `helm uninstall sgp-operator -n sgp-system`.
func (c *cluster) uninstall() {
	c.t.Helper()
	uninstall := action.NewUninstall(c.configuration())
	uninstall.WaitStrategy, uninstall.Timeout = kube.HookOnlyStrategy, time.Minute
	if _, err := uninstall.Run(name); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) kubectl(args ...string) error {
	command := exec.CommandContext(c.t.Context(), filepath.Join(os.Getenv(rig.AssetsVariable), "kubectl"),
		append([]string{"--kubeconfig", c.kubeconfig, "--cache-dir", c.t.TempDir()}, args...)...)
	if text, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %v: %w: %s", args, err, text)
	}
	return nil
}

func (c *cluster) eventually(what string, holds func() error) {
	c.t.Helper()
	var last error
	if wait.PollUntilContextTimeout(c.t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		last = holds()
		return last == nil, nil
	}) != nil {
		c.t.Fatalf("%s: %v", what, last)
	}
}

// policy declares one, once its CRD is served.
func (c *cluster) policy() *v1alpha1.SecurityGroupPolicy {
	c.t.Helper()
	p := &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"},
		Spec:       v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1", InnerAccessPolicy: "drop"},
	}
	c.eventually("a policy is taken", func() error { return c.api.Create(c.t.Context(), p) })
	return p
}

// get reads an object anew.
func (c *cluster) get(o client.Object) error {
	return c.api.Get(c.t.Context(), client.ObjectKeyFromObject(o), o)
}

// stays fails unless the object is the very one that was created.
func (c *cluster) stays(o client.Object) {
	c.t.Helper()
	uid := o.GetUID()
	if err := c.get(o); err != nil || o.GetUID() != uid || o.GetDeletionTimestamp() != nil {
		c.t.Errorf("%s has not stayed: deleted at %v, %v", o.GetName(), o.GetDeletionTimestamp(), err)
	}
}

func (c *cluster) gone(o client.Object) {
	c.t.Helper()
	if err := c.get(o); !apierrors.IsNotFound(err) {
		c.t.Errorf("%T %s is still there: %v", o, o.GetName(), err)
	}
}

func (c *cluster) deployment(name string) *appsv1.Deployment {
	c.t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.get(d); err != nil {
		c.t.Fatal(err)
	}
	return d
}

func (c *cluster) crd() *apiextensionsv1.CustomResourceDefinition {
	c.t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "securitygrouppolicies.ecs.alibabacloud.com"}}
	if err := c.get(crd); err != nil {
		c.t.Fatal(err)
	}
	return crd
}

// pods stands in for the controllers of Deployments until the end of the test: the pods of
// the first manager are ready at once.
func (c *cluster) pods() {
	ctx, stop := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "sgp-manager"}}
			if c.api.Get(ctx, client.ObjectKeyFromObject(d), d) == nil && d.Status.ObservedGeneration != d.Generation {
				n := *d.Spec.Replicas
				d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n,
					Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue},
						{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"}}}
				_ = c.api.Status().Update(ctx, d)
			}
			return false, nil
		})
	}()
	c.t.Cleanup(func() { stop(); <-done })
}

// chartWith is a copy of the chart in which a text of some file is another.
func chartWith(t *testing.T, changes ...[3]string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		file := filepath.Join(dir, c[0])
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		changed := c[2]
		if c[1] != "" {
			if !strings.Contains(string(text), c[1]) {
				t.Fatalf("%s lacks %q", c[0], c[1])
			}
			changed = strings.ReplaceAll(string(text), c[1], c[2])
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(changed), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
