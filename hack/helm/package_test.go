package helm

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	loader3 "helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// make release packs the chart without Helm.
func TestHelmTakesTheChartOfARelease(t *testing.T) {
	out := t.TempDir()
	command := exec.CommandContext(t.Context(), "go", "run", "./hack/release", "--chart-alone", "--version", "v9.8.7", "--out", out)
	command.Dir = root
	command.Env = append(command.Environ(), "SOURCE_DATE_EPOCH=1")
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	archive := filepath.Join(out, "v9.8.7", "sgp-operator-9.8.7.tgz")
	packed, err := loader.Load(archive)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, f := range packed.Raw {
		got = append(got, f.Name)
	}
	for _, f := range folder.Raw {
		want = append(want, f.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it has %q, and the folder %q", got, want)
	}
	old, err := loader3.Load(archive)
	if err != nil || old.Metadata.Version != "9.8.7" || packed.Metadata.Version != "9.8.7" || packed.Metadata.AppVersion != "v9.8.7" {
		t.Errorf("Helm 4 calls it %+v, Helm 3 %+v (%v)", packed.Metadata, old, err)
	}
	rendered, err := template(t, archive, "")
	if err != nil {
		t.Fatal(err)
	}
	images := 0
	for _, o := range rendered {
		if text, err := o.MarshalJSON(); err == nil && strings.Contains(string(text), `"image":"ghcr.io/sgp-operator/sgp-operator:v9.8.7"`) {
			images++
		}
	}
	if images != 1 {
		t.Errorf("%d managers run the release's image", images)
	}
}
