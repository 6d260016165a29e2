package main

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// restartAPIServer ends the API server for a while, and leaves etcd alone. It
// comes back at the same address with the same certificates.
func (w *world) restartAPIServer(outage time.Duration) error {
	begun := time.Now()
	if err := w.cluster.StopAPIServer(); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	if err := rig.Pause(w.ctx, outage); err != nil {
		return err
	}
	if err := w.cluster.StartAPIServer(); err != nil {
		return fmt.Errorf("start the API server again: %w", err)
	}
	w.say("the API server is back after %v", time.Since(begun).Round(time.Millisecond))
	return nil
}

// withdrawLease ends the lease of a leader that is dead, so that another takes
// over in two seconds rather than twenty.
func (w *world) withdrawLease(ctx context.Context) error {
	return persist(ctx, func() error {
		return client.IgnoreNotFound(w.cluster.Client.Delete(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: rig.ManagerNamespace, Name: leaseName}}))
	})
}

func (w *world) create(name string, spec v1alpha1.SecurityGroupPolicySpec) error {
	return persist(w.ctx, func() error {
		p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
		err := w.cluster.Client.Create(w.ctx, p)
		if apierrors.IsAlreadyExists(err) {
			return nil // an earlier attempt got no answer
		}
		return err
	})
}

func (w *world) patch(name, patch string) error {
	return persist(w.ctx, func() error {
		p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		return w.cluster.Client.Patch(w.ctx, p, client.RawPatch("application/merge-patch+json", []byte(patch)))
	})
}

// delete deletes a resource and notes what it was at that very moment. An earlier
// attempt without an answer may have deleted it already.
func (w *world) delete(r *policy) error {
	return persist(w.ctx, func() error {
		p := &v1alpha1.SecurityGroupPolicy{}
		if err := w.cluster.Client.Get(w.ctx, client.ObjectKey{Namespace: namespace, Name: r.name}, p); err != nil {
			return client.IgnoreNotFound(err)
		}
		if p.DeletionTimestamp.IsZero() {
			r.atDeletion = p
		}
		return client.IgnoreNotFound(w.cluster.Client.Delete(w.ctx, p, client.Preconditions{ResourceVersion: &p.ResourceVersion}))
	})
}

func (w *world) list(ctx context.Context) (map[string]*v1alpha1.SecurityGroupPolicy, error) {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := w.cluster.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
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
		case rig.Pause(ctx, 100*time.Millisecond) != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
