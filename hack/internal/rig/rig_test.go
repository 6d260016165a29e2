package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// parentVariable makes this test binary a parent that is about to be killed.
const parentVariable = "SGP_RIG_TEST_PARENT"

func TestMain(m *testing.M) {
	Prepare()
	if os.Getenv(parentVariable) != "" {
		fmt.Println(beParent())
		select {}
	}
	ctrl.SetLogger(ctrl.Log.WithSink(nil))
	os.Exit(m.Run())
}

// abandoned is what the parent would close if it were not killed.
var abandoned *Rig

// newRig returns one that ends with the test.
func newRig(t *testing.T) *Rig {
	t.Helper()
	r, err := New(t.Context(), "sgp-rig-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(r.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder is left: %v", err)
		}
	})
	return r
}

// beParent starts what has to end with it, and returns a line that tells of it.
func beParent() string {
	ctx := context.Background()
	r, err := New(ctx, "sgp-rig-")
	if err != nil {
		return err.Error()
	}
	abandoned = r
	child, err := r.Start(ctx, Program{Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		return err.Error()
	}
	path := r.path(etcd)
	if err := link(path, "/bin/sh"); err != nil {
		return err.Error()
	}
	linked := exec.CommandContext(ctx, path, "-c", "while :; do sleep 1; done")
	if err := linked.Start(); err != nil {
		return err.Error()
	}
	// It has been this program for a moment.
	self, _ := os.Executable()
	for running := self; running == self; {
		running, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", linked.Process.Pid))
	}
	return fmt.Sprintf("%s %d %d", r.Dir, child.cmd.Process.Pid, linked.Process.Pid)
}

// eventually fails the test if something does not come about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !holds() {
		if err := Pause(ctx, 10*time.Millisecond); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func gone(pid int) bool {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(text), ") Z ") {
		return true // nobody has asked for its exit code yet
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func TestNothingOutlivesAParentThatIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a process to its parent")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := newRig(t).Start(t.Context(), Program{Name: "parent", Path: self, Env: []string{parentVariable + "=1"}})
	if err != nil {
		t.Fatal(err)
	}
	line, err := parent.FirstLine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var dir string
	var pids [2]int
	if _, err := fmt.Sscan(line, &dir, &pids[0], &pids[1]); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	for _, pid := range pids {
		if gone(pid) {
			t.Fatalf("process %d has never been there: %s", pid, line)
		}
	}
	// The parent alone, not its process group.
	if err := parent.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-parent.Done()
	for i, what := range []string{"the child ends", "what envtest starts ends"} {
		eventually(t, what, func() bool { return gone(pids[i]) })
	}
	eventually(t, "the folder is removed", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

func TestStopEndsWhatAProcessHasStarted(t *testing.T) {
	p, err := newRig(t).Start(t.Context(), Program{Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & echo $!; wait"}})
	if err != nil {
		t.Fatal(err)
	}
	line, err := p.FirstLine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(line)
	if err != nil || p.Ended() != nil {
		t.Fatal(err, p.Ended())
	}
	p.Stop()
	eventually(t, "its child ends", func() bool { return gone(pid) })
	if p.Ended() == nil || p.PeakRSS() <= 0 {
		t.Errorf("ended %v, %v bytes resident", p.Ended(), p.PeakRSS())
	}
}

func TestAProcessThatEndsEarlySaysWhy(t *testing.T) {
	p, err := newRig(t).Start(t.Context(), Program{Path: "/bin/sh", Args: []string{"-c", "echo one; echo no such flag; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Until(t.Context(), func(context.Context) error { return errors.New("not ready") })
	for _, word := range []string{"sh: ", "exit status 3", "not ready", "no such flag"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v, want a word of %q", err, word)
		}
	}
	if _, err := newRig(t).Start(t.Context(), Program{Path: "/does/not/exist"}); err == nil {
		t.Error("a missing program was started")
	}
}

func TestNothingLeadsAChildToARealCloudOrCluster(t *testing.T) {
	for name, value := range map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": "real", "alibaba_cloud_role_arn": "real", "https_proxy": "real", "NO_PROXY": "real",
		"KUBECONFIG": "real", "DEBUG": "real", "GOGC": "real", "SGP_KEPT": "kept"} {
		t.Setenv(name, value)
	}
	env := Environment("ALIBABA_CLOUD_ACCESS_KEY_ID=demo", "GOGC=40")
	for _, e := range env {
		if strings.HasSuffix(e, "=real") {
			t.Errorf("%s is passed on", e)
		}
	}
	for _, e := range []string{"SGP_KEPT=kept", "ALIBABA_CLOUD_ACCESS_KEY_ID=demo", "GOGC=40"} {
		if !slices.Contains(env, e) {
			t.Errorf("%s is missing", e)
		}
	}
}

func TestMetricsAreAddedUpByTheirLabels(t *testing.T) {
	m, err := ParseMetrics([]byte(`# TYPE requests_total counter
requests_total{verb="POST",resource="events",code="201"} 3
requests_total{verb="POST",resource="events",code="409"} 1
requests_total{verb="GET",resource="a \"b\",c"} 5
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.5
untyped 7
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		where Labels
		want  float64
	}{
		{"requests_total", nil, 9}, {"requests_total", Labels{"verb": "POST"}, 4}, {"requests_total", Labels{"verb": "POST", "code": "409"}, 1},
		{"requests_total", Labels{"resource": `a "b",c`}, 5}, {"requests_total", Labels{"pod": "x"}, 0}, {"untyped", nil, 7}, {"none", nil, 0},
	} {
		if got := m.Sum(c.name, c.where); got != c.want {
			t.Errorf("%s%v: %v, want %v", c.name, c.where, got, c.want)
		}
	}
	if cpu, err := m.Value(CPUSeconds); err != nil || cpu != 1.5 {
		t.Errorf("%v, %v", cpu, err)
	}
	if _, err := m.Value("none"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a metric that is not served: %v", err)
	}
	if _, err := ParseMetrics([]byte("<html>")); err == nil {
		t.Error("a page is taken for metrics")
	}
}

func TestTheEnvironmentIsTheInstalledOne(t *testing.T) {
	env, err := installedEnvironment("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(env, "GOGC=36") || !slices.Contains(env, "GOMAXPROCS=1") {
		t.Errorf("%v lacks what config/manager tells Go's runtime", env)
	}
	for _, e := range env {
		if strings.HasPrefix(e, "POD_NAMESPACE=") {
			t.Errorf("%s is not known before the pod is", e)
		}
	}
	if _, err := installedEnvironment(t.TempDir()); err == nil {
		t.Error("a folder without a Deployment has an environment")
	}
}

func TestAManagerMayDoWhatIsInstalledAlsoAfterARestartOfTheAPIServer(t *testing.T) {
	if os.Getenv(AssetsVariable) == "" {
		t.Skip(AssetsVariable + " is not set; run the tests through make test, which provides a control plane")
	}
	ctx, root := t.Context(), "../../.."
	plane, err := newRig(t).StartControlPlane(ctx, ControlPlaneOptions{Root: root, StopTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", plane.ManagerKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	manager, err := client.New(config, client.Options{Scheme: plane.Client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(plane.StopAPIServer(), plane.StartAPIServer()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the manager's token is taken again", func() bool {
		err = manager.List(ctx, &v1alpha1.SecurityGroupPolicyList{})
		return err == nil
	})
	if err := manager.List(ctx, &corev1.SecretList{}, client.InNamespace("kube-system")); !apierrors.IsForbidden(err) {
		t.Errorf("Secrets of another namespace: %v", err)
	}
	metrics, err := plane.Scrape(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if cpu, err := metrics.Value(CPUSeconds); err != nil || cpu <= 0 {
		t.Errorf("the API server has used %v s: %v", cpu, err)
	}
	if n := metrics.Sum("apiserver_request_total", Labels{"resource": "securitygrouppolicies", "verb": "LIST", "code": "200"}); n < 1 {
		t.Errorf("it has counted %v lists of policies", n)
	}
	if version, err := plane.Version(); err != nil || !strings.HasPrefix(version, "v1.") {
		t.Errorf("version %q: %v", version, err)
	}
}
