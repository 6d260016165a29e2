package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// archives are what source-controller would serve.
type archives struct {
	url string

	mu    sync.Mutex
	files map[string][]byte
}

func serveArchives(ctx context.Context, r *rig.Rig) (*archives, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &archives{url: "http://" + listener.Addr().String() + "/", files: map[string][]byte{}}
	server := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	r.OnClose(server.Close)
	return a, nil
}

func (a *archives) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	file, found := a.files[strings.TrimPrefix(r.URL.Path, "/")]
	a.mu.Unlock()
	if !found {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(file)
}

// put has an archive with one manifest served.
func (a *archives) put(path, manifest string) (size int, digest string, err error) {
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipped)
	if err := archive.WriteHeader(&tar.Header{Name: "manifests.yaml", Mode: 0o644, Size: int64(len(manifest))}); err != nil {
		return 0, "", err
	}
	if _, err := archive.Write([]byte(manifest)); err != nil {
		return 0, "", err
	}
	if err := archive.Close(); err != nil {
		return 0, "", err
	}
	if err := zipped.Close(); err != nil {
		return 0, "", err
	}
	a.mu.Lock()
	a.files[path] = buffer.Bytes()
	a.mu.Unlock()
	return buffer.Len(), fmt.Sprintf("sha256:%x", sha256.Sum256(buffer.Bytes())), nil
}

func fluxObject(apiVersion, kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "spec": spec}}
	o.SetNamespace(fluxNamespace)
	o.SetName(name)
	return o
}

func source(name string) *unstructured.Unstructured {
	return fluxObject("source.toolkit.fluxcd.io/v1", "OCIRepository", name, map[string]any{"interval": "1h", "url": "oci://registry.example.com/" + name})
}

func kustomization(name string) *unstructured.Unstructured {
	return fluxObject("kustomize.toolkit.fluxcd.io/v1", "Kustomization", name, map[string]any{
		"interval": "1h", "path": "./", "prune": true, "wait": true, "timeout": "10m",
		"sourceRef": map[string]any{"kind": "OCIRepository", "name": name},
	})
}

// publish makes manifests the newest revision of a source, as source-controller does.
func (w *world) publish(ctx context.Context, name, revision, manifest string) (full string, err error) {
	path := name + "/" + revision + ".tar.gz"
	size, digest, err := w.archives.put(path, manifest)
	if err != nil {
		return "", err
	}
	full = revision + "@" + digest
	o := source(name)
	if err := w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return "", err
	}
	now := time.Now().UTC().Format(time.RFC3339)
	o.Object["status"] = map[string]any{
		"observedGeneration": o.GetGeneration(),
		"artifact": map[string]any{"path": path, "url": w.archives.url + path, "revision": full, "digest": digest,
			"size": int64(size), "lastUpdateTime": now},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact",
			"lastTransitionTime": now, "observedGeneration": o.GetGeneration()}},
	}
	return full, w.cluster.Client.Status().Update(ctx, o)
}

// moduleDir is where the source of a module is, which is downloaded if need be.
func moduleDir(ctx context.Context, folder, module string) (string, error) {
	for _, args := range [][]string{{"mod", "download", module}, {"list", "-m", "-f", "{{.Dir}}", module}} {
		command := exec.CommandContext(ctx, "go", args...)
		command.Dir = folder
		out, err := command.Output()
		if err != nil {
			return "", fmt.Errorf("go %s in %s: %w", strings.Join(args, " "), folder, err)
		}
		if text := strings.TrimSpace(string(out)); text != "" {
			return text, nil
		}
	}
	return "", fmt.Errorf("%s has no folder", module)
}
