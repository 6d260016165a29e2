// Package krew knows what a release has to hold for Krew, the manager of kubectl's
// plugins: which platforms there are, what their archives are called, and the manifest by
// which Krew installs the plugin from them. It builds nothing.
package krew

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/yaml"
)

// Homepage is where the project lives, and its releases below.
const Homepage = "https://github.com/sgp-operator/sgp-operator"

// Platform is one that the plugin is built for, in Go's words.
type Platform struct{ OS, Arch string }

// Platforms are those of a release.
var Platforms = []Platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}}

// Archive is the name of the platform's archive.
func (p Platform) Archive() string {
	ending := "tar.gz"
	if p.OS == "windows" {
		ending = "zip"
	}
	return fmt.Sprintf("alicloud-sgp_%s_%s.%s", p.OS, p.Arch, ending)
}

// Binary is the name of the plugin in that archive.
func (p Platform) Binary() string {
	if p.OS == "windows" {
		return "kubectl-alicloud_sgp.exe"
	}
	return "kubectl-alicloud_sgp"
}

// The manifest, as sigs.k8s.io/krew/pkg/index has it.
type (
	plugin struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   map[string]string `json:"metadata"`
		Spec       spec              `json:"spec"`
	}
	spec struct {
		Version          string     `json:"version"`
		Homepage         string     `json:"homepage"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Platforms        []platform `json:"platforms"`
	}
	platform struct {
		Selector selector `json:"selector"`
		URI      string   `json:"uri"`
		SHA256   string   `json:"sha256"`
		Bin      string   `json:"bin"`
	}
	selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	}
)

var versionForm = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// CheckVersion refuses what Krew does not take for a version.
func CheckVersion(version string) error {
	if !versionForm.MatchString(version) {
		return fmt.Errorf("the version %q is none: write one such as v0.1.0 or v0.2.0-rc.1", version)
	}
	return nil
}

// Manifest is that of a version whose archives lie in a folder, and will be downloaded
// from url, to which the version and the archive's name are added.
func Manifest(version, archives, url string, platforms []Platform) ([]byte, error) {
	if err := CheckVersion(version); err != nil {
		return nil, err
	}
	p := plugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin",
		Metadata: map[string]string{"name": "alicloud-sgp"},
		Spec: spec{
			Version: version, Homepage: Homepage,
			ShortDescription: "Import Alibaba Cloud security groups as policies",
			Description: "For sgp-operator: import writes manifests that declare the inner access policy of\n" +
				"Alibaba Cloud ECS security groups as it is, diff says what manifests would change,\n" +
				"and audit reports what is declared and what was observed. These change nothing.\n" +
				"conformance checks what is assumed of ECS, with groups that it makes and deletes.\n",
		},
	}
	for _, of := range platforms {
		sum, err := checksum(filepath.Join(archives, of.Archive()))
		if err != nil {
			return nil, err
		}
		p.Spec.Platforms = append(p.Spec.Platforms, platform{
			Selector: selector{map[string]string{"os": of.OS, "arch": of.Arch}},
			URI:      url + "/" + version + "/" + of.Archive(), SHA256: sum, Bin: of.Binary(),
		})
	}
	return yaml.Marshal(p)
}

func checksum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
