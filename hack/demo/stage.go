package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// The simulator accepts these keys alone: the manager's own, and that of another
// account, which the ECSAccount lends.
const (
	demoKey    = "demo-key"
	demoSecret = "demo-secret"
	prodKey    = "prod-key"
	prodSecret = "prod-secret"
	// prodAccount is what Alibaba Cloud calls the account of the second key.
	prodAccount = "2000000000000002"
)

// stage is everything that runs while the demo does.
type stage struct {
	out    *screen
	assets string

	dir        string
	dismiss    func()
	env        *envtest.Environment
	children   []*child
	lost       chan *child
	samples    []sample
	simulator  *simulator
	kubeconfig string
	client     client.WithWatch
}

// setUp starts everything, in the order in which one needs the other.
func (s *stage) setUp(ctx context.Context) (err error) {
	if s.assets == "" {
		return fmt.Errorf("KUBEBUILDER_ASSETS is not set; start the demo with `make demo`")
	}
	if s.samples, err = readSamples("config/samples"); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "sgp-demo-"); err != nil {
		return err
	}
	if s.dismiss, err = startJanitor(ctx, s.dir); err != nil {
		return err
	}
	s.lost = make(chan *child, 4)

	if err := s.startSimulator(ctx); err != nil {
		return err
	}
	if err := s.out.during("starting etcd and kube-apiserver", s.startControlPlane); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.out.during("starting the manager", func() error { return s.startManager(ctx) })
}

func (s *stage) startSimulator(ctx context.Context) error {
	s.out.line("starting the ECS simulator")
	args := []string{"--addr", "127.0.0.1:0", "--access-key", demoKey + ":" + demoSecret}
	for _, sample := range s.samples {
		if sample.policy != nil && sample.policy.Name != missingGroup {
			// Accept is what ECS gives a new basic group.
			spec := sample.policy.Spec
			group := fmt.Sprintf("%s/%s=Accept", spec.RegionID, spec.SecurityGroupID)
			if sample.ofAccount() {
				group += ",account=" + prodAccount
			}
			args = append(args, "--group", group)
		}
	}
	c, err := s.start(ctx, "bin/ecs-simulator", nil, args...)
	if err != nil {
		return err
	}
	address := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)
	url, err := c.firstLog(ctx, address.FindString)
	if err != nil {
		return err
	}
	s.simulator = &simulator{url: url}
	if err := s.simulator.putKey(ctx, prodKey, prodSecret, prodAccount); err != nil {
		return err
	}
	s.out.line("  listening on %s, its groups all set to Accept", url)
	return nil
}

func (s *stage) startControlPlane() error {
	bin := filepath.Join(s.dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	// By the environment only can envtest be told where to put its files, and the
	// links what they stand for. It prefers KUBEBUILDER_ASSETS to the links.
	for name, value := range map[string]string{"TMPDIR": s.dir, assetsVariable: s.assets, "KUBEBUILDER_ASSETS": bin} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}

	s.env = &envtest.Environment{
		BinaryAssetsDirectory:    bin,
		CRDDirectoryPaths:        []string{"config/crd/bases"},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  20 * time.Second,
	}
	if err := s.logControlPlane(); err != nil {
		return err
	}
	config, err := s.env.Start()
	if err != nil {
		return err
	}
	s.out.line("  API server on %s, CRDs installed", config.Host)
	return s.connect(config)
}

func (s *stage) logControlPlane() error {
	etcd, err := os.Create(filepath.Join(s.dir, "etcd.log"))
	if err != nil {
		return err
	}
	apiserver, err := os.Create(filepath.Join(s.dir, "kube-apiserver.log"))
	if err != nil {
		return err
	}
	plane := &s.env.ControlPlane
	plane.Etcd = &envtest.Etcd{Out: etcd, Err: etcd}
	plane.GetAPIServer().Out, plane.GetAPIServer().Err = apiserver, apiserver
	return nil
}

func (s *stage) connect(config *rest.Config) error {
	user, err := s.env.AddUser(envtest.User{Name: "demo", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return err
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return err
	}
	s.kubeconfig = filepath.Join(s.dir, "kubeconfig")
	if err := os.WriteFile(s.kubeconfig, kubeconfig, 0o600); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	s.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return err
}

func (s *stage) startManager(ctx context.Context) error {
	probes, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	c, err := s.start(ctx, "bin/manager",
		[]string{"ALIBABA_CLOUD_ACCESS_KEY_ID=" + demoKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + demoSecret},
		"--ecs-endpoint", s.simulator.url, "--sts-endpoint", s.simulator.url,
		"--kubeconfig", s.kubeconfig, "--secret-namespaces", secretNamespace,
		"--metrics-bind-address", "0", "--health-probe-bind-address", probes)
	if err != nil {
		return err
	}
	deadline, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.untilReady(deadline, "http://"+probes+"/readyz"); err != nil {
		return err
	}
	s.out.line("  ready; its log is %s", c.log)
	return nil
}

// start runs a program, and remembers it if it ends before the demo does.
func (s *stage) start(ctx context.Context, path string, env []string, args ...string) (*child, error) {
	c, err := startChild(ctx, s.dir, path, environment(env...), args...)
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	go func() {
		<-c.done
		s.lost <- c
	}()
	return c, nil
}

// untilReady waits until the address answers with 200 OK.
func (c *child) untilReady(ctx context.Context, url string) error {
	for {
		if request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil); err == nil {
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
				if response.StatusCode == http.StatusOK {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", c.name, ctx.Err())
		case <-c.done:
			return fmt.Errorf("%s ended by itself: %w", c.name, c.exit)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// kubectl is the caller's, else the one that lies beside kube-apiserver, else
// nothing: the demo does without.
func (s *stage) kubectl() string {
	if _, err := exec.LookPath("kubectl"); err == nil {
		return "kubectl"
	}
	if path, err := exec.LookPath(filepath.Join(s.assets, "kubectl")); err == nil {
		return path
	}
	return ""
}

// showLogs prints the end of the logs, which go away with the demo: the manager's
// and the simulator's, or every one if it did not come to a manager.
func (s *stage) showLogs() {
	names := []string{"ecs-simulator.log", "manager.log"}
	if len(s.children) < len(names) {
		names = append(names, "etcd.log", "kube-apiserver.log")
	}
	for _, name := range names {
		if lines := lastLines(filepath.Join(s.dir, name), 12); len(lines) > 0 {
			s.out.plain("\nThe last lines of %s:", name)
			for _, line := range lines {
				s.out.plain("  %s", line)
			}
		}
	}
}

// takeDown ends everything, in the opposite order.
func (s *stage) takeDown() {
	if s.dismiss == nil {
		return
	}
	err := s.out.patiently("stopping", func() error {
		for i := len(s.children) - 1; i >= 0; i-- {
			s.children[i].stop()
		}
		if s.env != nil {
			return s.env.Stop()
		}
		return nil
	})
	s.dismiss()
	if err != nil {
		s.out.plain("✗ stopping: %v", err)
		return
	}
	s.out.plain("Everything that the demo started has ended.")
}
