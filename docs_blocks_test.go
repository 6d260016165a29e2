package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// foreignKinds are those whose CRDs are not in the tests' cluster: of their objects only
// the YAML is checked.
var foreignKinds = []string{
	"Application", "ApplicationSet", "AppProject", "GitRepository", "HelmRelease", "HelmRepository", "Kustomization",
	"OCIRepository", "PrometheusRule", "ServiceMonitor",
}

// The names that pages use: what there is in the cluster and in ECS before a page begins.
var (
	docNamespaces = []string{"team-a", "team-b", "inventory"}
	docGroups     = []ecssim.Group{
		{Region: "cn-hangzhou", ID: "sg-bp1abcdefgh", Policy: ecssim.Accept, Name: "web", VpcID: "vpc-bp1abc"},
		{Region: "cn-beijing", ID: "sg-2ze1", Policy: ecssim.Drop, Name: "db"},
		{Region: "cn-shanghai", ID: "sg-uf61", Policy: ecssim.Drop, Name: "shop"},
		{Region: "cn-shanghai", ID: "sg-uf62", Policy: ecssim.Accept, Name: "cache"},
		{Region: "cn-shanghai", ID: "sg-uf63", Policy: ecssim.Accept, Name: "batch"},
	}
	docKey  = ecssim.Key{ID: "demo-key", Secret: "demo-secret"}
	docRole = ecssim.Role{ARN: "acs:ram::1000000000000001:role/sgp", TrustedKeys: []string{docKey.ID}}
)

// TestEveryBlockOfTheDocumentationWorks runs what readers copy. A page is one shell
// session, in a folder of its own that looks like a clone, beside a cluster with the
// operator installed and a manager that calls the simulator. YAML is applied as a
// server-side dry run, and for good after <!-- run: apply -->. After <!-- run: demo -->
// the shell knows nothing but what bin/demo.env tells it. make looks its target up, and
// builds nothing.
func TestEveryBlockOfTheDocumentationWorks(t *testing.T) {
	var cluster *docCluster
	var skipped []string
	ran := 0
	for _, p := range readPages(t) {
		if p.name == readmeInChinese { // its blocks are those of README.md
			continue
		}
		script := &docScript{}
		for _, b := range p.blocks {
			script.add(t, b)
		}
		skipped = append(skipped, script.skipped...)
		if script.blocks == 0 {
			continue
		}
		ran += script.blocks
		if cluster == nil {
			cluster = startDocCluster(t)
		}
		t.Run(p.name, func(t *testing.T) { cluster.runPage(t, script) })
	}
	t.Logf("%d blocks were run, %d skipped:\n%s", ran, len(skipped), strings.Join(skipped, "\n"))
}

// docScript is a page as one script.
type docScript struct {
	strings.Builder
	demo    bool
	blocks  int
	skipped []string
}

func (s *docScript) add(t *testing.T, b codeBlock) {
	t.Helper()
	if b.language != "sh" && b.language != "yaml" {
		if b.word != "" {
			t.Errorf("%s: %s blocks are not run", b.at, b.language)
		}
		return
	}
	if b.word == "skip" {
		s.skipped = append(s.skipped, b.at+": "+b.reason)
		return
	}
	words := map[string][]string{"sh": {"", "cluster", "demo"}, "yaml": {"", "apply"}}
	if !slices.Contains(words[b.language], b.reason) {
		t.Errorf("%s: run: %s is none of %q", b.at, b.reason, words[b.language])
		return
	}
	s.blocks++
	s.demo = s.demo || b.reason == "demo"
	_, _ = fmt.Fprintf(s, "at=%s\n", b.at)
	if b.language == "sh" {
		if strings.Contains(b.text, "rollout restart") {
			s.WriteString("sleep 1\n") // kubectl refuses a second restart within a second; readers are slower
		}
		s.WriteString(b.text)
		return
	}
	for _, object := range objects(t, b) {
		dryRun := " --dry-run=server"
		if b.reason == "apply" {
			dryRun = ""
		}
		_, _ = fmt.Fprintf(s, "kubectl apply --server-side --validate=strict%s -f - <<'END-OF-BLOCK'\n%s\nEND-OF-BLOCK\n", dryRun, object)
	}
}

