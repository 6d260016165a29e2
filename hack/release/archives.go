package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// file is one in an archive.
type file struct {
	name    string
	content []byte
	program bool // may be executed
}

func (f file) mode() fs.FileMode {
	if f.program {
		return 0o755
	}
	return 0o644
}

// tarball packs files, with nothing in it of the machine that packs them.
func tarball(out io.Writer, files []file, made time.Time) error {
	w := tar.NewWriter(out)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: int64(f.mode()), Size: int64(len(f.content)), ModTime: made, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(f.content); err != nil {
			return err
		}
	}
	return w.Close()
}

// gzipped is a tarball, compressed.
func gzipped(files []file, made time.Time) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression) // of its header it fills in no time and no name
	if err != nil {
		return nil, err
	}
	err = errors.Join(tarball(w, files, made), w.Close())
	return out.Bytes(), err
}

// zipped is the same for Windows.
func zipped(files []file, made time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: made}
		header.SetMode(f.mode())
		entry, err := w.CreateHeader(header)
		if err == nil {
			_, err = entry.Write(f.content)
		}
		if err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// tree are the files of a folder, in order, named below prefix, without those whose base
// name matches a pattern.
func tree(folder, prefix string, without []string) (files []file, err error) {
	in := os.DirFS(folder)
	err = fs.WalkDir(in, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		for _, pattern := range without {
			if match, err := path.Match(pattern, entry.Name()); err != nil || match {
				return err
			}
		}
		content, err := fs.ReadFile(in, name)
		files = append(files, file{name: path.Join(prefix, name), content: content})
		return err
	})
	return files, err
}
