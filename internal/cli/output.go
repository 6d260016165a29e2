package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const kustomization = "kustomization.yaml"

// target is where manifests go: a folder, a file, or standard output.
type target struct {
	folder, file string
	force        bool
}

func (t target) String() string {
	switch {
	case t.folder != "":
		return t.folder
	case t.file != "":
		return t.file
	}
	return "standard output"
}

// toStdout is the file that is standard output, as for other tools.
const toStdout = "-"

// check tells whether the target can be written, and nothing of anybody's is overwritten,
// before any work is done.
func (t *target) check() error {
	switch {
	case t.folder != "" && t.file != "":
		return misused("-f and -o contradict each other: write a folder or a file")
	case t.folder != "":
		return t.checkFolder()
	case t.file == toStdout:
		t.file = ""
	case t.file != "":
		return t.checkFile()
	}
	return nil
}

func (t *target) checkFolder() error {
	const remedy = "name a folder that is empty, or does not exist"
	info, err := os.Stat(t.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return misused("-f: %w: %s", err, remedy)
	case !info.IsDir():
		return misused("-f: %s is no folder: %s", t.folder, remedy)
	}
	entries, err := os.ReadDir(t.folder)
	switch {
	case err != nil:
		return misused("-f: %w: %s", err, remedy)
	case len(entries) > 0 && !t.force:
		return misused("-f: %s holds files already, such as %s: choose another folder, or --force", t.folder, entries[0].Name())
	}
	return nil
}

func (t *target) checkFile() error {
	const remedy = "make it, or name another file"
	folder := filepath.Dir(t.file)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return misused("-o: there is no folder %s: %s", folder, remedy)
	case err != nil:
		return misused("-o: %w: %s", err, remedy)
	case !info.IsDir():
		return misused("-o: %s is no folder: %s", folder, remedy)
	}
	if _, err := os.Lstat(t.file); err != nil {
		return nil // nothing is there
	}
	// A device or a folder, or a link to one, is never replaced.
	if info, err := os.Stat(t.file); err == nil && !info.Mode().IsRegular() {
		return misused("-o: %s is no file: name a file", t.file)
	}
	if !t.force {
		return misused("-o: %s exists: choose another file, or --force", t.file)
	}
	return nil
}

// write writes all manifests, and returns how many.
func (t target) write(ctx context.Context, all []manifest, s stamp, stdout io.Writer) (written int, err error) {
	switch {
	case len(all) == 0:
		return 0, nil
	case t.folder != "":
		return t.writeFolder(ctx, all, s)
	case t.file != "":
		root, err := os.OpenRoot(filepath.Dir(t.file))
		if err != nil {
			return 0, fmt.Errorf("-o: %w", err)
		}
		defer func() { _ = root.Close() }()
		err = t.create(root, filepath.Base(t.file), func(w io.Writer) (err error) {
			written, err = stream(ctx, w, all, s)
			return err
		})
		return written, err
	}
	return stream(ctx, stdout, all, s)
}

// stream writes all manifests one after the other.
func stream(ctx context.Context, w io.Writer, all []manifest, s stamp) (written int, err error) {
	for i, m := range all {
		if ctx.Err() != nil {
			return i, errStopped
		}
		if i > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return i, err
			}
		}
		if err := m.write(w, s); err != nil {
			return i, err
		}
	}
	return len(all), nil
}

func (t target) writeFolder(ctx context.Context, all []manifest, s stamp) (written int, err error) {
	if err := os.MkdirAll(t.folder, 0o755); err != nil { //nolint:gosec // manifests are for everybody to read
		return 0, fmt.Errorf("-f: %w", err)
	}
	root, err := os.OpenRoot(t.folder)
	if err != nil {
		return 0, fmt.Errorf("-f: %w", err)
	}
	defer func() { _ = root.Close() }()
	for i, m := range all {
		if ctx.Err() != nil {
			return i, errStopped
		}
		if err := t.create(root, m.resource+".yaml", func(w io.Writer) error { return m.write(w, s) }); err != nil {
			return i, err
		}
	}
	return len(all), t.create(root, kustomization, func(w io.Writer) error {
		_, err := io.WriteString(w, "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
		for _, m := range all {
			if err == nil {
				_, err = io.WriteString(w, "- "+m.resource+".yaml\n")
			}
		}
		return err
	})
}

// create writes a new file. With --force it takes the place of another, and of a link
// rather than of what that leads to.
func (t target) create(root *os.Root, name string, content func(io.Writer) error) error {
	if t.force {
		if info, err := root.Lstat(name); err == nil && info.Mode().Type()&^fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is no file: move it away, or choose another folder", filepath.Join(root.Name(), name))
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	return errors.Join(content(out), out.Flush(), file.Close())
}
