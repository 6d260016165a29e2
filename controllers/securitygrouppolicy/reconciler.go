// Package securitygrouppolicy keeps SecurityGroupPolicies and the cloud in agreement.
// A reconciliation is one pass with one exit: observe, plan, guard, apply, finish.
//
// Each decision has one place. What to do about an observation, and what a failure
// means, is in package policy; who may change a group in package claims and claim.go;
// how a change is made so that nothing is lost in apply.go; what users read in
// outcome.go; the status, the finalizer, events and the next time in finish.go; what
// wakes a resource in watches.go. A reconciliation reads what the process remembers
// once, when it begins, and writes it once, when it has ended (memory.go).
package securitygrouppolicy

import (
	"context"
	"errors"
	"time"

	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
	"github.com/sgp-operator/sgp-operator/internal/policy"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// Cloud is what the reconciler needs of ECS. Errors are *ecs.Error. A wait other than
// zero says that nothing was sent, and when to come back to stay below the rate limit.
type Cloud interface {
	// Observe reads a group.
	Observe(ctx context.Context, g ecs.Group, p ratelimit.Priority) (o ecs.Observation, wait time.Duration, err error)
	// Modify sets it and returns ECS's request id. Repeated with the same client token
	// it has no second effect.
	Modify(ctx context.Context, g ecs.Group, policy, clientToken string) (requestID string, wait time.Duration, err error)
}

// Reconciler reconciles SecurityGroupPolicies. All fields but ChangeBudget are required.
type Reconciler struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// APIReader reads from the API server itself, where a stale answer could lead to
	// a wrong call.
	APIReader client.Reader
	// Clouds gives the client of the account that a resource uses, and the account's
	// name. An *account.NotReadyError says why it has none.
	Clouds func(context.Context, *v1alpha1.SecurityGroupPolicy) (Cloud, string, error)
	// Guard tells what a change to Drop would cut.
	Guard Guard
	// Approvals tells what an account demands.
	Approvals Approvals
	// Isolation tells whether the members of a group are isolated.
	Isolation Isolation
	// ChangeBudget is how many groups of an account may change to a value in ten
	// minutes; 0 for any number.
	ChangeBudget int
	// Lines are the candidates for groups that nobody holds.
	Lines *claims.Lines
	// Recorder writes events.
	Recorder events.EventRecorder
	// Clock is the time.
	Clock clock.PassiveClock
	// Jitter is a random part of a duration.
	Jitter func(time.Duration) time.Duration
	// NewClientToken makes the token of a new request.
	NewClientToken func() string
	// ResyncInterval is how often the cloud is observed where a resource says
	// nothing.
	ResyncInterval time.Duration
	// MaxConcurrentReconciles is the number of reconciliations at the same time.
	MaxConcurrentReconciles int

	memory memory
	waker  waker
	budget budget
}

// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=securitygrouppolicies,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=securitygrouppolicies/status,verbs=update
// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=securitygroupclaims,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// pass is one reconciliation of one resource.
type pass struct {
	// p is the resource, whose status is changed on the way.
	p *v1alpha1.SecurityGroupPolicy
	// stored is the resource as the API server has it, as far as the pass knows.
	stored *v1alpha1.SecurityGroupPolicy
	// known is what the process remembered of the resource when the pass began.
	known entry
	// claim is the group's claim, as the cache has it or a later request showed it;
	// nil if there is none.
	claim *v1alpha1.SecurityGroupClaim
	// first says that the resource is the next one to get the group, if nobody holds
	// it.
	first bool

	cloud   Cloud
	account string
	// seen is the last answer of ECS in this pass, and observedAt its time.
	seen       ecs.Observation
	observedAt time.Time
	// sent says that a change was sent, or may have been.
	sent bool
	// asked says that the holder of the group was asked for it.
	asked bool
	// gaveUp says that the resource has given up its group.
	gaveUp bool
	// waited is for how long the resource has been waiting for another.
	waited time.Duration
	// unsettled is for how long an observation may be older than what a former holder
	// of the group has done.
	unsettled time.Duration
	// unrepeatable says that the pending change must not be sent once more.
	unrepeatable bool
	// rollingBack says that a change has to be put back that nobody confirmed.
	rollingBack bool
	// waitsForBudget says that the change is over the budget.
	waitsForBudget bool
	// verifyIn is when to ask again whether the members are isolated.
	verifyIn time.Duration
	// told are the events to be written once the status is.
	told []func()
	// effects are the changes that turned out to have taken effect.
	effects []*v1alpha1.Modification
	plan    policy.Plan
}

