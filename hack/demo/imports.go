package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	// importedRegion has the groups that the tour imports, and leftRegion those that it
	// leaves to whoever follows the tutorial.
	importedRegion = "cn-beijing"
	leftRegion     = "cn-shanghai"
	// inventory is the namespace of what is imported.
	inventory = "inventory"
	// envFile is what the tutorial reads into a shell.
	envFile = "bin/demo.env"
)

// existing are groups that were there before the operator.
var existing = []ecssim.Group{
	{Region: importedRegion, ID: "sg-2ze1", Policy: ecssim.Drop, Name: "web"},
	{Region: importedRegion, ID: "sg-2ze2", Policy: ecssim.Accept, Name: "db"},
	{Region: importedRegion, ID: "sg-2ze3", Policy: ecssim.Drop, Name: "lake", Enterprise: true},
	{Region: leftRegion, ID: "sg-uf61", Policy: ecssim.Drop, Name: "shop"},
	{Region: leftRegion, ID: "sg-uf62", Policy: ecssim.Accept, Name: "cache"},
	{Region: leftRegion, ID: "sg-uf63", Policy: ecssim.Accept, Name: "batch"},
}

// importGroups begins where a user does: with groups that are there already.
func (t *tour) importGroups(ctx context.Context) error {
	t.out.heading("1. The groups of %s were there before the operator. They are imported: a manifest for\n"+
		"   each, at the value that it has, under Observe. The ECSAccount of config/account lends the\n"+
		"   manager's own keys to the namespaces with its label, such as %s.", importedRegion, inventory)
	dir := filepath.Join(t.rig.Dir, "imported")
	args := []string{"import", "--ecs-endpoint", t.simulator.URL(), "--region", importedRegion, "-n", inventory, "-f", dir}
	t.out.line("bin/manager %s", strings.Join(args, " "))
	command := exec.CommandContext(ctx, "bin/manager", args...)
	command.Env = rig.Environment("ALIBABA_CLOUD_ACCESS_KEY_ID="+demoKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET="+demoSecret)
	said, err := command.CombinedOutput()
	t.quote(said)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	manifests, err := rig.ReadManifests(dir)
	if err != nil {
		return err
	}
	c := check{what: "an import writes a manifest for each group that has a policy to declare"}
	if len(manifests) == 0 {
		return errors.New("import: no manifest was written")
	} else if len(manifests) != 2 {
		c.err = fmt.Errorf("it has written %d", len(manifests))
	}
	t.checks = append(t.checks, c)
	text, err := os.ReadFile(manifests[0].File)
	if err != nil {
		return err
	}
	t.out.line("%s:", filepath.Base(manifests[0].File))
	t.quote(text)

	t.out.plain("")
	t.board.header()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: inventory, Labels: map[string]string{"ecs.alibabacloud.com/account": "default"}}}
	if err := t.Client.Create(ctx, namespace); err != nil {
		return err
	}
	if err := t.create(ctx, append(t.account, manifests...)); err != nil {
		return err
	}
	for _, m := range manifests {
		t.expect(ctx, m.Object.GetName()+", imported, is Ready under Observe, and nothing was changed", m.Object.GetName(), func(p *policy) bool {
			return ready(p) == v1alpha1.ReasonInSync && p.Spec.ManagementPolicy == v1alpha1.ManagementObserve && p.Status.LastModification == nil
		})
	}
	return nil
}

// quote shows a text below a line.
func (t *tour) quote(text []byte) {
	for line := range strings.Lines(string(text)) {
		t.out.plain("           %s", strings.TrimRight(line, "\n"))
	}
}

// writeEnv writes what the tutorial's commands need in their shell.
func (s *stage) writeEnv() error {
	text := fmt.Sprintf("export KUBECONFIG='%s' ECS='%s'\nexport ALIBABA_CLOUD_ACCESS_KEY_ID=%s ALIBABA_CLOUD_ACCESS_KEY_SECRET=%s\nexport PATH=\"$PATH:%s\" # for kubectl\n",
		s.Kubeconfig, s.simulator.URL(), demoKey, demoSecret, os.Getenv(rig.AssetsVariable))
	if err := os.WriteFile(envFile, []byte(text), 0o600); err != nil {
		return err
	}
	s.rig.OnClose(func() error { return os.Remove(envFile) })
	return nil
}

// howToImport goes through the same with the groups of another region.
func (t *tour) howToImport() {
	t.out.heading("Import the groups of %s yourself, in another terminal and this folder (docs/tutorial.md):", leftRegion)
	t.out.plain("  . %s", envFile)
	t.out.plain("  bin/manager import --ecs-endpoint $ECS --region %s -n %s -f groups", leftRegion, inventory)
	t.out.plain("  kubectl apply -k groups")
}
