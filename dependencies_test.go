package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Somebody has to have thought about every dependency, and to have written down why it
// is there.
func TestEveryDirectDependencyHasAReason(t *testing.T) {
	text, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Dependencies\n")
	section, _, _ = strings.Cut(section, "\n## ")
	wanted := map[string]bool{}
	for _, module := range []string{".", "hack/bench", "hack/controlplane", "hack/gitops/argocd", "hack/gitops/states", "hack/helm", "hack/image", "hack/observability"} {
		for _, path := range directDependencies(t, module) {
			wanted[path] = true
			if !strings.Contains(section, "\n| `"+path+"` | ") {
				t.Errorf("%s, of %s/go.mod, has no line in the table of docs/security.md", path, module)
			}
		}
	}
	for line := range strings.SplitSeq(section, "\n| `") {
		if path, _, isLine := strings.Cut(line, "` | "); isLine && !strings.ContainsAny(path, "\n ") && !wanted[path] {
			t.Errorf("docs/security.md gives a reason for %s, which is no direct dependency", path)
		}
	}
}

func directDependencies(t *testing.T, module string) (paths []string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	command.Dir = module
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go mod edit in %s: %v", module, err)
	}
	var file struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &file); err != nil {
		t.Fatal(err)
	}
	for _, r := range file.Require {
		if !r.Indirect && r.Path != "github.com/sgp-operator/sgp-operator" {
			paths = append(paths, r.Path)
		}
	}
	return paths
}
