package operator_test

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// The field managers of Flux and Argo CD.
const (
	fluxManager = "kustomize-controller"
	argoManager = "argocd-controller"
)

// manifest is what a user has in git.
func (w *world) manifest(more map[string]any) *unstructured.Unstructured {
	spec := map[string]any{"regionId": w.region, "securityGroupId": theGroup, "innerAccessPolicy": "drop", "deletionPolicy": "Restore"}
	for field, value := range more {
		spec[field] = value
	}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityGroupPolicy"))
	o.SetNamespace(w.namespace)
	o.SetName(subject)
	return o
}

// apply applies a manifest as a GitOps tool does, and tells the version that it leaves.
func (w *world) apply(o *unstructured.Unstructured, manager string, options ...client.ApplyOption) (version string) {
	w.t.Helper()
	o = o.DeepCopy()
	if err := api.Apply(w.t.Context(), client.ApplyConfigurationFromUnstructured(o), append(options, client.FieldOwner(manager))...); err != nil {
		w.t.Fatalf("%s applies: %v", manager, err)
	}
	return o.GetResourceVersion()
}

func TestApplyingTheSameManifestAgainWritesNothing(t *testing.T) {
	t.Parallel()
	w := stateWorld(t)
	manifest := w.manifest(nil)
	w.apply(manifest, fluxManager)
	w.start()
	p := w.awaitReason(subject, v1alpha1.ReasonInSync)
	if !controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore) {
		t.Fatal("the operator has no finalizer that could be taken away")
	}
	// Flux compares a dry run, then applies by force.
	for _, options := range [][]client.ApplyOption{{client.DryRunAll}, {client.ForceOwnership}, nil} {
		if version := w.apply(manifest, fluxManager, options...); version != p.ResourceVersion {
			t.Errorf("applying again with %v writes", options)
		}
	}
	// Without force: nobody else owns a field of the manifest.
	first := w.apply(manifest, argoManager)
	if again := w.apply(manifest, argoManager); again != first {
		t.Error("a second tool writes each time")
	}
	if version := w.apply(manifest, fluxManager, client.ForceOwnership); version != first {
		t.Error("two tools with the same manifest write in turns")
	}
	p = w.reconcileNow(subject)
	if p.Generation != 1 || !controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore) || p.Status.InnerAccessPolicy != "Drop" {
		t.Errorf("generation %d, finalizers %v, status %+v", p.Generation, p.Finalizers, p.Status)
	}
	w.cloudIs(theGroup, "Drop", 1)
}

func TestTheOperatorOwnsNoFieldOfASpec(t *testing.T) {
	t.Parallel()
	w := stateWorld(t)
	w.apply(w.manifest(nil), fluxManager)
	w.start()
	w.awaitReason(subject, v1alpha1.ReasonInSync)
	// An edit by another tool without force meets Flux alone.
	edited := w.manifest(map[string]any{"innerAccessPolicy": "Accept"})
	err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(edited), client.FieldOwner(argoManager))
	if status, ok := errors.AsType[*apierrors.StatusError](err); !ok || !apierrors.IsConflict(err) || len(status.Status().Details.Causes) != 1 ||
		!strings.Contains(status.Status().Details.Causes[0].Message, fluxManager) {
		t.Errorf("the edit meets %v", err)
	}
	// Flux alone takes it back.
	w.apply(w.manifest(map[string]any{"innerAccessPolicy": "Accept"}), fluxManager)
	w.await(subject, "accepts", func(p *policy) bool { return p.Status.InnerAccessPolicy == "Accept" })
}

// TestASuspensionByHandOutlivesTheNextApply is why docs/gitops.md has the field left out.
func TestASuspensionByHandOutlivesTheNextApply(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		inGit map[string]any
		want  bool
	}{
		"the manifest does not name suspend": {nil, true},
		"the manifest says suspend: false":   {map[string]any{"suspend": false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecssim.Group{ID: theGroup, Policy: "Drop"})
			w.apply(w.manifest(c.inGit), argoManager, client.ForceOwnership)
			w.edit(subject, suspendIt)
			w.apply(w.manifest(c.inGit), argoManager, client.ForceOwnership)
			if got := w.get(subject).Spec.Suspend; got != c.want {
				t.Errorf("suspended: %v, want %v", got, c.want)
			}
		})
	}
}
