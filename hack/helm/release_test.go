package helm

import (
	"fmt"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// older is a chart as an earlier version might be: another version, and a CRD without one
// of the fields.
func older(t *testing.T) string {
	return chartWith(t,
		[3]string{"Chart.yaml", "version: 0.1.0", "version: 0.0.9"},
		[3]string{"Chart.yaml", "appVersion: v0.1.0", "appVersion: v0.0.9"},
		[3]string{"files/crds/ecs.alibabacloud.com_securitygrouppolicies.yaml", "              suspend:\n", "              paused:\n"})
}

func TestAnUpgradeBringsNewFieldsAndKeepsPolicies(t *testing.T) {
	for _, by := range []struct {
		name             string
		install, upgrade func(c *cluster, dir string) error
		overwrites       bool
	}{
		{"installed and upgraded by Helm 4", install4, upgrade4, false},
		{"installed by Helm 3, upgraded by Helm 4", install3, upgrade4, true},
		{"installed and upgraded by Helm 3", install3, upgrade3, true},
	} {
		t.Run(by.name, func(t *testing.T) {
			c := startCluster(t)
			if err := by.install(c, older(t)); err != nil {
				t.Fatal(err)
			}
			if c.newer() {
				t.Fatal("the older CRD has the field already")
			}
			p := c.policy()
			// Whoever installs by Helm 3 has later edits overwritten.
			if by.overwrites {
				c.scale(5)
			}
			if err := by.upgrade(c, chartDir); err != nil {
				t.Fatal(err)
			}
			if !c.newer() {
				t.Error("the CRD is as old as it was")
			}
			if d := c.deployment("sgp-manager"); d.Labels["helm.sh/chart"] != "sgp-operator-0.1.0" || !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":v0.1.0") {
				t.Errorf("the manager is that of %s: %s", d.Labels["helm.sh/chart"], d.Spec.Template.Spec.Containers[0].Image)
			}
			if n := *c.deployment("sgp-manager").Spec.Replicas; n != 2 {
				t.Errorf("%d replicas", n)
			}
			c.stays(p)
		})
	}
}

// newer tells whether the CRD has what older lacks.
func (c *cluster) newer() bool {
	c.t.Helper()
	_, has := c.crd().Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["suspend"]
	return has
}

// scale is `kubectl scale`.
func (c *cluster) scale(n int32) {
	c.t.Helper()
	s := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: n}}
	if err := c.api.SubResource("scale").Update(c.t.Context(), c.deployment("sgp-manager"), client.WithSubResourceBody(s), client.FieldOwner("kubectl")); err != nil {
		c.t.Fatal(err)
	}
}

func install4(c *cluster, dir string) error { return c.install(dir, "") }
func upgrade4(c *cluster, dir string) error { return c.upgrade(dir, "") }
func install3(c *cluster, dir string) error { return c.install3(dir, "") }
func upgrade3(c *cluster, dir string) error { return c.upgrade3(dir, "") }

func TestAnEditByHandIsNotOverwrittenUnasked(t *testing.T) {
	c := startCluster(t)
	if err := c.install(chartDir, ""); err != nil {
		t.Fatal(err)
	}
	c.scale(5)
	err := c.upgrade(chartDir, "")
	if err == nil || !strings.Contains(err.Error(), ".spec.replicas") || !strings.Contains(err.Error(), "kubectl") {
		t.Errorf("the conflict is not named: %v", err)
	}
	if n := *c.deployment("sgp-manager").Spec.Replicas; n != 5 {
		t.Errorf("%d replicas in place of 5", n)
	}
	if err := c.upgrade(chartDir, "", func(u *action.Upgrade) { u.ForceConflicts = true }); err != nil {
		t.Fatal(err)
	}
	if n := *c.deployment("sgp-manager").Spec.Replicas; n != 2 {
		t.Errorf("%d replicas after a forced upgrade", n)
	}
	c.scale(4)
	if err := c.upgrade(chartDir, "replicas: null"); err != nil {
		t.Errorf("replicas are left to another, and yet: %v", err)
	}
	if n := *c.deployment("sgp-manager").Spec.Replicas; n != 4 {
		t.Errorf("%d replicas in place of 4", n)
	}
}

