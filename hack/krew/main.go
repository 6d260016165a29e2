// Krew writes the manifest by which Krew installs the kubectl plugin, from a release's
// archives: `go run ./hack/krew --version v0.1.0 --archives DIR >alicloud-sgp.yaml`. It
// is started by `make krew`, which has Krew's own validator read the result.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/yaml"
)

const homepage = "https://github.com/sgp-operator/sgp-operator"

// platforms are those of a release.
var platforms = []struct{ os, arch, ending, exe string }{
	{"linux", "amd64", "tar.gz", ""},
	{"linux", "arm64", "tar.gz", ""},
	{"darwin", "amd64", "tar.gz", ""},
	{"darwin", "arm64", "tar.gz", ""},
	{"windows", "amd64", "zip", ".exe"},
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

func main() {
	version := flag.String("version", "", "Version of the release, such as v0.1.0.")
	archives := flag.String("archives", "", "Folder with the release's archives, alicloud-sgp_OS_ARCH.tar.gz and .zip for windows.")
	url := flag.String("url", homepage+"/releases/download", "Where archives are downloaded from; the version and the file's name are added.")
	flag.Parse()
	if err := run(*version, *archives, *url, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

// versionForm is what Krew takes for a version.
var versionForm = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func run(version, archives, url string, out io.Writer) error {
	if !versionForm.MatchString(version) || archives == "" {
		return errors.New("give --version, such as v0.1.0, and --archives; see --help")
	}
	p := plugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin",
		Metadata: map[string]string{"name": "alicloud-sgp"},
		Spec: spec{
			Version: version, Homepage: homepage,
			ShortDescription: "Import Alibaba Cloud security groups as policies",
			Description: "Reads the inner access policy of Alibaba Cloud ECS security groups, and writes\n" +
				"manifests for sgp-operator that declare them as they are. It calls ECS alone,\n" +
				"with the credentials of the environment, and changes nothing.\n",
		},
	}
	for _, of := range platforms {
		name := fmt.Sprintf("alicloud-sgp_%s_%s.%s", of.os, of.arch, of.ending)
		sum, err := checksum(filepath.Join(archives, name))
		if err != nil {
			return err
		}
		p.Spec.Platforms = append(p.Spec.Platforms, platform{
			Selector: selector{map[string]string{"os": of.os, "arch": of.arch}},
			URI:      url + "/" + version + "/" + name, SHA256: sum, Bin: "kubectl-alicloud_sgp" + of.exe,
		})
	}
	text, err := yaml.Marshal(p)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
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
