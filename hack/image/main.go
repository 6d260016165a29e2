// Command image builds the operator's image without a container engine: a static binary,
// the roots of TLS and a user, from scratch, for each platform, under one OCI index. The
// same commit gives the same bytes. Run it in the root of the repository; it writes an OCI
// layout, and a tarball for `docker load` of each platform.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// options say what to build.
type options struct {
	root, out, version, name, revision string
	platforms                          []string
}

func main() {
	var o options
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "Platforms, separated by commas.")
	flag.StringVar(&o.root, "root", ".", "The repository.")
	flag.StringVar(&o.out, "out", "bin/image", "Folder for the image; what it held is replaced.")
	flag.StringVar(&o.version, "version", "", "Version to stamp, such as v0.1.0. Required.")
	flag.StringVar(&o.revision, "revision", "", "Commit to name in a label.")
	flag.StringVar(&o.name, "name", "ghcr.io/sgp-operator/sgp-operator", "Name of the image, without a tag.")
	flag.Parse()
	o.platforms = strings.Split(*platforms, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1) //nolint:gocritic // stop would do nothing more
	}
}

func run(ctx context.Context, o options) error {
	if o.version == "" {
		return fmt.Errorf("--version is missing: name one, such as v0.1.0")
	}
	index, images, err := build(ctx, o)
	if err != nil {
		return err
	}
	if err := o.write(index, images); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s:%s@%s\n  OCI layout: %s\n", o.name, o.version, digest, o.fromRoot(filepath.Join(o.out, "oci")))
	for _, platform := range slices.Sorted(maps.Keys(images)) {
		fmt.Printf("  docker load -i %s\n", o.fromRoot(o.tarball(platform)))
	}
	return nil
}

// fromRoot is a path as it leads there from the repository, where make was run.
func (o options) fromRoot(path string) string {
	if relative, err := filepath.Rel(o.root, path); err == nil {
		return relative
	}
	return path
}

// images are those of the platforms.
type images map[string]v1.Image
