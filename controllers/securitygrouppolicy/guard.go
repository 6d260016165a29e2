package securitygrouppolicy

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/guard"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// Guard tells what a change to Drop would cut off the cluster that the operator runs in.
type Guard interface {
	// Check answers for a group that was just observed. A wait other than zero says that
	// nothing is known yet, and when to come back.
	Check(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, o ecs.Observation) (guard.Finding, time.Duration, error)
}

// Approvals tells whether an account demands an approval of changes to a value. Distrust
// says why an approval could come from anybody; empty if it could not.
type Approvals func(ctx context.Context, account, to string) (demanded bool, distrust string, err error)

// guard holds a change that needs an approval which it does not have, or that has to wait
// for the budget. It comes between the plan and every request, repetitions included: what
// was written ahead may never have been sent.
func (r *Reconciler) guard(ctx context.Context, s *pass) (outcome, bool) {
	change, approved := s.plan.Change, approves(s.p.Annotations[v1alpha1.AnnotationApprove], s.p.Generation)
	within, cancel := context.WithTimeout(ctx, guardLimit)
	defer cancel()
	// What an account wants approved, was approved with its rollback.
	if change.Cause != policy.Rollback {
		demanded, distrust, err := r.Approvals(within, s.account, change.To)
		switch {
		case err != nil:
			return r.failed(s, err), true
		case demanded && distrust != "":
			return heldChange(s, fmt.Sprintf("ECSAccount %s demands an approval of each change to %s, which cannot be given: %s", s.account, change.To, distrust)), true
		case demanded && !approved:
			return heldChange(s, fmt.Sprintf("ECSAccount %s demands an approval of each change to %s. %s", s.account, change.To, howToApprove(s.p))), true
		}
	}
	// Who approved an Accept has not approved the way back: a node may have come since.
	if change.To == ecs.Drop && (!approved || change.Cause == policy.Rollback) {
		found, wait, err := r.Guard.Check(within, s.p, s.seen)
		switch {
		case err != nil:
			return r.failed(s, err), true
		case wait > 0:
			return progressing("Reading what the security group protects, before the change to "+change.To, wait), true
		}
		if found.Members != nil {
			s.p.Status.Members = found.Members
		}
		if found.Held != "" {
			return heldChange(s, found.Held+". "+howToGoOn(s)), true
		}
	}
	return r.withinBudget(ctx, s, approved)
}

// approves tells whether the value of an annotation names a generation.
func approves(value string, generations ...int64) bool {
	return slices.ContainsFunc(generations, func(g int64) bool { return value == strconv.FormatInt(g, 10) })
}

// howToGoOn tells how a change is made that the guard has held. A rollback is not approved:
// its annotation would be that of the change.
func howToGoOn(s *pass) string {
	if s.plan.Change.Cause == policy.Rollback {
		return fmt.Sprintf("It would put back a change that nobody has confirmed: keep that by the annotation %s, or declare Drop and approve it", v1alpha1.AnnotationConfirm)
	}
	return howToApprove(s.p)
}

func howToApprove(p *v1alpha1.SecurityGroupPolicy) string {
	return fmt.Sprintf("If the change is meant, set the annotation %s to %q", v1alpha1.AnnotationApprove, strconv.FormatInt(p.Generation, 10))
}

// heldChange is for a change that somebody has to approve.
func heldChange(s *pass, because string) outcome {
	return approvalRequired("The change to "+s.plan.Change.To+" is held: "+because, v1alpha1.ConditionStalled, retrySlow, 0)
}

// withinBudget has a change wait that is over the budget of its account. A rollback counts
// and does not wait: it makes up for a change that did.
func (r *Reconciler) withinBudget(ctx context.Context, s *pass, approved bool) (outcome, bool) {
	if r.ChangeBudget == 0 {
		return outcome{}, false
	}
	if err := r.budget.fill(ctx, r); err != nil {
		return r.failed(s, err), true
	}
	key := spendingOf{s.account, s.plan.Change.To}
	switch {
	case s.plan.Action == policy.Repeat:
		r.budget.repeat(key, s.p.UID, r.Clock.Now())
		return outcome{}, false
	case approved || s.plan.Change.Cause == policy.Rollback:
		r.budget.spend(key, s.p.UID, r.Clock.Now())
		return outcome{}, false
	}
	wait := r.budget.take(key, waiter{s.p.UID, s.p.CreationTimestamp.Time}, r.ChangeBudget, r.Clock.Now())
	if wait == 0 {
		return outcome{}, false
	}
	s.waitsForBudget = true
	return approvalRequired(fmt.Sprintf("The change to %s waits: --change-budget lets %d groups of an account change to it in ten minutes. It goes on by itself, and at once if the annotation %s is set to %q",
		key.to, r.ChangeBudget, v1alpha1.AnnotationApprove, strconv.FormatInt(s.p.Generation, 10)), v1alpha1.ConditionReconciling, retryAt, min(wait, budgetWindow)), true
}
