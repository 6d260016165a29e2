package main

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// begin creates a source with its first revision, and its Kustomization.
func (w *world) begin(ctx context.Context, name string, k *unstructured.Unstructured, manifests string) (revision string, err error) {
	if err := w.cluster.Client.Create(ctx, source(name)); err != nil {
		return "", err
	}
	if revision, err = w.publish(ctx, name, "v1", manifests); err != nil {
		return "", err
	}
	return revision, w.cluster.Client.Create(ctx, k)
}

// read is a Kustomization as Flux shows it.
type read struct{ object map[string]any }

func (w *world) kustomization(ctx context.Context, name string) (read, error) {
	o := kustomization(name)
	err := w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(o), o)
	return read{o.Object}, err
}

func (r read) status() any { return r.object["status"] }

// field of the status.
func (r read) field(name string) string {
	text, _, _ := unstructured.NestedString(r.object, "status", name)
	return text
}

// condition is a field of a condition, empty if there is no such condition.
func (r read) condition(kind, field string) string {
	list, _, _ := unstructured.NestedSlice(r.object, "status", "conditions")
	for _, c := range list {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			return fmt.Sprint(c[field])
		}
	}
	return ""
}

func (w *world) untilApplied(ctx context.Context, name, revision string) error {
	return w.until(ctx, name+" is Ready", func(ctx context.Context) error {
		k, err := w.kustomization(ctx, name)
		if err == nil && (k.condition("Ready", "status") != "True" || k.field("lastAppliedRevision") != revision) {
			err = fmt.Errorf("it says %v", k.status())
		}
		return err
	})
}

// untilAppliedAgain asks Flux to apply what it has applied, and waits until it has.
func (w *world) untilAppliedAgain(ctx context.Context, name, request string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, request)
	if err := w.cluster.Client.Patch(ctx, kustomization(name), client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	return w.until(ctx, "Flux applies again", func(ctx context.Context) error {
		k, err := w.kustomization(ctx, name)
		if err == nil && (k.field("lastHandledReconcileAt") != request || k.condition("Ready", "status") != "True") {
			err = fmt.Errorf("it says %v", k.status())
		}
		return err
	})
}

// untilFailed waits until a Kustomization has failed long before its timeout, because
// of a policy.
func (w *world) untilFailed(ctx context.Context, name, because string) error {
	return w.until(ctx, name+" fails", func(ctx context.Context) error {
		k, err := w.kustomization(ctx, name)
		message := k.condition("Ready", "message")
		if err == nil && (k.condition("Ready", "reason") != "HealthCheckFailed" || !strings.Contains(message, "failed early") ||
			!strings.Contains(message, "SecurityGroupPolicy/"+namespace+"/"+because)) {
			err = fmt.Errorf("it says %v", k.status())
		}
		return err
	})
}

func (w *world) policy(ctx context.Context, name string) (*v1alpha1.SecurityGroupPolicy, error) {
	p := &v1alpha1.SecurityGroupPolicy{}
	return p, w.cluster.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, p)
}

// cloud is the inner access policy of a group.
func (w *world) cloud(group string) string {
	g, _ := w.sim.Group(region, group)
	return g.Policy
}
