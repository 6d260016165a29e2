package operator_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/cli"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// kubeconfig writes what kubectl would read to be a user.
func kubeconfig(t *testing.T, user *rest.Config) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: user.Host, CertificateAuthorityData: user.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: user.CertData, ClientKeyData: user.KeyData}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "c"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// audit runs the command, and returns what it writes.
func (w *world) audit(user *rest.Config, args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	var out, notes bytes.Buffer
	code = cli.Main(w.t.Context(), cli.Process{
		Args: append([]string{"manager", "audit", "--kubeconfig", kubeconfig(w.t, user), "-n", w.namespace}, args...),
		Env:  func(string) string { return "" }, Stdout: &out, Stderr: &notes, Now: time.Now,
	})
	return out.String(), notes.String(), code
}

// What an auditor reads is what the cloud was seen to be, by which request, and who has
// to see to it.
func TestAnAuditSaysWhatIsDeclaredObservedAndWhoseJobItIs(t *testing.T) {
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"}, ecssim.Group{ID: "sg-2", Policy: "Accept"}, ecssim.Group{ID: "sg-3", Policy: "Accept"})
	w.policy("changed", "sg-1", "Drop", func(p *v1alpha1.SecurityGroupPolicy) {
		p.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "net", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
	})
	w.policy("reported", "sg-2", "Drop", observeOnly, func(p *v1alpha1.SecurityGroupPolicy) {
		p.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "net:ecs.alibabacloud.com/SecurityGroupPolicy:x/reported"}
	})
	w.policy("asleep", "sg-3", "Drop", suspendIt)
	w.policy("missing", "sg-none", "Drop")
	w.start()
	changed := w.awaitReason("changed", v1alpha1.ReasonInSync)
	w.awaitReason("reported", v1alpha1.ReasonDriftDetected)
	w.awaitReason("asleep", v1alpha1.ReasonSuspended)
	w.awaitReason("missing", v1alpha1.ReasonSecurityGroupNotFound)
	w.policy("second", "sg-1", "Accept")
	w.awaitReason("second", v1alpha1.ReasonConflict)

	stdout, stderr, code := w.audit(cluster, "-o", "json")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var report struct {
		Summary map[string]int
		Groups  []struct{ Name, State, Declared, Observed, Since, RequestID, ChangedBy, Job, DeclaredBy string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, g := range report.Groups {
		got[g.Name] = strings.Join([]string{g.State, g.Declared, g.Observed, g.Job, g.DeclaredBy}, "; ")
		if g.Name == "changed" {
			last := changed.Status.LastModification
			if g.RequestID != last.RequestID || g.ChangedBy != "(manager)" || g.Since != last.Time.UTC().Format(time.RFC3339) || g.RequestID == "" {
				t.Errorf("changed: %+v", g)
			}
		} else if g.RequestID != "" {
			t.Errorf("%s: the request id of somebody else's change: %+v", g.Name, g)
		}
	}
	by := filepath.Base(os.Args[0]) // the program that wrote the specs
	if diff := cmp.Diff(map[string]string{
		"changed":  "AsDeclared; Drop; Drop; the operator; Flux Kustomization flux-system/net",
		"reported": "Differs; Drop; Accept; people: the operator only reports; Argo CD application net",
		"asleep":   "Suspended; Drop; ; nobody: it is suspended; " + by,
		"missing":  "NotKnown; Drop; ; who declared it: SecurityGroupNotFound; " + by,
		"second":   "NotKnown; Accept; ; the operator, for " + w.namespace + "/changed, which holds the group; " + by,
	}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	want := map[string]int{"groups": 5, "asDeclared": 1, "differs": 1, "notKnown": 2, "suspended": 1, "accept": 1, "drop": 1, "observeOnly": 1, "problems": 0}
	if diff := cmp.Diff(want, report.Summary); diff != "" {
		t.Errorf("summary: -want +got\n%s", diff)
	}

	w.edit("changed", func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.InnerAccessPolicy = "Accept" })
	if stdout, _, _ := w.audit(cluster, "-l", "kustomize.toolkit.fluxcd.io/name=net"); !strings.Contains(stdout, "\n| 1 | ") {
		t.Errorf("of the labels that were asked for:\n%s", stdout)
	}
}

// A status is true while somebody keeps it so, and the page says whether anybody does.
func TestAnAuditSaysWhetherAManagerIsAlive(t *testing.T) {
	w := newWorld(t)
	lease := func(name string, renewed time.Time) {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
		l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = new(metav1.NewMicroTime(renewed)), new(int32(15))
		if err := api.Create(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Delete(t.Context(), l, client.GracePeriodSeconds(0)) })
	}
	lease("sgp-operator", time.Now())
	lease("sgp-operator-1a2b3c4d", time.Now().Add(-time.Hour))
	lease("another", time.Now())
	stdout, stderr, code := w.audit(admin)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{w.namespace + "/sgp-operator: alive, last at ", w.namespace + "/sgp-operator-1a2b3c4d: not alive, last at "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "/another") {
		t.Errorf("somebody else's lease counts:\n%s", stdout)
	}
	// Who may not read leases is told so.
	if stdout, _, _ := w.audit(cluster); !strings.Contains(stdout, "No lease of a manager was found") {
		t.Errorf("without the permission:\n%s", stdout)
	}
}

// Whoever may not read the resources is told so, and gets no empty page.
func TestAnAuditWithoutPermissionIsNoEmptyPage(t *testing.T) {
	w := newWorld(t)
	nobody := rest.CopyConfig(admin)
	nobody.CertData, nobody.KeyData = nil, nil
	stdout, stderr, code := w.audit(nobody)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "SecurityGroupPolicies cannot be read") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