// objects are the documents of a block that the API server is asked about.
func objects(t *testing.T, b codeBlock) (ours []string) {
	t.Helper()
	reader := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(b.text)))
	buffer := make([]byte, 1<<16)
	for {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return ours
		}
		var object struct{ APIVersion, Kind string }
		if err == nil {
			err = yaml.Unmarshal(buffer[:n], &object)
		}
		switch {
		case err != nil:
			t.Errorf("%s: %v", b.at, err)
			return ours
		case object.APIVersion == "" || object.Kind == "":
			t.Errorf("%s: it is no object: skip it with a reason", b.at)
		case !slices.Contains(foreignKinds, object.Kind):
			ours = append(ours, string(buffer[:n]))
		}
	}
}

type docCluster struct {
	*installation
	sim    *ecssim.Server
	url    string
	binary string
	here   string
}

func startDocCluster(t *testing.T) *docCluster {
	t.Helper()
	c := &docCluster{installation: startCluster(t), sim: ecssim.New(ecssim.Options{Keys: []ecssim.Key{docKey}, Roles: []ecssim.Role{docRole}})}
	var err error
	var stop func()
	if c.url, stop, err = c.sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	if c.binary, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	if c.here, err = os.Getwd(); err != nil {
		t.Fatal(err)
	}
	c.apply()
	for _, name := range docNamespaces {
		c.run("create", "namespace", name)
	}
	// The test's own binary, under the name by which testscript runs main in it.
	manager := filepath.Join(t.TempDir(), "manager")
	if err := os.Symlink(c.binary, manager); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), manager, "--kubeconfig", c.manager, "--ecs-endpoint", c.url, "--sts-endpoint", c.url,
		"--ecs-qps=1000", "--ecs-burst=1000", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	command.Env = append(os.Environ(), c.keys()...)
	log, err := os.Create(filepath.Join(t.TempDir(), "manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if said, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the manager:\n%s", said)
		}
		_ = log.Close()
	})
	return c
}

func (c *docCluster) keys() []string {
	return []string{"ALIBABA_CLOUD_ACCESS_KEY_ID=" + docKey.ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + docKey.Secret}
}

// reset takes away what the page before has left.
func (c *docCluster) reset() {
	c.sim.ClearFaults()
	for _, g := range docGroups {
		c.sim.PutGroup(g)
	}
	c.run("delete", "securitygrouppolicies.ecs.alibabacloud.com", "--all", "-A", "--timeout=30s")
	c.run("delete", "ecsaccounts.ecs.alibabacloud.com,secrets", "--all", "-n", c.namespace, "--wait=false")
	c.run(append(append([]string{"label", "namespace"}, docNamespaces...), "ecs.alibabacloud.com/account-", "ecs.alibabacloud.com/shard-")...)
}

func (c *docCluster) runPage(t *testing.T, script *docScript) {
	c.reset()
	dir := t.TempDir()
	for _, name := range []string{"bin", "stubs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{filepath.Join(c.here, "config"): "config", filepath.Join(c.here, "charts"): "charts",
		filepath.Join(c.here, "docs"): "docs", c.binary: "bin/manager", filepath.Join(c.here, "hack"): "hack"} {
		if err := os.Symlink(from, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	for name, content := range map[string]string{
		"stubs/make": "#!/bin/sh\nexec env PATH=\"$REAL_PATH\" make -C \"$CLONE\" -n \"$@\" >/dev/null\n",
		"bin/demo.env": fmt.Sprintf("export KUBECONFIG='%s' ECS='%s' %s\nexport PATH=\"$PATH:%s\"\n",
			c.admin, c.url, strings.Join(c.keys(), " "), assets),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "bash", "-c", "set -Eeo pipefail\ntrap 'echo \"$at: failed: $BASH_COMMAND\" >&2' ERR\n"+script.String())
	command.Dir = dir
	command.WaitDelay = time.Second
	command.Env = []string{"HOME=" + dir, "CLONE=" + c.here, "REAL_PATH=" + os.Getenv("PATH"), "KUBECACHEDIR=" + c.cache,
		"PATH=" + strings.Join([]string{filepath.Join(dir, "stubs"), filepath.Join(dir, "bin"), assets, os.Getenv("PATH")}, ":")}
	if script.demo {
		// What the tour of the demo has done when it invites to the tutorial.
		c.run("apply", "-k", "config/account")
		c.run("label", "namespace", "inventory", "ecs.alibabacloud.com/account=default")
	} else {
		command.Env = append(command.Env, append(c.keys(), "KUBECONFIG="+c.admin, "ECS="+c.url)...)
	}
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
