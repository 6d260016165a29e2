// Command release writes what a release consists of into bin/release/VERSION: manifests,
// the chart, the plugin for each platform with its completion, the image, an SBOM, the
// manifest for Krew, notes and checksums. The same commit and the same Go give the same
// bytes. It publishes nothing, and needs no network once modules and tools are cached. It
// is started by `make release`, which brings the tools.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/krew"
)

// options say what to release.
type options struct {
	root, out, version string
	chartAlone         bool
	// The tools, as hack/tools/ensure.sh names them.
	cyclonedx, validate string
	platforms           []krew.Platform
}

func main() {
	o := options{platforms: krew.Platforms}
	flag.StringVar(&o.root, "root", ".", "The repository.")
	flag.StringVar(&o.out, "out", "bin/release", "Folder for releases: this one replaces its subfolder VERSION.")
	flag.StringVar(&o.version, "version", "", "Version of the release, such as v0.1.0. Required.")
	flag.BoolVar(&o.chartAlone, "chart-alone", false, "Make the chart, and nothing else.")
	flag.StringVar(&o.cyclonedx, "cyclonedx-gomod", "cyclonedx-gomod", "The tool that writes the SBOM.")
	flag.StringVar(&o.validate, "validate-krew-manifest", "validate-krew-manifest", "Krew's check of its manifest.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1) //nolint:gocritic // stop would do nothing more
	}
}

// release is one in the making.
type release struct {
	options
	made time.Time // the time of everything
	dir  string    // where it is gathered
	work string    // what is not part of it
}

func run(ctx context.Context, o options) error {
	err := krew.CheckVersion(o.version)
	if err != nil {
		return err
	}
	r := &release{options: o}
	if r.root, err = filepath.Abs(o.root); err != nil {
		return err
	}
	if r.made, err = r.date(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	// Beside its final place, which it takes when it is whole.
	if r.work, err = os.MkdirTemp(o.out, ".making-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(r.work) }()
	if r.work, err = filepath.Abs(r.work); err != nil {
		return err
	}
	r.dir = filepath.Join(r.work, o.version)
	if err := os.Mkdir(r.dir, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	if o.chartAlone {
		err = r.chart()
	} else {
		err = r.everything(ctx)
	}
	if err != nil {
		return err
	}
	final := filepath.Join(o.out, o.version)
	if err := errors.Join(os.RemoveAll(final), os.Rename(r.dir, final)); err != nil {
		return err
	}
	return list(final)
}

func (r *release) everything(ctx context.Context) error {
	// First, since it is what a release most likely lacks.
	changes, err := r.changes()
	if err != nil {
		return err
	}
	var digest string
	for _, step := range []func() error{
		r.manifests,
		r.chart,
		func() error { return r.plugins(ctx) },
		func() error { digest, err = r.image(ctx); return err },
		func() error { return r.sbom(ctx) },
		func() error { return r.krew(ctx) },
		func() error { return r.notes(ctx, changes, digest) },
		r.checksums, // of all that is there
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// date is the time that everything gets: what the caller says, or when the commit was made.
func (r *release) date(ctx context.Context) (time.Time, error) {
	text, from := os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	if text == "" {
		out, err := r.output(exec.CommandContext(ctx, "git", "-C", r.root, "log", "-1", "--format=%ct"))
		if err != nil {
			return time.Time{}, fmt.Errorf("the time of the commit: %w: make releases in a clone, or set SOURCE_DATE_EPOCH", err)
		}
		text, from = strings.TrimSpace(out), "the time of the commit"
		if changed, err := r.output(exec.CommandContext(ctx, "git", "-C", r.root, "status", "--porcelain")); err == nil && changed != "" {
			fmt.Fprintln(os.Stderr, "release: files differ from the commit, so its tag will not give the same release")
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %q is no number of seconds since 1970", from, text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// output runs a command, whose last words are in the error if it fails.
func (r *release) output(command *exec.Cmd) (string, error) {
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", filepath.Base(command.Path), err, said.String())
	}
	return string(out), nil
}

// build prepares go, with what would change its result taken out of the environment.
func (r *release) build(ctx context.Context, on krew.Platform, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = r.root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+on.OS, "GOARCH="+on.Arch, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0")
	return command
}

// write adds a file to the release.
func (r *release) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(r.dir, name), content, 0o644) //nolint:gosec // for everybody to read
}

// list says what there is.
func list(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Printf("%9d  %s\n", info.Size(), filepath.Join(dir, entry.Name()))
	}
	return nil
}
