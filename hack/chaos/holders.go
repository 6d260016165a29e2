package main

import (
	"fmt"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
)

// wants tells whether a resource wants its group for itself, now or once it is resumed.
func wants(p *v1alpha1.SecurityGroupPolicy) bool {
	return p.Spec.ManagementPolicy != v1alpha1.ManagementObserve
}

// canHold tells whether a resource takes its group if nobody has it. One that is being
// deleted may need it for a moment, and then goes.
func canHold(p *v1alpha1.SecurityGroupPolicy) bool {
	return wants(p) && !p.Spec.Suspend && p.DeletionTimestamp.IsZero()
}

// misheld tells what is wrong with who holds a group once nothing is under way: exactly
// one holds it if any wants it and can have it, and that one exists, wants it and has
// answered whoever asked for it.
func misheld(g *group, s scene) string {
	c := s.claims[g.claimName()]
	if c == nil {
		for _, r := range g.claimants {
			if p := s.policies[r.name]; p != nil && canHold(p) {
				return r.name + " wants its group, and nobody holds it"
			}
		}
		return ""
	}
	h := c.Spec.Holder
	p := s.policies[h.Name]
	switch {
	case c.Spec.RegionID != region || c.Spec.SecurityGroupID != g.id:
		return "the claim " + c.Name + " is for another group"
	case p == nil || p.Namespace != h.Namespace || string(p.UID) != h.UID:
		return fmt.Sprintf("the claim %s names a holder that does not exist: %s/%s", c.Name, h.Namespace, h.Name)
	case p.Spec.SecurityGroupID != g.id:
		return fmt.Sprintf("the claim %s names %s, which is for another group", c.Name, h.Name)
	case !wants(p):
		return h.Name + " holds its group, and only observes"
	case c.Spec.RequestedAt != nil && canHold(p):
		return h.Name + " was asked for its group, and has not answered"
	}
	return ""
}

// untrueConflict tells what a resource that waits for the holder of its group says
// wrongly: that it is in conflict, with whom only to those who can read it anyway, and
// nothing of a change.
func untrueConflict(p *v1alpha1.SecurityGroupPolicy, c *v1alpha1.SecurityGroupClaim, ready *metav1.Condition) string {
	h := c.Spec.Holder
	named := strings.Contains(ready.Message, "SecurityGroupPolicy "+h.Name+" holds")
	switch {
	case ready.Status != metav1.ConditionFalse || ready.Reason != v1alpha1.ReasonConflict:
		return unlike(ready, metav1.ConditionFalse, v1alpha1.ReasonConflict)
	case !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled) || len(p.Status.Conditions) != 2:
		return "is in conflict, and does not say that it is stalled"
	case named != (h.Namespace == p.Namespace):
		return fmt.Sprintf("names the holder %s/%s: %v (%q)", h.Namespace, h.Name, named, ready.Message)
	case p.Status.PendingModification != nil:
		return "has a pendingModification, and another holds the group"
	}
	return ""
}

// claimsMoved tells which claims came, went or were written between two moments.
func claimsMoved(was, is map[string]*v1alpha1.SecurityGroupClaim) (moved []string) {
	for name, c := range was {
		if now := is[name]; now == nil || now.ResourceVersion != c.ResourceVersion {
			moved = append(moved, name)
		}
	}
	for name := range is {
		if was[name] == nil {
			moved = append(moved, name)
		}
	}
	return moved
}

// observes tells whether a resource is observed in the cloud: not if it is suspended or
// waits for the holder of its group.
func observes(p *v1alpha1.SecurityGroupPolicy, c *v1alpha1.SecurityGroupClaim) bool {
	return p != nil && !p.Spec.Suspend && (!wants(p) || c != nil && claims.HeldBy(c, p))
}