// Reconcile makes one pass over a resource.
func (r *Reconciler) Reconcile(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (ctrl.Result, error) {
	s, err := r.begin(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	defer r.memory.end(p.UID)
	return r.commit(s, r.work(ctx, s))
}

// work makes all requests of a pass, and touches nothing that the process remembers.
func (r *Reconciler) work(ctx context.Context, s *pass) outcome {
	o := r.run(ctx, s)
	if o.err == nil {
		r.verify(ctx, s, o)
	}
	return r.finish(ctx, s, o)
}

// run is a pass up to what is to be said of it.
func (r *Reconciler) run(ctx context.Context, s *pass) outcome {
	r.reviewRollback(s)
	if o, done := withoutCloud(s); done {
		return o
	}
	if o, done := r.resolveAccount(ctx, s); done {
		return o
	}
	if o, done := r.takeTurn(ctx, s); done {
		return o
	}
	if o, done := r.observe(ctx, s); done {
		return o
	}
	r.decide(s)
	return r.act(ctx, s)
}

// act does what was planned.
func (r *Reconciler) act(ctx context.Context, s *pass) outcome {
	switch s.plan.Action {
	case policy.InSync:
		return inSyncFor(s)
	case policy.Report:
		return reported(s)
	case policy.ObserveAgain:
		return progressing(s.plan.Because, s.plan.Wait)
	case policy.Postpone:
		return contested(min(s.plan.Wait, r.interval(s.p)))
	case policy.Release:
		return released("")
	case policy.Leave:
		return released(s.plan.Because)
	case policy.Modify, policy.Repeat:
		o, stop := r.guard(ctx, s)
		switch {
		case !stop:
			return r.apply(ctx, s)
		case s.plan.Action == policy.Repeat && o.Reason == v1alpha1.ReasonApprovalRequired:
			// It may have been sent already: observations tell.
			s.unrepeatable = true
			r.decide(s)
			return r.act(ctx, s)
		}
		return o
	case policy.Undecided:
	}
	return broken(errors.New("no action was decided on"))
}

// withoutCloud answers for a resource that needs no call to the cloud.
func withoutCloud(s *pass) (outcome, bool) {
	p := s.p
	last, pending := p.Status.LastModification, p.Status.PendingModification
	if !p.DeletionTimestamp.IsZero() {
		switch {
		case !hasFinalizer(p):
			return gone(), true
		case p.Annotations[v1alpha1.AnnotationAbandon] == "true":
			return released("the annotation " + v1alpha1.AnnotationAbandon + " gives up on it"), true
		case !putsBack(p), last == nil && pending == nil:
			return released(""), true
		case pending == nil && last.Cause == v1alpha1.CauseRestore:
			return released(""), true
		case p.Spec.ManagementPolicy == v1alpha1.ManagementObserve:
			return released("managementPolicy Observe does not allow a change"), true
		}
	}
	if p.Spec.Suspend {
		return suspended(p), true
	}
	return outcome{}, false
}

// putsBack tells whether the deletion of a resource has something to put back, if its
// change took effect.
func putsBack(p *v1alpha1.SecurityGroupPolicy) bool {
	return p.Spec.DeletionPolicy == v1alpha1.DeletionRestore || openRollback(p) != nil
}

// resolveAccount finds the client for the resource, before anything is told of the
// group.
func (r *Reconciler) resolveAccount(ctx context.Context, s *pass) (outcome, bool) {
	if s.heldByAnother() && !s.p.DeletionTimestamp.IsZero() {
		return outcome{}, false // which needs none to be let go
	}
	var err error
	if s.cloud, s.account, err = r.Clouds(ctx, s.p); err != nil {
		return r.failed(s, err), true
	}
	return outcome{}, false
}

// observe reads the group.
func (r *Reconciler) observe(ctx context.Context, s *pass) (outcome, bool) {
	observed, wait, err := s.cloud.Observe(ctx, group(s.p), r.priority(s.p))
	switch {
	case err != nil:
		return r.failed(s, err), true
	case wait > 0:
		return waitingForRate(wait), true
	}
	s.seen, s.observedAt = observed, r.Clock.Now()
	s.p.Status.LastError = nil
	return outcome{}, false
}

// decide plans what to do about the observation, and records what it says of the
// pending change.
func (r *Reconciler) decide(s *pass) {
	status, now := &s.p.Status, r.Clock.Now()
	s.rollingBack = r.rollsBack(s.p)
	s.plan = policy.Decide(s.intent(), r.record(s, now), s.seen.Policy, now)
	switch s.plan.Fate {
	case policy.TookEffect:
		r.recordEffect(s, "")
	case policy.NoEffect:
		r.dropRollback(s, status.PendingModification)
		status.PendingModification = nil
		if s.rollingBack && !r.rollsBack(s.p) { // what was to be put back had no effect
			r.decide(s)
			return
		}
	case policy.Open:
	}
	if s.plan.Action == policy.ObserveAgain || s.plan.Action == policy.Repeat {
		return // the observation may be older than what is recorded
	}
	if s.plan.Fate != policy.TookEffect && s.p.DeletionTimestamp.IsZero() && !isRolledBack(s.p) && status.InnerAccessPolicy == desired(s.p) && s.seen.Policy != desired(s.p) {
		metrics.Drift.WithLabelValues(s.p.Spec.RegionID).Inc()
	}
	status.InnerAccessPolicy = s.seen.Policy
}

func (s *pass) intent() policy.Intent {
	p := s.p
	intent := policy.Intent{
		Value:     desired(p),
		Enforce:   p.Spec.ManagementPolicy != v1alpha1.ManagementObserve && !isRolledBack(p),
		Restoring: !p.DeletionTimestamp.IsZero(),
		// What was, before another held the group, says nothing of drift.
		Recorded: madeForThisSpec(p) && claims.HeldBy(s.claim, p),
	}
	if s.rollingBack {
		intent.Value, intent.RollingBack = p.Status.Rollback.To, true
	}
	return intent
}

// madeForThisSpec tells whether the last change was. One that an older manager has recorded
// does not say, and is taken for that of the spec that was reconciled last.
func madeForThisSpec(p *v1alpha1.SecurityGroupPolicy) bool {
	m := p.Status.LastModification
	return m != nil && (m.Generation == p.Generation || m.Generation == 0 && p.Status.ObservedGeneration == p.Generation)
}

// record is what the status says, with ages by this process's own clock.
func (r *Reconciler) record(s *pass, now time.Time) policy.Record {
	status := &s.p.Status
	record := policy.Record{Original: status.OriginalInnerAccessPolicy, Unsettled: s.unsettled}
	if b := openRollback(s.p); b != nil && s.p.Spec.DeletionPolicy != v1alpha1.DeletionRestore {
		record.Original = b.To // which a deletion puts back
	}
	if claims.HeldBy(s.claim, s.p) || !claims.Wants(s.p) {
		record.Observed = status.InnerAccessPolicy
	}
	if b := status.Rollback; b != nil && b.RolledBack { // what was, before it was put back, says nothing of drift
		record.Observed = ""
	}
	if m := status.LastModification; m != nil {
		record.Last = &policy.Change{From: m.From, To: m.To, Cause: policy.Cause(m.Cause), Age: s.known.modification.age(modificationID(m), now)}
	}
	if m := status.PendingModification; m != nil {
		record.Pending = &policy.Change{From: m.From, To: m.To, Cause: policy.Cause(m.Cause), Age: s.known.pending.age(pendingID(m), now)}
		record.Repeatable = (m.Account == "" || m.Account == s.account) && !s.unrepeatable
	}
	for _, t := range status.DriftCorrections {
		record.Corrections = append(record.Corrections, t.Time)
	}
	return record
}

// heldByAnother tells whether another resource holds the group that this one wants.
func (s *pass) heldByAnother() bool {
	return s.claim != nil && claims.Wants(s.p) && !claims.HeldBy(s.claim, s.p)
}

func desired(p *v1alpha1.SecurityGroupPolicy) string {
	return ecs.CanonicalPolicy(p.Spec.InnerAccessPolicy)
}

func group(p *v1alpha1.SecurityGroupPolicy) ecs.Group {
	return ecs.Group{RegionID: p.Spec.RegionID, SecurityGroupID: p.Spec.SecurityGroupID, OwnerAccount: p.Spec.OwnerAccount, Tenant: p.Namespace,
		Rules: verifies(p)}
}

func (r *Reconciler) interval(p *v1alpha1.SecurityGroupPolicy) time.Duration {
	if p.Spec.ResyncInterval != nil {
		return p.Spec.ResyncInterval.Duration
	}
	return r.ResyncInterval
}
