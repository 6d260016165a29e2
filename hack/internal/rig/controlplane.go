package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// The programs of a control plane, and their logs with .log after it.
const (
	etcd      = "etcd"
	apiServer = "kube-apiserver"
)

// AssetsVariable names the folder of etcd, kube-apiserver and kubectl.
const AssetsVariable = "KUBEBUILDER_ASSETS"

// ControlPlaneOptions say how to start one.
type ControlPlaneOptions struct {
	// Root is the checkout of the operator whose CRDs and permissions are installed.
	Root string
	// StopTimeout is how long either may take to end before it is killed. The API
	// server waits for its watches to end, which they never do of themselves.
	StopTimeout time.Duration
	// Timeout of each request of the Client; none if zero.
	Timeout time.Duration
}

// ControlPlane is an etcd and a kube-apiserver, tied to this process.
type ControlPlane struct {
	// Config and Client are an administrator's, without a limit of requests.
	Config *rest.Config
	Client client.WithWatch
	// Kubeconfig is the file of an administrator, ManagerKubeconfig that of the
	// manager's service account, which may do what config/rbac says and no more.
	Kubeconfig, ManagerKubeconfig string

	env   *envtest.Environment
	rig   *Rig
	plain *kubernetes.Clientset
}

// StartControlPlane starts one with config/crd and config/rbac installed. Both
// programs inherit this process's environment.
func (r *Rig) StartControlPlane(ctx context.Context, o ControlPlaneOptions) (*ControlPlane, error) {
	c := &ControlPlane{rig: r, env: &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(o.Root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  o.StopTimeout,
	}}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	// By the environment only can envtest be told where to put the rest of its files.
	elsewhere := os.TempDir()
	if err := os.Setenv("TMPDIR", r.Dir); err != nil {
		return nil, err
	}
	r.OnClose(c.stop)
	config, err := c.env.Start()
	err = errors.Join(err, os.Setenv("TMPDIR", elsewhere))
	if err == nil {
		err = c.connect(config, o.Timeout)
	}
	if err == nil {
		err = c.admitManager(ctx, o.Root)
	}
	return c, err
}

// prepare makes the files: links in place of the programs, logs, and folders of our
// own, in which data and certificates outlive a restart.
func (c *ControlPlane) prepare() error {
	assets := os.Getenv(AssetsVariable)
	if assets == "" {
		return errors.New(AssetsVariable + " is not set: it is what hack/controlplane/ensure.sh prints; make sets it")
	}
	logs := map[string]*os.File{}
	for _, dir := range []string{"bin", "etcd", "certificates"} {
		if err := os.Mkdir(c.rig.path(dir), 0o700); err != nil {
			return err
		}
	}
	for _, name := range []string{etcd, apiServer} {
		if err := link(c.rig.path("bin", name), filepath.Join(assets, name)); err != nil {
			return err
		}
		var err error
		if logs[name], err = os.Create(c.rig.path(name + ".log")); err != nil {
			return err
		}
	}
	plane := &c.env.ControlPlane
	plane.Etcd = &envtest.Etcd{Path: c.rig.path("bin", etcd), DataDir: c.rig.path("etcd"), Out: logs[etcd], Err: logs[etcd]}
	server := plane.GetAPIServer()
	server.Path, server.CertDir, server.Out, server.Err = c.rig.path("bin", apiServer), c.rig.path("certificates"), logs[apiServer], logs[apiServer]
	return nil
}

func (c *ControlPlane) connect(config *rest.Config, timeout time.Duration) error {
	config.QPS, config.Timeout = -1, timeout
	scheme := runtime.NewScheme()
	err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	if err != nil {
		return err
	}
	c.Config = config
	if c.Client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if c.plain, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	c.Kubeconfig = c.rig.path("kubeconfig")
	return os.WriteFile(c.Kubeconfig, c.env.KubeConfig, 0o600)
}

// stop ends both programs for good.
func (c *ControlPlane) stop() error { return unlessKilled(c.env.Stop()) }

// StopAPIServer ends the API server alone.
func (c *ControlPlane) StopAPIServer() error {
	return unlessKilled(c.env.ControlPlane.GetAPIServer().Stop())
}

// StartAPIServer starts it again, at the same address with the same certificates.
func (c *ControlPlane) StartAPIServer() error { return c.env.ControlPlane.GetAPIServer().Start() }

// unlessKilled takes an API server that had to be killed for no failure.
func unlessKilled(err error) error {
	if err != nil && strings.Contains(err.Error(), "timeout waiting for process") {
		return nil
	}
	return err
}

// CreateNamespace creates a namespace, if it is not there yet.
func (c *ControlPlane) CreateNamespace(ctx context.Context, name string) error {
	err := c.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Version is the API server's, such as v1.37.2.
func (c *ControlPlane) Version() (string, error) {
	version, err := c.plain.Discovery().ServerVersion()
	if err != nil {
		return "", err
	}
	return version.GitVersion, nil
}

// EtcdURL is where etcd serves, to anybody on this machine.
func (c *ControlPlane) EtcdURL() string { return c.env.ControlPlane.Etcd.URL.String() }

// Scrape reads the API server's own metrics.
func (c *ControlPlane) Scrape(ctx context.Context) (Metrics, error) {
	text, err := c.plain.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return Metrics{}, fmt.Errorf("read the API server's metrics: %w", err)
	}
	return ParseMetrics(text)
}
