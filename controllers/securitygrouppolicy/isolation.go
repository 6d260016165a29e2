package securitygrouppolicy

import (
	"context"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/isolation"
)

// Isolation reads what connects the members of a group.
type Isolation interface {
	// Facts gives what could be read for a group that was just observed with its rules.
	// Unread says in words for a user what could not be. A wait other than zero says that
	// nothing is known yet, and when to come back.
	Facts(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, account string, o ecs.Observation) (facts isolation.Facts, unread string, wait time.Duration)
}

// verifies tells whether a resource asks for a verdict.
func verifies(p *v1alpha1.SecurityGroupPolicy) bool {
	return p.Spec.VerifyIsolation && desired(p) == ecs.Drop && p.DeletionTimestamp.IsZero()
}

// alwaysPasses is what no verdict speaks of.
const alwaysPasses = "what load balancers forward, the metadata service and Alibaba Cloud's probes pass all the same"

// verify has the condition Isolated say what follows from the observation of the pass.
func (r *Reconciler) verify(ctx context.Context, s *pass, o outcome) {
	conditions := &s.p.Status.Conditions
	if !verifies(s.p) {
		apimeta.RemoveStatusCondition(conditions, v1alpha1.ConditionIsolated)
		return
	}
	set := func(status metav1.ConditionStatus, reason, message string) {
		apimeta.SetStatusCondition(conditions, metav1.Condition{Type: v1alpha1.ConditionIsolated, Status: status, Reason: reason, Message: message,
			ObservedGeneration: s.p.Generation, LastTransitionTime: r.now()})
	}
	switch {
	case s.observedAt.IsZero():
		if !o.quiet && !s.p.Spec.Suspend && o.err == nil && !r.isReadyStill(s, r.Clock.Now()) {
			set(metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread, "The security group could not be observed")
		}
		return
	case s.seen.Policy != ecs.Drop:
		set(metav1.ConditionFalse, v1alpha1.ReasonNotDrop, "The security group's inner access policy is "+s.seen.Policy+", which connects its members")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	facts, unread, wait := r.Isolation.Facts(ctx, s.p, s.account, s.seen)
	if wait > 0 {
		s.verifyIn = wait
		if known := apimeta.FindStatusCondition(*conditions, v1alpha1.ConditionIsolated); known == nil || known.ObservedGeneration != s.p.Generation {
			set(metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread, "The members of the security group are being read")
		}
		return
	}
	v := isolation.Judge(facts)
	switch {
	case unread != "":
		set(metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread, "Not everything could be read: "+unread)
	case len(v.Paths) > 0:
		set(metav1.ConditionFalse, v1alpha1.ReasonPathFound, "Members can reach one another: "+v.Evidence()+"; besides, "+alwaysPasses)
	case len(v.Unread) > 0:
		set(metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread, "Not everything could be read: "+strings.Join(v.Unread[:min(3, len(v.Unread))], ", "))
	case v.Members < 2:
		set(metav1.ConditionTrue, v1alpha1.ReasonNoPath, "The security group has fewer than two members")
	default:
		set(metav1.ConditionTrue, v1alpha1.ReasonNoPath, "No group that members share and no rule lets one reach another over the VPC; "+alwaysPasses)
	}
}
