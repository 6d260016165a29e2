package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sgp-operator/sgp-operator/hack/internal/krew"
)

var (
	cyclonedx = flag.String("cyclonedx-gomod", "", "The tool that writes the SBOM; without it no whole release is made.")
	validate  = flag.String("validate-krew-manifest", "", "Krew's check of its manifest, likewise.")
)

// shell runs a script in a folder.
func shell(t *testing.T, dir, script string, env ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	command.Dir, command.Env = dir, append(os.Environ(), env...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// sources is a folder with what git would take of this one, and without git.
func sources(t *testing.T, folder string) (root string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), folder)
	out, err := shell(t, repository, `mkdir -p "$TO"; git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - --ignore-failed-read | tar -xf - -C "$TO"
printf '\n## [9.8.7] - 2026-11-25\n\n- see [upgrading](docs/upgrading.md)\n' >>"$TO/CHANGELOG.md"`, "TO="+root)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return root
}

// TestTheSameSourcesAreTheSameRelease makes a release twice, the second time elsewhere,
// as another caller and without a network, and uses what came out.
func TestTheSameSourcesAreTheSameRelease(t *testing.T) {
	if *cyclonedx == "" || *validate == "" {
		t.Skip("make release-test brings the tools, and makes whole releases")
	}
	t.Setenv("SOURCE_DATE_EPOCH", strconv.FormatInt(moment.Unix(), 10))
	make := func(folder string) (dir string) {
		o := options{root: sources(t, folder), out: t.TempDir(), version: "v9.8.7", cyclonedx: *cyclonedx, validate: *validate,
			platforms: []krew.Platform{{OS: "linux", Arch: "amd64"}, {OS: "windows", Arch: "amd64"}}}
		if err := run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(o.out, o.version)
	}
	first := make("a")
	for name, value := range map[string]string{"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOAMD64": "v3", "TZ": "Asia/Shanghai", "LC_ALL": "C"} {
		t.Setenv(name, value)
	}
	second := make("another/place")

	one, other := contents(t, first), contents(t, second)
	if names := slices.Sorted(maps.Keys(one)); !slices.Equal(names, slices.Sorted(maps.Keys(other))) {
		t.Errorf("%q and %q", names, slices.Sorted(maps.Keys(other)))
	}
	for name := range one {
		if one[name] != other[name] {
			t.Errorf("%s differs", name)
		}
	}
	t.Run("checksums", func(t *testing.T) {
		out, err := shell(t, first, "sha256sum -c checksums.txt")
		if err != nil || strings.Count(out, ": OK\n") != len(one)-1 {
			t.Errorf("%v of %d files\n%s", err, len(one), out)
		}
		// sha256sum takes other forms too, what attests checksums does not.
		if form := regexp.MustCompile(`^([0-9a-f]{64}  [^ /]+\n)+$`); !form.MatchString(one["checksums.txt"]) {
			t.Errorf("%q", one["checksums.txt"])
		}
	})
	t.Run("notes", func(t *testing.T) {
		notes := one["release-notes.md"]
		if !strings.HasPrefix(notes, "- see [upgrading](https://github.com/sgp-operator/sgp-operator/blob/v9.8.7/docs/upgrading.md)\n") ||
			!strings.Contains(notes, "ghcr.io/sgp-operator/sgp-operator:v9.8.7@sha256:") {
			t.Error(notes)
		}
	})
	t.Run("image", func(t *testing.T) {
		layout := untar(t, strings.NewReader(one["sgp-operator-v9.8.7-oci.tar"]))
		_, digest, _ := strings.Cut(one["release-notes.md"], "@sha256:")
		digest, _, _ = strings.Cut(digest, "`")
		if index, found := layout["blobs/sha256/"+digest]; !found || !strings.Contains(index, `"architecture":"amd64"`) {
			t.Errorf("the notes name %q, of which the layout has %q", digest, index)
		}
		if one["sgp-operator-v9.8.7-linux-amd64.tar"] == "" {
			t.Error("there is nothing for docker load")
		}
	})
	t.Run("plugin", func(t *testing.T) { usePlugin(t, one) })
}

// contents are those of a folder's files.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := tree(dir, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{}
	for _, f := range files {
		contents[f.name] = string(f.content)
	}
	return contents
}

func usePlugin(t *testing.T, release map[string]string) {
	archive := release["alicloud-sgp_linux_amd64.tar.gz"]
	files := untar(t, gunzip(t, []byte(archive)))
	beside := []string{"LICENSE", "completion/_manager", "completion/manager.bash", "completion/manager.fish", "completion/manager.ps1"}
	if got, want := slices.Sorted(maps.Keys(files)), append(slices.Clone(beside), "kubectl-alicloud_sgp", "kubectl_complete-alicloud_sgp"); !slices.Equal(got, want) {
		t.Errorf("it holds %q and not %q", got, want)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "archive"), []byte(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"./kubectl-alicloud_sgp version":                                  "v9.8.7 (go",
		"PATH=$PWD:$PATH ./kubectl_complete-alicloud_sgp im":              "import\t",
		"source completion/manager.bash && complete -p manager":           "__start_manager manager",
		"ln -s kubectl-alicloud_sgp manager && ./manager completion fish": files["completion/manager.fish"],
		"cat LICENSE": "Apache License",
	} {
		if out, err := shell(t, dir, "tar -xzf archive && "+script); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%.2000s\nwant %.200s", script, err, out, want)
		}
	}

	var bom struct {
		Metadata struct {
			Properties []struct{ Name, Value string }
		}
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(release["sgp-operator.cdx.json"]), &bom); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(files["kubectl-alicloud_sgp"])))
	if !slices.Contains(bom.Metadata.Properties, struct{ Name, Value string }{"cdx:gomod:binary:hash:SHA-256", sum}) {
		t.Errorf("the SBOM is of another binary than %s: %+v", sum, bom.Metadata.Properties)
	}
	linked := map[string]string{}
	for _, c := range bom.Components {
		linked[c.Name] = c.Version
	}
	if linked["std"] == "" || linked["k8s.io/client-go"] == "" || linked["helm.sh/helm/v4"] != "" {
		t.Errorf("the SBOM lists %v", linked)
	}

	windows := []byte(release["alicloud-sgp_windows_amd64.zip"])
	packed, err := zip.NewReader(bytes.NewReader(windows), int64(len(windows)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range packed.File {
		names = append(names, f.Name)
		if !f.Modified.Equal(moment) {
			t.Errorf("%s is of %s", f.Name, f.Modified)
		}
	}
	slices.Sort(names)
	if want := append(slices.Clone(beside), "kubectl-alicloud_sgp.exe"); !slices.Equal(names, want) {
		t.Errorf("for Windows it holds %q and not %q", names, want)
	}
}
