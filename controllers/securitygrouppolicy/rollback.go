package securitygrouppolicy

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/conditions"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// A rollback is written down before the change that it is for is sent, with the value
// that stood before and the deadline, and is open until the change is confirmed, put back,
// undone by the spec, or certain to have had no effect. So no crash and no failover loses
// it. Corrections of drift from a change that nobody has confirmed count as that change.

// openRollback is the change of a resource that is put back unless it is confirmed; nil
// if there is none.
func openRollback(p *v1alpha1.SecurityGroupPolicy) *v1alpha1.Rollback {
	if b := p.Status.Rollback; b.IsOpen() {
		return b
	}
	return nil
}

// confirms tells whether somebody wants a change to be kept. Its generation counts, and
// that of a later edit which left it alone.
func confirms(p *v1alpha1.SecurityGroupPolicy, b *v1alpha1.Rollback) bool {
	return approves(p.Annotations[v1alpha1.AnnotationConfirm], b.Generation, p.Generation)
}

// isRolledBack tells whether nothing is to be done for the spec as it is, because its
// change was put back.
func isRolledBack(p *v1alpha1.SecurityGroupPolicy) bool {
	b := p.Status.Rollback
	return b != nil && b.RolledBack && b.Generation == p.Generation && p.DeletionTimestamp.IsZero()
}

// reviewRollback brings an open rollback in line with what has been written since: a
// confirmation, or an edit.
func (r *Reconciler) reviewRollback(s *pass) {
	p, b := s.p, openRollback(s.p)
	switch {
	case b == nil:
	case confirms(p, b):
		b.Confirmed = true
		r.tell(s, corev1.EventTypeNormal, v1alpha1.EventConfirmed, fmt.Sprintf("The change of %s to %s is confirmed", p.Spec.SecurityGroupID, ecs.Opposite(b.To)))
	case !p.DeletionTimestamp.IsZero():
	case p.Spec.ManagementPolicy == v1alpha1.ManagementObserve, p.Spec.RollbackAfter == nil:
		p.Status.Rollback = nil
		r.tell(s, corev1.EventTypeWarning, v1alpha1.EventRollbackSkipped, fmt.Sprintf("The change of %s is not put back to %s: the spec asks for no rollback any more", p.Spec.SecurityGroupID, b.To))
	default:
		// The clock of whoever wrote the deadline may be ahead, and the time may have
		// been shortened.
		if latest := r.rollbackDeadline(p); b.Deadline.Sub(latest.Time) > policy.AheadOfUs {
			b.Deadline = latest
		}
	}
}

// tell has an event written once the pass has written its status.
func (r *Reconciler) tell(s *pass, eventType, reason, note string) {
	s.told = append(s.told, func() { conditions.Event(r.Recorder, kind, s.p, eventType, reason, "Modify", note) })
}

// rollsBack tells whether a change has to be put back now.
func (r *Reconciler) rollsBack(p *v1alpha1.SecurityGroupPolicy) bool {
	left, open := r.untilRollback(p)
	return open && left == 0
}

// untilRollback is how long it is until a change has to be put back.
func (r *Reconciler) untilRollback(p *v1alpha1.SecurityGroupPolicy) (left time.Duration, open bool) {
	b := openRollback(p)
	if b == nil || p.Spec.Suspend || !p.DeletionTimestamp.IsZero() || b.To == desired(p) {
		return 0, false
	}
	return max(0, b.Deadline.Sub(r.Clock.Now())), true
}

// wakeForRollback is when to come back for a change that has to be put back; zero if it needs
// no time of its own. It may have become due since the pass decided otherwise.
func (r *Reconciler) wakeForRollback(s *pass) time.Duration {
	left, open := r.untilRollback(s.p)
	decided := !s.observedAt.IsZero() && !s.rollingBack
	switch {
	case !open, left == 0 && !decided:
		return 0
	}
	return max(left, time.Millisecond)
}

// planRollback writes down what a change that is about to be sent would be put back to.
func (r *Reconciler) planRollback(s *pass) {
	p, b, change := s.p, s.p.Status.Rollback, s.plan.Change
	asked := change.Cause == policy.Spec || change.Cause == policy.Drift && b != nil
	// A confirmation is one of its own change, not of the next one to the same value.
	confirmed := b != nil && b.Confirmed && b.To != change.To && (change.Cause == policy.Drift || b.Generation == p.Generation)
	switch {
	case !asked, confirmed, openRollback(p) != nil && b.To == change.To:
	case p.Spec.RollbackAfter == nil:
		p.Status.Rollback = nil
	default:
		b = &v1alpha1.Rollback{Generation: p.Generation, To: change.From, Deadline: r.rollbackDeadline(p)}
		b.Confirmed = confirms(p, b)
		p.Status.Rollback = b
	}
}

func (r *Reconciler) rollbackDeadline(p *v1alpha1.SecurityGroupPolicy) metav1.Time {
	return metav1.NewTime(r.Clock.Now().Add(p.Spec.RollbackAfter.Duration)).Rfc3339Copy()
}

// settleRollback follows a change that took effect.
func (r *Reconciler) settleRollback(s *pass, m *v1alpha1.Modification) {
	p, b := s.p, openRollback(s.p)
	switch {
	case b == nil:
	case m.Cause == v1alpha1.CauseRollback && b.To != desired(p):
		b.RolledBack, b.Generation = true, p.Generation
	case m.To == b.To && p.DeletionTimestamp.IsZero():
		p.Status.Rollback = nil // the spec has undone it
	case m.Cause == v1alpha1.CauseSpec:
		r.tell(s, corev1.EventTypeNormal, v1alpha1.EventConfirmationAwaited, fmt.Sprintf("The change of %s to %s is put back at %s unless the annotation %s is set to %q",
			p.Spec.SecurityGroupID, m.To, b.Deadline.UTC().Format(time.RFC3339), v1alpha1.AnnotationConfirm, strconv.FormatInt(b.Generation, 10)))
	}
}

// dropRollback follows a request that has certainly had no effect. If it was to bring back
// a change that had one, that has its time anew; otherwise nothing can be put back.
func (r *Reconciler) dropRollback(s *pass, request *v1alpha1.PendingModification) {
	p, b := s.p, openRollback(s.p)
	switch {
	case b == nil || request == nil || request.To == b.To:
	case request.Cause == v1alpha1.CauseDrift && p.Spec.RollbackAfter != nil:
		b.Deadline = r.rollbackDeadline(p)
	default:
		p.Status.Rollback = nil
	}
}

// inSyncFor is what is said where the observation is what is wanted.
func inSyncFor(s *pass) outcome {
	p, b := s.p, openRollback(s.p)
	switch {
	case s.rollingBack:
		if b != nil { // somebody else was faster
			b.RolledBack, b.Generation = true, p.Generation
		}
		return rolledBack(p)
	case b != nil && b.To == desired(p):
		p.Status.Rollback = nil // the spec has undone the change
	}
	return inSync(p)
}
