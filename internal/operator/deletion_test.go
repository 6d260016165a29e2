package operator_test

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	contract "github.com/sgp-operator/sgp-operator/internal/policy"
)

func (w *world) deletePolicy(name string) {
	w.t.Helper()
	if err := api.Delete(w.t.Context(), w.get(name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) awaitGone(name string) {
	w.t.Helper()
	w.eventually(name+" is gone", func() bool {
		err := api.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, &policy{})
		return apierrors.IsNotFound(err)
	}, func() string { return "still there" })
}

func restore(p *policy) { p.Spec.DeletionPolicy = v1alpha1.DeletionRestore }

func TestRestorePutsTheOriginalBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if !controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore) {
		t.Error("no finalizer although there is something to put back")
	}
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Accept", 2)
	w.awaitEvent("p", v1alpha1.EventRestored)
}

// TestFinalizersOfOthersAreKept has more of them than the cache holds.
func TestFinalizersOfOthersAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore, func(p *policy) {
		for i := range 30 {
			p.Finalizers = append(p.Finalizers, fmt.Sprintf("example.com/f-%d", i))
		}
	})
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if !controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore) || len(p.Finalizers) != 31 {
		t.Errorf("finalizers %v", p.Finalizers)
	}
	w.deletePolicy("p")
	w.await("p", "our finalizer is gone", func(p *policy) bool { return !controllerutil.ContainsFinalizer(p, v1alpha1.FinalizerRestore) })
	if p := w.get("p"); len(p.Finalizers) != 30 {
		t.Errorf("finalizers %v", p.Finalizers)
	}
	w.cloudIs("sg-1", "Accept", 2)
}

func TestRestoreAsksForNoFinalizerWhereNothingWasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	if p := w.awaitReason("p", v1alpha1.ReasonInSync); len(p.Finalizers) != 0 {
		t.Errorf("finalizers %v", p.Finalizers)
	}
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Drop", 0)
}

func TestTheFinalizerFollowsTheDeletionPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop")
	w.start()
	if p := w.awaitReason("p", v1alpha1.ReasonInSync); len(p.Finalizers) != 0 {
		t.Errorf("a finalizer without Restore: %v", p.Finalizers)
	}
	w.edit("p", restore)
	w.await("p", "has the finalizer", func(p *policy) bool { return len(p.Finalizers) == 1 })
	w.edit("p", func(p *policy) { p.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	w.await("p", "has no finalizer", func(p *policy) bool { return len(p.Finalizers) == 0 })
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Drop", 1)
}

func TestRestoreLeavesAGroupThatSomebodyElseHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.policy("p", "sg-1", "Accept", restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Drop" })
	w.await("p", "drops", func(p *policy) bool {
		return p.Status.InnerAccessPolicy == "Drop" && apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady)
	})
	fake.SetTime(fake.Now().Add(contract.Lag)) // before that, the other's value may be an old read
	w.sim.SetPolicy(w.region, "sg-1", "Accept")
	w.deletePolicy("p")
	w.awaitGone("p")
	w.cloudIs("sg-1", "Accept", 2)
	w.awaitEvent("p", v1alpha1.EventRestoreSkipped)
}

func TestRestoreWaitsForTheCloudAndCanBeAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Status: 403, Code: "Forbidden.RAM"})
	w.deletePolicy("p")
	p := w.await("p", "says why it waits", func(p *policy) bool { return p.Status.LastError != nil })
	if ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); ready.Reason != v1alpha1.ReasonAccessDenied {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	w.edit("p", func(p *policy) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationAbandon, "true") })
	w.awaitGone("p")
	w.cloudIs("sg-1", "Drop", 1)
	w.awaitEvent("p", v1alpha1.EventRestoreSkipped)
}

func TestRestoreLetsGoWhenTheGroupIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.DeleteGroup(w.region, "sg-1")
	w.deletePolicy("p")
	w.awaitGone("p")
}

func TestACrashWhileRestoringRestoresOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.policy("p", "sg-1", "Drop", restore)
	stop := w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangAfter, Action: modify, Times: 1})
	w.deletePolicy("p")
	w.eventually("the call is under way", func() bool { return w.calls(modify, "sg-1") == 2 }, func() string { return "" })
	stop()
	w.start()
	w.awaitGone("p")
	w.cloudIs("sg-1", "Accept", 2)
}
