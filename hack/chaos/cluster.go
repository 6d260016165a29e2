package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// cluster is a real kube-apiserver and etcd, the former of which can be
// restarted.
type cluster struct {
	env        *envtest.Environment
	client     client.Client
	kubeconfig string
}

// startCluster starts one with the CRDs installed.
func startCluster(dir, root string) (*cluster, error) {
	c := &cluster{env: &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		// The API server waits for its watches to end before it does, which they
		// never do of themselves: after this it is killed.
		ControlPlaneStopTimeout: time.Second,
	}}
	log, err := os.Create(filepath.Join(dir, "kube-apiserver.log"))
	if err != nil {
		return nil, err
	}
	api := c.env.ControlPlane.GetAPIServer()
	api.Out, api.Err = log, log
	// In a folder of ours the certificates outlive a restart.
	api.CertDir = filepath.Join(dir, "certificates")
	if err := os.Mkdir(api.CertDir, 0o700); err != nil {
		return nil, err
	}
	config, err := c.env.Start()
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	if err := c.connect(config, dir); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// stop ends it for good. An API server that had to be killed is no failure.
func (c *cluster) stop() error {
	if err := c.env.Stop(); err != nil && !strings.Contains(err.Error(), "timeout waiting for process") {
		return err
	}
	return nil
}

func (c *cluster) connect(config *rest.Config, dir string) error {
	config.Timeout = 5 * time.Second
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var err error
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	c.kubeconfig = filepath.Join(dir, "kubeconfig")
	return os.WriteFile(c.kubeconfig, c.env.KubeConfig, 0o600)
}

// restartAPIServer ends the API server for a while, and leaves etcd alone. It
// comes back at the same address with the same certificates.
func (w *world) restartAPIServer(outage time.Duration) error {
	api := w.cluster.env.ControlPlane.GetAPIServer()
	begun := time.Now()
	if err := api.Stop(); err != nil && !strings.Contains(err.Error(), "timeout waiting for process") {
		return fmt.Errorf("stop the API server: %w", err)
	}
	if err := pause(w.ctx, outage); err != nil {
		return err
	}
	if err := api.Start(); err != nil {
		return fmt.Errorf("start the API server again: %w", err)
	}
	w.say("the API server is back after %v", time.Since(begun).Round(time.Millisecond))
	return nil
}

// withdrawLease ends the lease of a leader that is dead, so that another takes
// over in two seconds rather than twenty.
func (c *cluster) withdrawLease(ctx context.Context) error {
	return persist(ctx, func() error {
		return client.IgnoreNotFound(c.client.Delete(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: leaseName}}))
	})
}

func (w *world) create(name string, spec v1alpha1.SecurityGroupPolicySpec) error {
	return persist(w.ctx, func() error {
		p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
		err := w.cluster.client.Create(w.ctx, p)
		if apierrors.IsAlreadyExists(err) {
			return nil // an earlier attempt got no answer
		}
		return err
	})
}

func (w *world) patch(name, patch string) error {
	return persist(w.ctx, func() error {
		p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		return w.cluster.client.Patch(w.ctx, p, client.RawPatch("application/merge-patch+json", []byte(patch)))
	})
}

// delete deletes a resource and notes what it was at that very moment. An earlier
// attempt without an answer may have deleted it already.
func (w *world) delete(r *policy) error {
	return persist(w.ctx, func() error {
		p := &v1alpha1.SecurityGroupPolicy{}
		if err := w.cluster.client.Get(w.ctx, client.ObjectKey{Namespace: namespace, Name: r.name}, p); err != nil {
			return client.IgnoreNotFound(err)
		}
		if p.DeletionTimestamp.IsZero() {
			r.atDeletion = p
		}
		return client.IgnoreNotFound(w.cluster.client.Delete(w.ctx, p, client.Preconditions{ResourceVersion: &p.ResourceVersion}))
	})
}

func (c *cluster) list(ctx context.Context) (map[string]*v1alpha1.SecurityGroupPolicy, error) {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := c.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	found := map[string]*v1alpha1.SecurityGroupPolicy{}
	for i := range list.Items {
		found[list.Items[i].Name] = &list.Items[i]
	}
	return found, nil
}

// persist repeats what an API server that is away refuses. The API server's own
// verdict on a request is final.
func persist(ctx context.Context, do func() error) error {
	for {
		err := do()
		switch {
		case err == nil, apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			return err
		case pause(ctx, 100*time.Millisecond) != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// pause waits between two looks at something that tells nobody when it changes.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
