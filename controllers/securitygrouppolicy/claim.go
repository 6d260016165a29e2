package securitygrouppolicy

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// takeTurn lets a resource go on that holds its group, or needs no claim, or is the
// next one to get it. All others learn whom they wait for, and make no call to the
// cloud.
func (r *Reconciler) takeTurn(ctx context.Context, s *pass) (outcome, bool) {
	switch {
	case !claims.Wants(s.p), claims.HeldBy(s.claim, s.p):
		return outcome{}, false
	case s.claim == nil && s.first:
		return outcome{}, false
	case s.claim == nil:
		return waitingForTurn(s), true
	case !s.p.DeletionTimestamp.IsZero():
		// To let it go is final: the cache may be behind.
		claim, err := r.newestClaim(ctx, s)
		if err != nil {
			return r.failed(s, err), true
		}
		if s.claim = claim; s.heldByAnother() {
			return released("another SecurityGroupPolicy holds the security group"), true
		}
		return waitingForTurn(s), true
	}
	if err := r.askHolder(ctx, s); err != nil {
		return r.failed(s, err), true
	}
	return conflict(s), true
}

// askHolder asks the holder of the group for it, once an hour and by the next
// candidate alone. A holder that is alive answers by reaching the group.
func (r *Reconciler) askHolder(ctx context.Context, s *pass) error {
	now := r.Clock.Now()
	if !s.first || s.claim.Spec.RequestedAt != nil || !s.known.askedAt.IsZero() && now.Sub(s.known.askedAt) < claims.Answer {
		return nil
	}
	asked := s.claim.DeepCopy()
	asked.Spec.RequestedAt = new(r.now())
	err := r.Client.Update(ctx, asked)
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("ask for the security group: %w", err)
	}
	s.asked = err == nil
	return nil
}

func (r *Reconciler) newestClaim(ctx context.Context, s *pass) (*v1alpha1.SecurityGroupClaim, error) {
	claim := &v1alpha1.SecurityGroupClaim{}
	err := r.APIReader.Get(ctx, types.NamespacedName{Name: claims.GroupOf(s.p).ClaimName()}, claim)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the claim: %w", err)
	}
	return claim, nil
}

// hold makes sure at the API server itself that the resource holds its group. The next
// candidate takes a group that nobody holds. A holder whose claim is gone has lost it,
// and is a candidate again.
func (r *Reconciler) hold(ctx context.Context, s *pass) (bool, error) {
	find := r.newestClaim
	if s.claim == nil {
		find = r.createClaim
	}
	claim, err := find(ctx, s)
	if err != nil {
		return false, err
	}
	if s.claim = claim; !claims.HeldBy(claim, s.p) {
		return false, nil
	}
	return true, r.renewClaim(ctx, s)
}

// lostClaim is for a resource that turned out not to hold its group.
func lostClaim(s *pass) outcome {
	switch {
	case s.claim == nil:
		return waitingForTurn(s)
	case !s.p.DeletionTimestamp.IsZero():
		return released("another SecurityGroupPolicy holds the security group")
	}
	return conflict(s)
}

// createClaim takes the group, or learns who was faster.
func (r *Reconciler) createClaim(ctx context.Context, s *pass) (*v1alpha1.SecurityGroupClaim, error) {
	g := claims.GroupOf(s.p)
	claim := &v1alpha1.SecurityGroupClaim{
		ObjectMeta: metav1.ObjectMeta{Name: g.ClaimName()},
		Spec: v1alpha1.SecurityGroupClaimSpec{
			RegionID: g.RegionID, SecurityGroupID: g.SecurityGroupID, Account: s.account, Since: r.now(),
			Holder: v1alpha1.ClaimHolder{Namespace: s.p.Namespace, Name: s.p.Name, UID: string(s.p.UID)},
		},
	}
	err := r.Client.Create(ctx, claim)
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.newestClaim(ctx, s)
	case err != nil:
		return nil, fmt.Errorf("create the claim: %w", err)
	}
	return claim, nil
}

// renewClaim answers whoever asked for the group, and keeps the account current. It is
// for a holder that has just reached the group.
func (r *Reconciler) renewClaim(ctx context.Context, s *pass) error {
	if s.claim.Spec.RequestedAt == nil && s.claim.Spec.Account == s.account {
		return nil
	}
	renewed := s.claim.DeepCopy()
	renewed.Spec.RequestedAt, renewed.Spec.Account = nil, s.account
	if err := r.Client.Update(ctx, renewed); err != nil {
		return fmt.Errorf("renew the claim: %w", err)
	}
	s.claim = renewed
	return nil
}

// settleClaim brings the claim in line with how the pass ended: a candidate that has
// reached the group takes it, a holder that has reached it answers, and one whose
// right has ended gives it up. The status is written before, so that nobody holds a
// group who can't write down what it does.
func (r *Reconciler) settleClaim(ctx context.Context, s *pass, o outcome) error {
	wants, holds := claims.Wants(s.p), claims.HeldBy(s.claim, s.p)
	switch {
	case holds && (leaves(s.p) || o.endsClaim):
		return r.giveUpClaim(ctx, s)
	case s.observedAt.IsZero() || !wants || !s.p.DeletionTimestamp.IsZero():
		return nil
	case holds:
		return r.renewClaim(ctx, s)
	case s.claim == nil && s.first:
		_, err := r.hold(ctx, s)
		return err
	}
	return nil
}

// leaves tells whether a holder has no use for its group any more. A suspended one keeps
// it, unless it has turned to Observe as well.
func leaves(p *v1alpha1.SecurityGroupPolicy) bool {
	return p.Spec.ManagementPolicy == v1alpha1.ManagementObserve || !claims.Wants(p) && !p.Spec.Suspend
}

// giveUpClaim deletes the claim, unless a change may still be under way.
func (r *Reconciler) giveUpClaim(ctx context.Context, s *pass) error {
	if m := s.p.Status.PendingModification; m != nil && s.known.pending.age(pendingID(m), r.Clock.Now()) < policy.Doubt {
		return nil
	}
	err := r.Client.Delete(ctx, s.claim, client.Preconditions{UID: &s.claim.UID, ResourceVersion: &s.claim.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("give up the claim: %w", err)
	}
	s.claim, s.gaveUp = nil, true
	return nil
}
