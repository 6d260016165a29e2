package main

import (
	"fmt"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	// unseen is how long before a change was written ahead a node may have joined without
	// being seen: the reads end one after the other, and two writes follow.
	unseen = 10 * time.Second
	// unseenInVPC is that where groups share a listing of their VPC, which speaks for a
	// minute.
	unseenInVPC = time.Minute + unseen
)

// cutting tells which change has cut a node off that was in the group long enough to be
// seen, without an approval of the generation that asked for it.
func (h *history) cutting(g *group, effects []ecssim.Effect, stays []stay) string {
	if g.node == nil {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	requests, _ := h.requestsOf(g.id)
	margin := unseen
	if g.vpc == sharedVPC {
		margin = unseenInVPC
	}
	for _, e := range effects {
		s := requests[e.ClientToken]
		if !e.ByAPI || e.To != ecssim.Drop || e.From == e.To || s == nil {
			continue
		}
		if why := s.blind(e.Time, stays, margin); why != "" {
			return fmt.Sprintf("no node is cut off unapproved: at %s, by token %s of %s, %s", e.Time.Format(clockFormat), e.ClientToken, s.name, why)
		}
	}
	return ""
}

// blind tells whether a request was held back at none of the times when it was written
// ahead before its effect, although a node was in the group each time.
func (s *sending) blind(effect time.Time, stays []stay, margin time.Duration) (why string) {
	for _, v := range s.ahead {
		switch {
		case v.at.After(effect.Add(blur)):
		case names(v.policy, v1alpha1.AnnotationApprove, v.policy.Generation):
			return ""
		default:
			in := stayAt(stays, v.at.Add(-margin), v.at)
			if in == nil {
				return ""
			}
			why = fmt.Sprintf("written ahead at %s for generation %d; a node had been in the group since %s", v.at.Format(clockFormat), v.policy.Generation, in.since.Format(clockFormat))
		}
	}
	return why
}

// stayAt is the stay that has lasted from one time to another.
func stayAt(stays []stay, from, to time.Time) *stay {
	for i := range stays {
		if stays[i].since.Before(from) && (stays[i].until.IsZero() || stays[i].until.After(to.Add(blur))) {
			return &stays[i]
		}
	}
	return nil
}

// tallies counts the resources that were held, had a change put back, or had one kept.
func (h *history) tallies() (held, putBack, kept int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ever := func(l *life, holds func(*v1alpha1.SecurityGroupPolicy) bool) int {
		if slices.ContainsFunc(l.versions, func(v version) bool { return holds(v.policy) }) {
			return 1
		}
		return 0
	}
	for _, l := range h.lives {
		held += ever(l, func(p *v1alpha1.SecurityGroupPolicy) bool {
			c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionStalled)
			return c != nil && c.Reason == v1alpha1.ReasonApprovalRequired
		})
		putBack += ever(l, func(p *v1alpha1.SecurityGroupPolicy) bool {
			return p.Status.LastModification != nil && p.Status.LastModification.Cause == v1alpha1.CauseRollback
		})
		kept += ever(l, func(p *v1alpha1.SecurityGroupPolicy) bool {
			return p.Status.Rollback != nil && p.Status.Rollback.Confirmed
		})
	}
	return held, putBack, kept
}

// mayHold tells whether a change of a resource to a value has to wait for an approval.
func mayHold(p *v1alpha1.SecurityGroupPolicy, to string, hasNode bool) bool {
	return hasNode && to == ecssim.Drop && !names(p, v1alpha1.AnnotationApprove, p.Generation)
}

// waitsFor is the reason for which a resource waits for somebody, as it should: its change
// was put back, or is held. It is empty for one that should not.
func waitsFor(p *v1alpha1.SecurityGroupPolicy, ready *metav1.Condition, inCloud string, hasNode bool) string {
	want := p.Spec.InnerAccessPolicy
	switch b := openRollback(p); {
	case isRolledBack(p) && inCloud != want:
		return v1alpha1.ReasonRolledBack
	case ready.Reason != v1alpha1.ReasonApprovalRequired:
	case inCloud != want && mayHold(p, want, hasNode),
		b != nil && inCloud != b.To && mayHold(p, b.To, hasNode) && !time.Now().Before(b.Deadline.Add(-blur)):
		return v1alpha1.ReasonApprovalRequired
	}
	return ""
}

// untrueHold tells what a resource whose change is held says wrongly.
func untrueHold(p *v1alpha1.SecurityGroupPolicy, reason string) string {
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled) || len(p.Status.Conditions) != 2 {
		return "waits for somebody, and does not say that it is stalled"
	}
	if p.Status.PendingModification != nil {
		return "waits for somebody, and has a pendingModification"
	}
	return unlike(ready, metav1.ConditionFalse, reason)
}

// heldRestore tells whether a deletion waits for an approval to put Drop back.
func heldRestore(p *v1alpha1.SecurityGroupPolicy, hasNode bool) bool {
	return p != nil && !p.DeletionTimestamp.IsZero() && mayHold(p, putBackTo(p), hasNode) && p.Status.InnerAccessPolicy == ecssim.Accept &&
		p.Status.ObservedGeneration == p.Generation && untrueHold(p, v1alpha1.ReasonApprovalRequired) == ""
}

// putBackTo is what the deletion of a resource puts back; empty if nothing.
func putBackTo(p *v1alpha1.SecurityGroupPolicy) string {
	switch b := openRollback(p); {
	case p.Spec.DeletionPolicy == v1alpha1.DeletionRestore:
		return p.Status.OriginalInnerAccessPolicy
	case b != nil:
		return b.To
	}
	return ""
}
