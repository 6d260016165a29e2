package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/krew"
)

const repository = "../.."

var moment = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// making is a release of which a test makes a part.
func making(t *testing.T, root string) *release {
	t.Helper()
	return &release{options: options{root: root, version: "v9.8.7", platforms: krew.Platforms}, made: moment, dir: t.TempDir(), work: t.TempDir()}
}

// read is a file of a release.
func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// untar is what is in a tarball, whose headers it checks.
func untar(t *testing.T, packed io.Reader) map[string]string {
	t.Helper()
	contents := map[string]string{}
	for r := tar.NewReader(packed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return contents
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.Mode&0o022 != 0 || !header.ModTime.Equal(moment) {
			t.Errorf("%s was packed with %+v", header.Name, header)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		contents[header.Name] = string(content)
	}
}

func gunzip(t *testing.T, packed []byte) io.Reader {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if !r.ModTime.IsZero() || r.Name != "" {
		t.Errorf("the compressed file names %q of %s", r.Name, r.ModTime)
	}
	return r
}

// In another clone files have other times and modes, and an editor leaves its own.
func TestTheChartIsTheSameFromEveryClone(t *testing.T) {
	clone := t.TempDir()
	charts := filepath.Join(clone, "charts", "sgp-operator")
	if err := os.CopyFS(charts, os.DirFS(filepath.Join(repository, "charts", "sgp-operator"))); err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(charts, "values.yaml")
	if err := errors.Join(os.Chmod(values, 0o600), os.Chtimes(values, moment, moment.Add(-time.Hour)),
		os.WriteFile(filepath.Join(charts, ".values.yaml.swp"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	here, there := making(t, repository), making(t, clone)
	if err := errors.Join(here.chart(), there.chart()); err != nil {
		t.Fatal(err)
	}
	packed := read(t, here.dir, "sgp-operator-9.8.7.tgz")
	if !bytes.Equal(packed, read(t, there.dir, "sgp-operator-9.8.7.tgz")) {
		t.Error("the same files were packed as others")
	}
	contents := untar(t, gunzip(t, packed))
	if chart := contents["sgp-operator/Chart.yaml"]; !strings.Contains(chart, "\nversion: 9.8.7\n") || !strings.Contains(chart, "\nappVersion: v9.8.7\n") {
		t.Errorf("it calls itself\n%s", chart)
	}
	if contents["sgp-operator/values.yaml"] != string(read(t, values, "")) {
		t.Error("values.yaml is not what the folder has")
	}
}

func TestTheManifestsAreOfTheRelease(t *testing.T) {
	r := making(t, repository)
	if err := r.manifests(); err != nil {
		t.Fatal(err)
	}
	for name, kinds := range map[string]map[string]int{
		"sgp-operator.yaml": {"Namespace": 1, "CustomResourceDefinition": 3, "Deployment": 1, "ServiceAccount": 1, "ECSAccount": 0},
		"crds.yaml":         {"CustomResourceDefinition": 3, "Deployment": 0},
		"account.yaml":      {"ECSAccount": 1},
	} {
		text := "\n" + string(read(t, r.dir, name))
		for kind, want := range kinds {
			if got := strings.Count(text, "\nkind: "+kind+"\n"); got != want {
				t.Errorf("%s has %d of %s and not %d", name, got, kind, want)
			}
		}
	}
	if text := string(read(t, r.dir, "sgp-operator.yaml")); !strings.Contains(text, "image: ghcr.io/sgp-operator/sgp-operator:v9.8.7\n") {
		t.Error("sgp-operator.yaml installs another image")
	}
}

func TestTheTimeIsTheCommitsUnlessTheCallerSaysAnother(t *testing.T) {
	r := making(t, t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", strconv.FormatInt(moment.Unix(), 10))
	if got, err := r.date(t.Context()); err != nil || !got.Equal(moment) {
		t.Errorf("%s (%v)", got, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	if _, err := r.date(t.Context()); err == nil || !strings.Contains(err.Error(), `SOURCE_DATE_EPOCH: "today" is no number of seconds`) {
		t.Error(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if _, err := r.date(t.Context()); err == nil || !strings.Contains(err.Error(), "make releases in a clone, or set SOURCE_DATE_EPOCH") {
		t.Errorf("without a commit: %v", err)
	}
	git := "git init -q && git -c user.name=n -c user.email=e commit -q --allow-empty -m x --date @1"
	if out, err := shell(t, r.root, git, "GIT_COMMITTER_DATE=@"+strconv.FormatInt(moment.Unix(), 10)+" +0100"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, err := r.date(t.Context()); err != nil || !got.Equal(moment) {
		t.Errorf("the commit's: %s (%v)", got, err)
	}
}
