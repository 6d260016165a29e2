package operator_test

import (
	"bytes"
	"context"
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
	testclock "k8s.io/utils/clock/testing"
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
	want := map[string]int{"groups": 5, "asDeclared": 1, "differs": 1, "notKnown": 2, "suspended": 1, "accept": 1, "drop": 1, "observeOnly": 1, "isolated": 0, "notIsolated": 0, "problems": 0}
	if diff := cmp.Diff(want, report.Summary); diff != "" {
		t.Errorf("summary: -want +got\n%s", diff)
	}

	w.edit("changed", func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.InnerAccessPolicy = "Accept" })
	if stdout, _, _ := w.audit(cluster, "-l", "kustomize.toolkit.fluxcd.io/name=net"); !strings.Contains(stdout, "\n| 1 | ") {
		t.Errorf("of the labels that were asked for:\n%s", stdout)
	}
}

// What was held, put back, or awaits somebody's word is somebody's job, and a Drop that
// does not isolate is no secret.
func TestAnAuditSaysWhatIsHeldPutBackAndNotIsolated(t *testing.T) {
	t.Parallel()
	w, instance := newClusterWorld(t)
	for _, id := range []string{"sg-tried", "sg-put-back", "sg-unread"} {
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id, Policy: "Accept", VpcID: map[bool]string{true: "vpc-1"}[id != "sg-unread"]})
	}
	w.sim.PutGroup(ecssim.Group{Region: w.region, ID: "sg-1", Policy: "Accept", VpcID: "vpc-1", OwnRules: []ecssim.Rule{{ID: "sgr-any", CIDR: "0.0.0.0/0"}}})
	w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: "i-other", VpcID: "vpc-1", Groups: []string{"sg-1"}, Addresses: []string{"10.0.0.2"}})
	clock := testclock.NewFakePassiveClock(time.Now())
	w.clock = clock
	w.policy("put-back", "sg-put-back", "Drop", rollbackAfter(15*time.Minute))
	stop := w.start()
	w.awaitReason("put-back", v1alpha1.ReasonInSync)
	stop()
	clock.SetTime(clock.Now().Add(16 * time.Minute))
	w.policy("held", "sg-nodes", "Drop")
	w.policy("joined", "sg-1", "Drop", verified)
	w.policy("alone", "sg-tried", "Drop", verified, rollbackAfter(time.Hour))
	w.policy("unread", "sg-unread", "Drop", verified)
	w.start()
	w.awaitReason("put-back", v1alpha1.ReasonRolledBack)
	w.awaitReason("held", v1alpha1.ReasonApprovalRequired)
	w.awaitIsolated("joined", metav1.ConditionFalse, v1alpha1.ReasonPathFound)
	w.awaitIsolated("alone", metav1.ConditionTrue, v1alpha1.ReasonNoPath)
	w.awaitIsolated("unread", metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread)
	deadline := w.awaitReason("alone", v1alpha1.ReasonInSync).Status.Rollback.Deadline.UTC().Format(time.RFC3339)

	stdout, _, _ := w.audit(cluster, "-o", "json")
	var report struct {
		Summary map[string]int
		Groups  []struct{ Name, State, Isolated, Job, ConfirmBy string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, g := range report.Groups {
		got[g.Name] = strings.Join([]string{g.State, g.Isolated, g.Job, g.ConfirmBy}, "; ")
	}
	if diff := cmp.Diff(map[string]string{
		"held":     "Differs; ; who may approve it: ApprovalRequired; ",
		"put-back": "Differs; ; who declared it: RolledBack; ",
		"joined":   "AsDeclared; False; the operator; ",
		"alone":    "AsDeclared; True; who declared it: confirm the change by " + deadline + ", or it is put back; " + deadline,
		"unread":   "AsDeclared; Unknown; the operator; ",
	}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if report.Summary["isolated"] != 1 || report.Summary["notIsolated"] != 1 {
		t.Errorf("summary %v", report.Summary)
	}

	page, _, _ := w.audit(cluster)
	_, page, _ = strings.Cut(page, "## To see to\n")
	toSeeTo, page, _ := strings.Cut(page, "## Drop, and not isolated\n")
	verdicts, _, _ := strings.Cut(page, "## All groups\n")
	for text, rows := range map[string][]string{toSeeTo: {"| sg-nodes |", "| sg-put-back |", "| sg-tried |"}, verdicts: {"| sg-1 |", "| sg-unread |"}} {
		for _, row := range rows {
			if !strings.Contains(text, row) {
				t.Errorf("no %s in\n%s", row, text)
			}
		}
		if strings.Count(text, "\n| sg-") != len(rows) {
			t.Errorf("more than %v in\n%s", rows, text)
		}
	}
	if !strings.Contains(verdicts, "| Drop | False | Members can reach one another: rule sgr-any of sg-1 accepts") {
		t.Errorf("no evidence in\n%s", verdicts)
	}
	if !strings.Contains(readyMessage(w.get("held")), instance) {
		t.Error("another change is held")
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
		t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(t.Context()), l, client.GracePeriodSeconds(0)) })
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
