package main

import (
	"context"
	"errors"
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

func (w *world) create(r *resource) error {
	return persist(w.ctx, func() error {
		err := w.cluster.Client.Create(w.ctx, r.object())
		if apierrors.IsAlreadyExists(err) {
			return nil // an earlier attempt got no answer
		}
		return err
	})
}

func (w *world) patch(r *resource, patch string) error {
	return persist(w.ctx, func() error {
		return w.cluster.Client.Patch(w.ctx, r.object(), client.RawPatch("application/merge-patch+json", []byte(patch)))
	})
}

func (w *world) delete(r *resource) error {
	return persist(w.ctx, func() error { return client.IgnoreNotFound(w.cluster.Client.Delete(w.ctx, r.object())) })
}

func (r *resource) object() *v1alpha1.SecurityGroupPolicy {
	return &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}, Spec: r.startSpec}
}

// scene is what the API server holds, by names.
type scene struct {
	policies map[string]*v1alpha1.SecurityGroupPolicy
	claims   map[string]*v1alpha1.SecurityGroupClaim
}

func (w *world) scene(ctx context.Context) (scene, error) {
	policies, held := &v1alpha1.SecurityGroupPolicyList{}, &v1alpha1.SecurityGroupClaimList{}
	if err := errors.Join(w.cluster.Client.List(ctx, policies), w.cluster.Client.List(ctx, held)); err != nil {
		return scene{}, err
	}
	found := scene{map[string]*v1alpha1.SecurityGroupPolicy{}, map[string]*v1alpha1.SecurityGroupClaim{}}
	for i := range policies.Items {
		found.policies[policies.Items[i].Name] = &policies.Items[i]
	}
	for i := range held.Items {
		found.claims[held.Items[i].Name] = &held.Items[i]
	}
	return found, nil
}

// persist repeats what an API server that is away refuses. A request that the API
// server itself finds wrong stays so.
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
