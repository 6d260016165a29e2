package controllers

import (
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

func TestOneGroupHasOneOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	first := w.policy("older", "sg-1", "Drop")
	w.start()
	w.awaitReason("older", v1alpha1.ReasonInSync)
	// Within one second the UID decides; this is about the age.
	w.eventually("a second has passed", func() bool { return time.Since(first.CreationTimestamp.Time) > time.Second }, func() string { return "" })
	w.policy("younger", "sg-1", "Accept")
	p := w.awaitReason("younger", v1alpha1.ReasonConflict)
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if !strings.Contains(ready.Message, w.namespace+"/older") {
		t.Errorf("the message does not name the owner: %q", ready.Message)
	}
	w.cloudIs("sg-1", "Drop", 0)
	if err := api.Delete(t.Context(), w.get("older")); err != nil {
		t.Fatal(err)
	}
	w.awaitReason("younger", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Accept", 1)
}

func TestTwoNewResourcesOfOneGroupDoNotFight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	a, b := w.policy("a", "sg-1", "Drop"), w.policy("b", "sg-1", "Accept")
	w.start()
	w.awaitOneOwner(a, b)
}

// awaitOneOwner waits until the older of a, which wants the group sg-1 to stay at
// Drop, and b, which wants Accept, owns it and the other one says Conflict.
func (w *world) awaitOneOwner(a, b *policy) {
	w.t.Helper()
	winner, loser, want, changes := a.Name, b.Name, "Drop", 0
	if older(claimantOf(b), claimantOf(a)) {
		winner, loser, want, changes = b.Name, a.Name, "Accept", 1
	}
	w.awaitReason(winner, v1alpha1.ReasonInSync)
	w.awaitReason(loser, v1alpha1.ReasonConflict)
	w.cloudIs("sg-1", want, changes)
}

func TestAResourceThatCannotReachAGroupOwnsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("squatter", "sg-1", "Accept", func(p *policy) { p.Spec.AccountRef = &v1alpha1.AccountReference{Name: "not-mine"} })
	w.start()
	w.awaitReason("squatter", v1alpha1.ReasonAccountNotReady)
	w.policy("rightful", "sg-1", "Drop")
	w.awaitReason("rightful", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 0)
}
