package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the one that the binary runs as: by number, so that Kubernetes can tell that it
// is not root.
const user = "65532:65532"

// made is the time of everything: a date of its own would make each build another image.
var made = time.Unix(0, 0).UTC()

// build builds the image of each platform, and the index of all.
func build(ctx context.Context, o options) (v1.ImageIndex, images, error) {
	built := images{}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range o.platforms {
		goos, arch, ok := strings.Cut(platform, "/")
		if !ok || goos != "linux" {
			return nil, nil, fmt.Errorf("--platforms: %q is none: write linux/amd64 or linux/arm64", platform)
		}
		binary, err := compile(ctx, o, arch)
		if err != nil {
			return nil, nil, err
		}
		image, err := o.image(binary, arch)
		if err != nil {
			return nil, nil, err
		}
		built[platform] = image
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: goos, Architecture: arch},
		}})
	}
	return index, built, nil
}

// flags are those that make a build depend on the sources, the version and the compiler
// alone.
func flags(version string) []string {
	return []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -X github.com/sgp-operator/sgp-operator/internal/version.stamped=" + version}
}

// compile returns the binary for an architecture.
func compile(ctx context.Context, o options, arch string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "sgp-image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	out := filepath.Join(folder, "manager")
	command := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags(o.version)...), "-o", out, ".")...)
	command.Dir = o.root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if text, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build for %s: %w\n%s", arch, err, text)
	}
	return os.ReadFile(out)
}

// image is one from scratch, of one layer.
func (o options) image(binary []byte, arch string) (v1.Image, error) {
	content, err := files(binary)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.User, config.Config.Entrypoint, config.Config.WorkingDir = user, []string{"/manager"}, "/"
	config.Config.Labels = map[string]string{
		"org.opencontainers.image.title":       "sgp-operator",
		"org.opencontainers.image.description": "Keeps the inner access policy of Alibaba Cloud ECS security groups as declared",
		"org.opencontainers.image.source":      "https://github.com/sgp-operator/sgp-operator",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     o.version,
	}
	if o.revision != "" {
		config.Config.Labels["org.opencontainers.image.revision"] = o.revision
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	return mutate.CreatedAt(image, v1.Time{Time: made})
}

// files are what is in the image, as a tar: the binary, the roots of TLS, and a user to
// look up.
func files(binary []byte) ([]byte, error) {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // what a file of certificates cannot say
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range []struct {
		name string
		mode int64
		text []byte
	}{
		{"etc/", 0o755, nil},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, roots.Bytes()},
		{"manager", 0o755, binary},
	} {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text)), ModTime: made, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if f.text == nil {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

func (o options) tarball(platform string) string {
	return filepath.Join(o.out, "sgp-operator-"+o.version+"-"+strings.ReplaceAll(platform, "/", "-")+".tar")
}

// write writes the layout and the tarballs.
func (o options) write(index v1.ImageIndex, built images) error {
	oci := filepath.Join(o.out, "oci")
	if err := os.RemoveAll(oci); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	path, err := layout.Write(oci, empty.Index)
	if err != nil {
		return err
	}
	// Tools that unpack a layout look for a tag.
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": o.version})); err != nil {
		return err
	}
	tag, err := name.NewTag(o.name + ":" + o.version)
	if err != nil {
		return fmt.Errorf("--name and --version: %w", err)
	}
	for platform, image := range built {
		if err := tarball.WriteToFile(o.tarball(platform), tag, image); err != nil {
			return err
		}
	}
	return nil
}
