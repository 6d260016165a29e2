// Krew writes the manifest by which Krew installs the kubectl plugin, from a release's
// archives: `go run ./hack/krew --version v0.1.0 --archives DIR >alicloud-sgp.yaml`. It
// is started by `make krew`, which has Krew's own validator read the result.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/sgp-operator/sgp-operator/hack/internal/krew"
)

func main() {
	version := flag.String("version", "", "Version of the release, such as v0.1.0.")
	archives := flag.String("archives", "", "Folder with the release's archives, alicloud-sgp_OS_ARCH.tar.gz and .zip for windows.")
	url := flag.String("url", krew.Homepage+"/releases/download", "Where archives are downloaded from; the version and the file's name are added.")
	flag.Parse()
	if err := run(*version, *archives, *url); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

func run(version, archives, url string) error {
	if archives == "" {
		return errors.New("--archives is missing: name the folder with the release's archives; see --help")
	}
	manifest, err := krew.Manifest(version, archives, url, krew.Platforms)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(manifest)
	return err
}
