package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	region      = "cn-hangzhou"
	key, secret = "obs-key", "obs-secret"
	// service is the label that a ServiceMonitor adds.
	service = "sgp-manager-metrics"
)

// tools is the folder of prometheus and promtool. A test that needs them is skipped where
// none can be had.
func tools(t *testing.T) string {
	t.Helper()
	var notes bytes.Buffer
	command := exec.CommandContext(t.Context(), "./prometheus.sh")
	command.Stderr = &notes
	out, err := command.Output()
	if err != nil {
		t.Skipf("no Prometheus can be had here: %v\n%s", err, notes.String())
	}
	return string(bytes.TrimSpace(out))
}

// installation is a manager at work, and a Prometheus that scrapes it.
type installation struct {
	t       *testing.T
	sim     *ecssim.Server
	cluster *rig.ControlPlane
	manager *rig.Manager
	url     string // of Prometheus
}

func install(t *testing.T, tools string) *installation {
	t.Helper()
	ctx := t.Context()
	r, err := rig.New(ctx, "sgp-observability-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	i := &installation{t: t, sim: ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: key, Secret: secret}}, Latency: 20 * time.Millisecond})}
	endpoint, stop, err := i.sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	r.OnClose(func() error { stop(); return nil })
	if i.cluster, err = r.StartControlPlane(ctx, rig.ControlPlaneOptions{Root: root, StopTimeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := i.cluster.CreateNamespace(ctx, "net"); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(r.Dir, "manager")
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Build(ctx, absolute, binary, nil); err != nil {
		t.Fatal(err)
	}
	i.manager, err = r.StartManager(ctx, rig.ManagerOptions{Name: "manager", Binary: binary, Root: absolute, Kubeconfig: i.cluster.ManagerKubeconfig,
		Endpoint: endpoint, KeyID: key, Secret: secret,
		Args: []string{"--lend-own-credentials", "--resync-interval=30s", "--ecs-qps=50", "--leader-elect", "--leader-election-namespace=sgp-system"}})
	if err == nil {
		err = i.manager.UntilReady(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	i.url = i.startPrometheus(r, tools)
	return i
}

// startPrometheus starts one that scrapes the manager every second.
func (i *installation) startPrometheus(r *rig.Rig, tools string) string {
	i.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(i.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		i.t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	config := filepath.Join(r.Dir, "prometheus.yaml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: sgp\n  static_configs: [{targets: ['%s'], labels: {service: %s}}]\n",
		i.manager.MetricsAddress(), service)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
	server, err := r.Start(i.t.Context(), rig.Program{Path: filepath.Join(tools, "prometheus"), Args: []string{
		"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(r.Dir, "tsdb"), "--web.listen-address=" + address,
	}})
	if err == nil {
		err = server.Until(i.t.Context(), func(ctx context.Context) error {
			_, err := rig.Get(ctx, "http://"+address+"/-/ready")
			return err
		})
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return "http://" + address
}

// policy creates a resource and its group.
func (i *installation) policy(name, declared string, edits ...func(*v1alpha1.SecurityGroupPolicy)) {
	i.t.Helper()
	p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "net", Name: name},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: region, SecurityGroupID: "sg-" + name, InnerAccessPolicy: declared}}
	for _, edit := range edits {
		edit(p)
	}
	if p.Spec.SecurityGroupID != "sg-none" {
		i.sim.PutGroup(ecssim.Group{Region: region, ID: p.Spec.SecurityGroupID, Policy: ecssim.Accept})
	}
	if err := i.cluster.Client.Create(i.t.Context(), p); err != nil {
		i.t.Fatal(err)
	}
}

// askAgain has a resource observed at once.
func (i *installation) askAgain(name string) error {
	p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "net", Name: name}}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReconcileRequestedAt, time.Now().Format(time.RFC3339Nano))
	return i.cluster.Client.Patch(i.t.Context(), p, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// line is one of a panel.
type line struct {
	labels map[string]string
	points [][2]float64
}

// ask asks Prometheus for the lines of an expression.
func (i *installation) ask(ctx context.Context, expr string, from, to time.Time) ([]line, error) {
	values := url.Values{"query": {expr}, "start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}, "step": {"1"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, i.url+"/api/v1/query_range?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	var lines []line
	for _, r := range answer.Data.Result {
		l := line{labels: r.Metric}
		for _, v := range r.Values {
			y, err := strconv.ParseFloat(v[1].(string), 64)
			if err != nil {
				return nil, err
			}
			l.points = append(l.points, [2]float64{v[0].(float64) - float64(from.Unix()), y})
		}
		lines = append(lines, l)
	}
	return lines, nil
}
