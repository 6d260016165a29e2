package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sgp-operator/sgp-operator/hack/internal/krew"
)

// manager is where the binary of a platform is built.
func (r *release) manager(on krew.Platform) string {
	return filepath.Join(r.work, "built", on.OS+"-"+on.Arch, "manager")
}

func (r *release) compile(ctx context.Context, on krew.Platform) error {
	stamped := "-ldflags=-s -w -X github.com/sgp-operator/sgp-operator/internal/version.stamped=" + r.version
	fmt.Printf("release: go build for %s/%s\n", on.OS, on.Arch)
	_, err := r.output(r.build(ctx, on, "build", "-trimpath", "-buildvcs=false", stamped, "-o", r.manager(on), "."))
	return err
}

// plugins builds for each platform, and packs it with what goes with it.
func (r *release) plugins(ctx context.Context) error {
	here := krew.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
	for _, on := range append([]krew.Platform{here}, r.platforms...) {
		if _, err := os.Stat(r.manager(on)); err == nil {
			continue
		}
		if err := r.compile(ctx, on); err != nil {
			return err
		}
	}
	beside, err := r.completion(ctx, r.manager(here))
	if err != nil {
		return err
	}
	license, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return err
	}
	complete, err := os.ReadFile(filepath.Join(r.root, "hack", "krew", "kubectl_complete-alicloud_sgp"))
	if err != nil {
		return err
	}
	for _, on := range r.platforms {
		binary, err := os.ReadFile(r.manager(on))
		if err != nil {
			return err
		}
		files := append([]file{{name: "LICENSE", content: license}, {name: on.Binary(), content: binary, program: true}}, beside...)
		pack := zipped
		if on.OS != "windows" { // which runs no shell script
			files, pack = append(files, file{name: "kubectl_complete-alicloud_sgp", content: complete, program: true}), gzipped
		}
		packed, err := pack(files, r.made)
		if err != nil {
			return err
		}
		if err := r.write(on.Archive(), packed); err != nil {
			return err
		}
	}
	return nil
}

// completion is what the binary says for each shell, under the name that the shell looks
// for. It completes the name manager; the plugin's is completed through kubectl.
func (r *release) completion(ctx context.Context, manager string) (files []file, err error) {
	for _, of := range []struct{ shell, file string }{
		{"zsh", "_manager"}, {"bash", "manager.bash"}, {"fish", "manager.fish"}, {"powershell", "manager.ps1"},
	} {
		text, err := r.output(exec.CommandContext(ctx, manager, "completion", of.shell))
		if err != nil {
			return nil, fmt.Errorf("completion for %s: %w", of.shell, err)
		}
		files = append(files, file{name: "completion/" + of.file, content: []byte(text)})
	}
	return files, nil
}

// image has hack/image build the image, adds what it wrote to the release, and returns the
// digest that all platforms share.
func (r *release) image(ctx context.Context) (digest string, err error) {
	var platforms []string
	for _, p := range r.platforms {
		if p.OS == "linux" {
			platforms = append(platforms, p.OS+"/"+p.Arch)
		}
	}
	fmt.Println("release: the image")
	built := filepath.Join(r.work, "image")
	command := r.build(ctx, krew.Platform{}, "run", ".", "-root", r.root, "-out", built, "-name", imageName, "-version", r.version, "-platforms", strings.Join(platforms, ","))
	command.Dir = filepath.Join(r.root, "hack", "image")
	if _, err := r.output(command); err != nil {
		return "", err
	}
	tarballs, err := filepath.Glob(filepath.Join(built, "*.tar"))
	if err != nil {
		return "", err
	}
	for _, path := range tarballs {
		if err := os.Rename(path, filepath.Join(r.dir, filepath.Base(path))); err != nil {
			return "", err
		}
	}
	layout, err := tree(filepath.Join(built, "oci"), "", nil)
	if err != nil {
		return "", err
	}
	var index struct{ Manifests []struct{ Digest string } }
	for _, f := range layout {
		if f.name == "index.json" {
			err = json.Unmarshal(f.content, &index)
		}
	}
	if err != nil {
		return "", fmt.Errorf("index.json of the image: %w", err)
	}
	if len(index.Manifests) != 1 {
		return "", fmt.Errorf("index.json of the image has %d entries, and not the one for all platforms", len(index.Manifests))
	}
	var packed bytes.Buffer
	if err := tarball(&packed, layout, r.made); err != nil {
		return "", err
	}
	return index.Manifests[0].Digest, r.write("sgp-operator-"+r.version+"-oci.tar", packed.Bytes())
}

// sbom lists what is linked into the manager of the first platform; the others differ in
// a module or two that belong to their system.
func (r *release) sbom(ctx context.Context) error {
	text, err := r.output(exec.CommandContext(ctx, r.cyclonedx, "bin", "-json", "-std", "-notimestamp", "-noserial", "-version", r.version, r.manager(r.platforms[0])))
	if err != nil {
		return err
	}
	// The tool names the checksums of its own binary, which is another on each machine.
	var bom map[string]any
	if err := json.Unmarshal([]byte(text), &bom); err != nil {
		return err
	}
	metadata, _ := bom["metadata"].(map[string]any)
	tools, _ := metadata["tools"].([]any)
	for _, tool := range tools {
		if fields, ok := tool.(map[string]any); ok {
			delete(fields, "hashes")
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(bom); err != nil {
		return err
	}
	return r.write("sgp-operator.cdx.json", out.Bytes())
}

// krew writes the plugin's manifest, and has Krew read it.
func (r *release) krew(ctx context.Context) error {
	manifest, err := krew.Manifest(r.version, r.dir, krew.Homepage+"/releases/download", r.platforms)
	if err != nil {
		return err
	}
	const name = "alicloud-sgp.yaml"
	if err := r.write(name, manifest); err != nil {
		return err
	}
	_, err = r.output(exec.CommandContext(ctx, r.validate, "-skip-install", "-manifest", filepath.Join(r.dir, name)))
	return err
}
