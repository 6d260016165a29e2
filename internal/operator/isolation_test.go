package operator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

func verified(p *policy) { p.Spec.VerifyIsolation = true }

// awaitIsolated waits for a verdict.
func (w *world) awaitIsolated(name string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	w.t.Helper()
	p := w.await(name, "Isolated "+string(status)+" "+reason, func(p *policy) bool {
		c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionIsolated)
		return c != nil && c.Status == status && c.Reason == reason && c.ObservedGeneration == p.Generation
	})
	return apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionIsolated)
}

// isolationWorld has two instances in sg-1, whose policy is Drop, in a VPC.
func isolationWorld(t *testing.T, groups ...ecssim.Group) *world {
	t.Helper()
	w := newWorld(t, append(groups, ecssim.Group{ID: "sg-1", Policy: "Drop", VpcID: "vpc-1"})...)
	for _, id := range []string{"i-a", "i-b"} {
		in := []string{"sg-1"}
		for _, g := range groups {
			in = append(in, g.ID)
		}
		w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: id, VpcID: "vpc-1", Groups: in, Addresses: []string{map[string]string{"i-a": "10.0.0.1", "i-b": "10.0.0.2"}[id]}})
	}
	return w
}

func TestIsolatedIsTrueWhereNothingConnectsMembers(t *testing.T) {
	t.Parallel()
	w := isolationWorld(t)
	w.sim.PutGroup(ecssim.Group{Region: w.region, ID: "sg-1", Policy: "Drop", VpcID: "vpc-1", OwnRules: []ecssim.Rule{{Protocol: "TCP", Ports: "443/443", CIDR: "192.168.0.0/16"}}})
	w.policy("p", "sg-1", "Drop", verified)
	w.start()
	c := w.awaitIsolated("p", metav1.ConditionTrue, v1alpha1.ReasonNoPath)
	if !strings.Contains(c.Message, "load balancers") {
		t.Errorf("what always passes is not said: %s", c.Message)
	}
	w.awaitReason("p", v1alpha1.ReasonInSync)
	// The status holds still meanwhile.
	seen := w.get("p").Status.Conditions

	// At rest a verdict costs nothing: the rules ride on the read, and the interfaces are
	// read once in an hour.
	before := w.sim.CallCount(ecs.ActionObserve)
	w.reconcileNow("p")
	w.reconcileNow("p")
	if reads, all := w.sim.CallCount(ecs.ActionObserve)-before, w.sim.CallCount(ecs.ActionInterfaces); reads != 2 || all != 1 {
		t.Errorf("%d reads of the group, %d of interfaces", reads, all)
	}
	if diff := cmp.Diff(seen, w.get("p").Status.Conditions); diff != "" {
		t.Errorf("-before +after\n%s", diff)
	}
}

func TestIsolatedIsFalseWithTheEvidence(t *testing.T) {
	t.Parallel()
	w := isolationWorld(t, ecssim.Group{ID: "sg-shared", Policy: "Accept", VpcID: "vpc-1"})
	w.sim.PutGroup(ecssim.Group{Region: w.region, ID: "sg-1", Policy: "Drop", VpcID: "vpc-1", OwnRules: []ecssim.Rule{
		{ID: "sgr-ssh", Protocol: "TCP", Ports: "22/22", CIDR: "10.0.0.0/8"}, {ID: "sgr-list", PrefixListID: "pl-1"}, {ID: "sgr-group", GroupID: "sg-shared"}}})
	w.sim.PutPrefixList(ecssim.PrefixList{Region: w.region, ID: "pl-1", Entries: []string{"10.0.0.2/32"}})
	w.policy("p", "sg-1", "Drop", verified)
	w.start()
	c := w.awaitIsolated("p", metav1.ConditionFalse, v1alpha1.ReasonPathFound)
	for _, part := range []string{"members share sg-shared", "rule sgr-group of sg-1 accepts ALL, all ports", "rule sgr-list of sg-1", "and others"} {
		if !strings.Contains(c.Message, part) {
			t.Errorf("%q is not said: %s", part, c.Message)
		}
	}
	// Ready speaks of the policy alone.
	w.awaitReason("p", v1alpha1.ReasonInSync)
}

func TestIsolatedIsUnknownWhereSomethingMayNotBeRead(t *testing.T) {
	t.Parallel()
	w := isolationWorld(t)
	w.sim.PutKey(ecssim.Key{ID: testKey, Secret: testSecret, Deny: []string{ecs.ActionInterfaces}})
	w.policy("p", "sg-1", "Drop", verified)
	w.start()
	if c := w.awaitIsolated("p", metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread); !strings.Contains(c.Message, "may not call ecs:"+ecs.ActionInterfaces) {
		t.Errorf("%s", c.Message)
	}
}

func TestIsolatedIsFalseWhileTheGroupIsAccept(t *testing.T) {
	t.Parallel()
	w := isolationWorld(t)
	w.sim.SetPolicy(w.region, "sg-1", "Accept")
	w.policy("p", "sg-1", "Drop", verified, func(p *policy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve })
	w.start()
	w.awaitIsolated("p", metav1.ConditionFalse, v1alpha1.ReasonNotDrop)
	w.edit("p", func(p *policy) { p.Spec.VerifyIsolation = false })
	w.await("p", "no verdict where none is asked for", func(p *policy) bool {
		return p.Status.ObservedGeneration == p.Generation && apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionIsolated) == nil
	})
}

// TestNothingIsKnownOfWhatAnotherAccountOwns has interfaces that the account does not see.
func TestNothingIsKnownOfWhatAnotherAccountOwns(t *testing.T) {
	t.Parallel()
	w := isolationWorld(t)
	for _, id := range []string{"i-a", "i-b"} {
		w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: id, VpcID: "vpc-1", Groups: []string{"sg-1"}, Account: "1999"})
	}
	w.policy("p", "sg-1", "Drop", verified, func(p *policy) { p.Spec.OwnerAccount = "owner@example.com" })
	w.start()
	if c := w.awaitIsolated("p", metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread); !strings.Contains(c.Message, "spec.ownerAccount") {
		t.Errorf("%s", c.Message)
	}
}
