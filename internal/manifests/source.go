package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// maxFile bounds what is read of one file: a hundred thousand resources.
const maxFile = 64 << 20

// reader gathers what is read.
type reader struct {
	ctx       context.Context //nolint:containedctx // of one Read
	schemas   schemas
	resources []Resource
	problems  []Problem
	named     map[string]Place // by kind, namespace and name
}

func (r *reader) fail(place Place, reason string, err error, remedy string) {
	r.problems = append(r.problems, Problem{Place: place, Reason: reason, Message: oneLine(err.Error()), Remedy: remedy})
}

// file reads a file, standard input, or the files of a folder.
func (r *reader) file(name string, stdin io.Reader) {
	if name == "-" {
		r.read(name, stdin)
		return
	}
	entries, err := os.ReadDir(name)
	if err != nil { // no folder, or nothing at all: then opening it says so
		r.open(name)
		return
	}
	for _, entry := range entries {
		if path := filepath.Join(name, entry.Name()); !entry.IsDir() && isManifest(path) {
			r.open(path)
		}
	}
}

// tree reads the files of a folder and of those below.
func (r *reader) tree(name string) {
	err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && (isManifest(path) || path == name) {
			r.open(path)
		}
		return nil
	})
	if err != nil {
		r.fail(Place{File: name}, Unreadable, cause(err), "name a folder that can be read")
	}
}

func isManifest(path string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path))
}

func (r *reader) open(name string) {
	file, err := os.Open(name) //nolint:gosec // the file that the user names
	if err != nil {
		r.fail(Place{File: name}, Unreadable, cause(err), "name a file that can be read")
		return
	}
	defer func() { _ = file.Close() }()
	r.read(name, file)
}

func (r *reader) read(name string, from io.Reader) {
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("is longer than %d MiB", maxFile>>20)
	}
	if err != nil {
		r.fail(Place{File: name}, Unreadable, cause(err), "split it, or name a file that can be read")
		return
	}
	for _, d := range documents(name, text) {
		r.document(d)
	}
}

// kustomization reads what kustomize builds of a folder. It has no lines.
func (r *reader) kustomization(name string) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), name)
	if err != nil {
		r.fail(Place{File: name}, Unreadable, err, "see that `kubectl kustomize "+name+"` succeeds")
		return
	}
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			r.fail(Place{File: name}, BadYAML, err, "")
			continue
		}
		r.document(&document{file: name, text: text, first: -1})
	}
}

// cause is an error without the path, which is said anyway.
func cause(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// separator begins a document.
var separator = []byte("---")

// documents splits a file where a line begins with three hyphens.
func documents(file string, text []byte) (all []*document) {
	start, first, line := 0, 1, 1
	add := func(end int) {
		if d := (&document{file: file, text: text[start:end], first: first}); d.mayConcern() {
			all = append(all, d)
		}
	}
	for at := 0; at < len(text); line++ {
		end := len(text)
		if newline := bytes.IndexByte(text[at:], '\n'); newline >= 0 {
			end = at + newline + 1
		}
		if rest, is := bytes.CutPrefix(text[at:end], separator); is && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0) {
			add(at)
			start, first = at, line
		}
		at = end
	}
	add(len(text))
	return all
}
