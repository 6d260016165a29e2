package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the manager is made of is in the Dockerfile's build, packages and embedded files.
func TestTheDockerfileCopiesWhatTheManagerIsMadeOf(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	sent, err := os.ReadFile(".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/sgp-operator/sgp-operator"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{if .Module}}{{if eq .Module.Path "`+module+`"}}{{.Dir}}{{end}}{{end}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range strings.Fields(string(out)) {
		folder, err := filepath.Rel(here, folder)
		if err != nil {
			t.Fatal(err)
		}
		if folder == "." {
			continue
		}
		copied := false
		for parent := folder; parent != "."; parent = filepath.Dir(parent) {
			copied = copied || strings.Contains(string(text), "\nCOPY "+parent+"/ "+parent+"/\n") && strings.Contains(string(sent), "\n!"+parent+"\n")
		}
		if !copied {
			t.Errorf("the Dockerfile does not copy %s, or .dockerignore keeps it back", folder)
		}
	}
}
