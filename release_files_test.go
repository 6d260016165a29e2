package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// workflow is what those of this repository consist of; a key beside these is a misspelt
// one, or one to add here.
type workflow struct {
	Name        string
	On          map[string]map[string][]string
	Permissions map[string]string
	Env         map[string]string
	Jobs        map[string]struct {
		If             string
		Needs          string
		RunsOn         string `yaml:"runs-on"`
		TimeoutMinutes int    `yaml:"timeout-minutes"`
		Permissions    map[string]string
		Defaults       struct {
			Run map[string]string
		}
		Steps []struct {
			Name, ID, Uses, Run string
			With, Env           map[string]string
		}
	}
}

var (
	makeCommand = regexp.MustCompile(`(?m)^\s*make (.+)$`)
	action      = regexp.MustCompile(`^[a-z-]+/[a-z-]+@(v\d+|[0-9a-f]{40})$`)
)

// Nothing here can run a workflow, so at least it is read.
func TestWorkflowsCallWhatThereIs(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(".github/workflows/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%q (%v)", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		if err := decoder.Decode(&w); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if w.Permissions == nil || len(w.Permissions) != 0 {
			t.Errorf("%s: without permissions: {} a job that names none has many", name)
		}
		for job, does := range w.Jobs {
			if does.RunsOn == "" || does.TimeoutMinutes == 0 || len(does.Permissions) == 0 || len(does.Steps) == 0 {
				t.Errorf("%s: %s lacks a machine, a time limit, permissions or steps", name, job)
			}
			if _, found := w.Jobs[does.Needs]; does.Needs != "" && !found {
				t.Errorf("%s: %s needs %s, which there is not", name, job, does.Needs)
			}
			for _, step := range does.Steps {
				if (step.Run == "") == (step.Uses == "") {
					t.Errorf("%s: %s: a step runs a script or uses an action: %+v", name, job, step)
				}
				if step.Uses != "" && !action.MatchString(step.Uses) {
					t.Errorf("%s: %s is named by neither tag nor digest", name, step.Uses)
				}
				if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", step.Run).CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %s", name, job, out)
				}
				for _, command := range makeCommand.FindAllStringSubmatch(step.Run, -1) {
					for _, word := range strings.Fields(command[1]) {
						if !strings.Contains(word, "=") && !strings.Contains(string(makefile), "\n"+word+":") {
							t.Errorf("%s: there is no make %s", name, word)
						}
					}
				}
			}
		}
	}
}

// What is read of a tag, without make, names the version of that tag.
func TestEverythingNamesOneVersion(t *testing.T) {
	found := func(name, pattern string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		matches := regexp.MustCompile("(?m)"+pattern).FindAllStringSubmatch(string(text), -1)
		if len(matches) != 1 {
			t.Fatalf("%s matches %s %d times", name, pattern, len(matches))
		}
		return matches[0][1]
	}
	version := found("Makefile", `^VERSION \?= (\S+)$`)
	number := strings.TrimPrefix(version, "v")
	for _, of := range []struct{ name, pattern, want string }{
		{"Makefile", `^IMG \?= \S+:(\S+)$`, version},
		{"config/manager/kustomization.yaml", `^  newTag: (\S+)$`, version},
		{"charts/sgp-operator/Chart.yaml", `^version: (\S+)$`, number},
		{"charts/sgp-operator/Chart.yaml", `^appVersion: (\S+)$`, version},
		{"CHANGELOG.md", `^## \[(` + regexp.QuoteMeta(number) + `)\] - `, number},
		{"docs/howto/install.md", `config/default\?ref=(\S+)$`, version},
		{"docs/howto/install.md", `^  newTag: (\S+)$`, version},
		{"docs/ci/github.yaml", `sgp-operator/sgp-operator@(\S+)$`, version},
		{"docs/ci/gitlab.yml", `sgp-operator/sgp-operator@(v[0-9.a-z-]+)`, version},
	} {
		if got := found(of.name, of.pattern); got != of.want {
			t.Errorf("%s has %s, and the Makefile %s", of.name, got, version)
		}
	}
}
