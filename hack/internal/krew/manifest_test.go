package krew

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// release is a folder with an archive for each platform.
func release(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, of := range Platforms {
		if err := os.WriteFile(filepath.Join(dir, of.Archive()), []byte(of.OS), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEveryPlatformIsInTheManifestOnce(t *testing.T) {
	manifest, err := Manifest("v1.2.3", release(t), "https://example.com/d", Platforms)
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(manifest, &p); err != nil {
		t.Fatal(err)
	}
	// Krew wants one short line, and the name that the file has in its index.
	if p.Metadata["name"] != "alicloud-sgp" || p.Spec.Version != "v1.2.3" || len(p.Spec.ShortDescription) > 50 || strings.HasSuffix(p.Spec.ShortDescription, ".") {
		t.Errorf("%+v", p)
	}
	seen := map[string]bool{}
	for _, of := range p.Spec.Platforms {
		name := of.Selector.MatchLabels["os"] + "_" + of.Selector.MatchLabels["arch"]
		seen[name] = true
		if !strings.HasPrefix(of.URI, "https://example.com/d/v1.2.3/alicloud-sgp_"+name+".") || len(of.SHA256) != 64 || !strings.HasPrefix(of.Bin, "kubectl-alicloud_sgp") {
			t.Errorf("%+v", of)
		}
	}
	if len(seen) != 5 || len(p.Spec.Platforms) != 5 {
		t.Errorf("platforms %v", seen)
	}
	// printf linux | sha256sum
	if got := p.Spec.Platforms[0].SHA256; got != "caf90169eefa5f807d577486b9f795ab86ae2983c5c20806cff959117e90af18" {
		t.Errorf("checksum %s", got)
	}
}

func TestAnIncompleteReleaseHasNoManifest(t *testing.T) {
	dir := release(t)
	for _, version := range []string{"", "1.2.3", "v1.2"} {
		if _, err := Manifest(version, dir, Homepage, Platforms); err == nil {
			t.Errorf("version %q", version)
		}
	}
	if err := os.Remove(filepath.Join(dir, "alicloud-sgp_windows_amd64.zip")); err != nil {
		t.Fatal(err)
	}
	if _, err := Manifest("v1.2.3", dir, Homepage, Platforms); err == nil || !strings.Contains(err.Error(), "windows_amd64.zip") {
		t.Error(err)
	}
}