func TestUninstallingKeepsEveryPolicy(t *testing.T) {
	c := startCluster(t)
	if err := c.install(chartDir, ""); err != nil {
		t.Fatal(err)
	}
	p, crd, d, role := c.policy(), c.crd(), c.deployment("sgp-manager"), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "sgp-manager"}}
	err := c.install(chartDir, "", func(i *action.Install) { i.ReleaseName, i.Namespace = "another", "another" })
	if err == nil || !strings.Contains(err.Error(), "sgp-operator") {
		t.Errorf("a second release is not refused: %v", err)
	}
	c.uninstall()
	c.stays(crd)
	c.stays(p)
	c.gone(d)
	c.gone(role)

	if err := c.install(chartDir, "crds: {keep: false}"); err != nil {
		t.Fatalf("it cannot be installed again: %v", err)
	}
	c.stays(p)
	c.uninstall()
	c.eventually("the CRD goes only where it was not to be kept", func() error {
		if err := c.get(crd); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %w", err)
		}
		return nil
	})
}

func TestInstallingANewerChartAgainBringsNewFields(t *testing.T) {
	for name, install := range map[string]func(c *cluster, dir string) error{"by Helm 4": install4, "by Helm 3": install3} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t)
			if err := install(c, older(t)); err != nil {
				t.Fatal(err)
			}
			p := c.policy()
			c.uninstall()
			if err := install(c, chartDir); err != nil {
				t.Fatal(err)
			}
			if !c.newer() {
				t.Error("the CRD that was kept is as old as it was")
			}
			c.stays(p)
		})
	}
}

func TestAccountsComeWithTheFirstInstallation(t *testing.T) {
	c := startCluster(t)
	c.pods()
	if err := c.install(chartDir, accounts("cn-beijing"), func(i *action.Install) { i.WaitStrategy = kube.StatusWatcherStrategy }); err != nil {
		t.Fatal(err)
	}
	c.accountsFollow(func(text string) error { return c.upgrade(chartDir, text) })
}

func TestAccountsComeWithAnUpgradeByHelm3(t *testing.T) {
	c := startCluster(t)
	// Helm 3 would never bring what its hooks create up to date.
	if err := c.install3(chartDir, accounts("cn-beijing")); err == nil || !strings.Contains(err.Error(), "ensure CRDs are installed first") {
		t.Errorf("accounts before their CRD: %v", err)
	}
	if err := c.install3(chartDir, ""); err != nil {
		t.Fatal(err)
	}
	upgrade := func(text string) error { return c.upgrade3(chartDir, text) }
	c.policy()
	if err := upgrade(accounts("cn-beijing")); err != nil {
		t.Fatal(err)
	}
	c.accountsFollow(upgrade)
}

func accounts(regions string) string {
	return "{defaultAccount: {enabled: true}, accounts: [{name: prod, spec: {allowedNamespaces: {all: true}, allowedRegions: [" + regions + "]}}]}"
}

// accountsFollow the values from what accounts says on, until the release is gone.
func (c *cluster) accountsFollow(upgrade func(text string) error) {
	t := c.t
	lent, prod := &v1alpha1.ECSAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, &v1alpha1.ECSAccount{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}
	for _, a := range []*v1alpha1.ECSAccount{lent, prod} {
		if err := c.get(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := upgrade(accounts("cn-hangzhou")); err != nil {
		t.Fatal(err)
	}
	c.stays(lent)
	c.stays(prod)
	if got := prod.Spec.AllowedRegions; len(got) != 1 || got[0] != "cn-hangzhou" {
		t.Errorf("the account allows %v", got)
	}
	if err := upgrade("accounts: [{name: prod, spec: {allowedNamespace: {all: true}}}]"); err == nil || !strings.Contains(err.Error(), "Too many") {
		t.Errorf("a misspelt field of an account: %v", err)
	}
	if err := upgrade("defaultAccount: {enabled: true}"); err != nil {
		t.Fatal(err)
	}
	c.stays(lent)
	c.gone(prod)
	c.uninstall()
	c.gone(lent)
}

func TestAnInstallationByKubectlCanBeTakenOver(t *testing.T) {
	c := startCluster(t)
	if err := c.kubectl("apply", "-k", root+"/config/default"); err != nil {
		t.Fatal(err)
	}
	p, d := c.policy(), c.deployment("sgp-manager")
	if err := c.install(chartDir, ""); err == nil || !strings.Contains(err.Error(), "cannot be imported") {
		t.Errorf("taken over unasked: %v", err)
	}
	if err := c.kubectl("apply", "-k", root+"/config/default", "--server-side", "--force-conflicts", "--field-manager=helm"); err != nil {
		t.Fatal(err)
	}
	if err := c.install(chartDir, "", func(i *action.Install) { i.TakeOwnership = true }); err != nil {
		t.Fatal(err)
	}
	c.stays(p)
	c.stays(d)
	if err := c.upgrade(chartDir, "replicas: 3"); err != nil {
		t.Fatal(err)
	}
	if n := *c.deployment("sgp-manager").Spec.Replicas; n != 3 {
		t.Errorf("%d replicas in place of 3", n)
	}
}
