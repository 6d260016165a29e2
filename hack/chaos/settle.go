package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// settling is how long everything may take to be as it should: a change of unknown
// outcome holds its group for a minute by contract before anybody else can have it,
// and a manager whose first call was refused learns a rate of one call a second, which
// takes two minutes and a half to grow to that of 300 resources.
const settling = 4 * time.Minute

// footprint is what a manager takes of the machine.
type footprint struct {
	goroutines, megabytes float64
}

func (f footprint) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f MB", f.goroutines, f.megabytes)
}

// measure takes the footprint of the leader.
func (w *world) measure(ctx context.Context) (footprint, error) {
	m, err := w.leader(ctx)
	if err != nil {
		return footprint{}, err
	}
	values, err := m.scrape(ctx)
	if err != nil {
		return footprint{}, fmt.Errorf("%s: read metrics: %w", m.name, err)
	}
	return footprint{values.Sum(rig.Goroutines, nil), values.Sum(rig.ResidentBytes, nil) / (1 << 20)}, nil
}

// settle waits until every group that somebody wants is held, asks for a
// reconciliation of every resource, and waits until all are as they should be, or says
// which are not. Once the plan is over, those that it has deleted should be gone.
func (w *world) settle(ctx context.Context, when string, resources []*resource, over bool) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	if _, err := w.leader(ctx); err != nil {
		return fmt.Errorf("settles %s: %w", when, err)
	}
	for w.underWay() {
		if err := rig.Pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("settles %s: calls still hang: %w", when, err)
		}
	}
	// Unasked: who is next has to be woken by the end of a claim itself.
	begun := time.Now()
	if err := w.untilRight(ctx, when+", unasked", func(s scene) []string { return w.unheld(s, resources) }); err != nil {
		return err
	}
	asked := strconv.FormatInt(time.Now().UnixNano(), 10)
	for _, r := range resources {
		if over && r.deleted {
			continue
		}
		if err := w.patch(r, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReconcileRequestedAt, asked)); err != nil {
			return fmt.Errorf("settles %s: ask for a reconciliation of %s: %w", when, r.name, err)
		}
	}
	if err := w.untilRight(ctx, when, func(s scene) []string { return w.wrong(s, resources, over) }); err != nil {
		return err
	}
	w.say("settled %s after %v", when, time.Since(begun).Round(10*time.Millisecond))
	return nil
}

// untilRight waits until nothing is wrong, and says what was so last.
func (w *world) untilRight(ctx context.Context, when string, wrong func(scene) []string) error {
	begun, last := time.Now(), []string{"everything was at once"}
	for {
		s, err := w.scene(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("settles %s: %d things are not as they should be after %v:\n%s", when, len(last), time.Since(begun).Round(time.Second), strings.Join(last[:min(5, len(last))], "\n"))
		}
		found := []string{fmt.Sprint(err)}
		if err == nil {
			found = wrong(s)
		}
		if len(found) == 0 {
			text, _, _ := strings.Cut(last[0], "\n")
			w.say("as it should be %s after %v; last: %s", when, time.Since(begun).Round(10*time.Millisecond), text)
			return nil
		}
		last = found
		_ = rig.Pause(ctx, 200*time.Millisecond)
	}
}

// unheld tells which groups nobody holds although somebody wants them.
func (w *world) unheld(s scene, resources []*resource) (unheld []string) {
	for _, r := range resources {
		if p := s.policies[r.name]; p != nil && canHold(p) && s.claims[r.group.claimName()] == nil {
			unheld = append(unheld, r.name+" wants its group, and nobody holds it"+w.diagnosis(r.group, s))
		}
	}
	return unheld
}

// wrong tells what is not as it should be, and how.
func (w *world) wrong(s scene, resources []*resource, over bool) (wrong []string) {
	claimed := map[string]bool{}
	for _, g := range w.plan.groups {
		claimed[g.claimName()] = true
		if why := misheld(g, s); why != "" {
			wrong = append(wrong, why+w.diagnosis(g, s))
		}
	}
	for name := range s.claims {
		if !claimed[name] {
			wrong = append(wrong, "there is a claim of no group: "+name)
		}
	}
	for _, r := range resources {
		if why := w.wrongWith(r, s, over); why != "" {
			wrong = append(wrong, r.name+" "+why+w.diagnosis(r.group, s))
		}
	}
	return wrong
}

func (w *world) wrongWith(r *resource, s scene, over bool) string {
	p, deleted := s.policies[r.name], over && r.deleted
	switch {
	case deleted && (p == nil || heldRestore(p, w.hasNode(r.group.id))):
		return ""
	case deleted:
		return "is stuck terminating"
	case p == nil:
		return "is gone, and nobody has deleted it"
	}
	if why := w.inconsistent(p, s.claims[r.group.claimName()]); why != "" {
		return why
	}
	// A short run is over before any deadline. To put Drop back may need an approval.
	if until, awaits := awaitsConfirmation(p); awaits && over && !w.plan.calmer &&
		(time.Since(until) <= late || !mayHold(p, p.Status.Rollback.To, w.hasNode(r.group.id))) {
		return "is put back at " + until.Format(clockFormat) + ", and nobody has confirmed it"
	}
	return ""
}

// inconsistent holds a resource against its group: what it should be, and what
// its status says of it.
func (w *world) inconsistent(p *v1alpha1.SecurityGroupPolicy, c *v1alpha1.SecurityGroupClaim) string {
	g, _ := w.sim.Group(p.Spec.RegionID, p.Spec.SecurityGroupID)
	return inconsistent(p, c, g.Policy, w.hasNode(p.Spec.SecurityGroupID))
}

func inconsistent(p *v1alpha1.SecurityGroupPolicy, c *v1alpha1.SecurityGroupClaim, inCloud ecssim.Policy, hasNode bool) string {
	s := p.Status
	ready := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	if why := outdated(p, ready); why != "" {
		return why
	}
	switch {
	case p.Spec.Suspend:
		return untrueSuspension(p, ready)
	case s.LastHandledReconcileAt != p.Annotations[v1alpha1.AnnotationReconcileRequestedAt]:
		return "has not handled the last request for a reconciliation"
	case c != nil && wants(p) && !claims.HeldBy(c, p):
		return untrueConflict(p, c, ready)
	case s.InnerAccessPolicy != inCloud:
		return fmt.Sprintf("says that its group is %s; it is %s", s.InnerAccessPolicy, inCloud)
	case s.LastError != nil:
		return "has a lastError although its last observation succeeded"
	}
	if wants(p) && c != nil {
		if why := overdue(p, inCloud, hasNode); why != "" {
			return why
		}
		if reason := waitsFor(p, ready, inCloud, hasNode); reason != "" {
			return untrueHold(p, reason)
		}
	}
	if len(s.Conditions) != 1 {
		return "has conditions beside Ready"
	}
	return untrueReady(p, c, ready, inCloud)
}

// outdated tells whether a status speaks of an earlier spec.
func outdated(p *v1alpha1.SecurityGroupPolicy, ready *metav1.Condition) string {
	switch {
	case p.Status.ObservedGeneration != p.Generation:
		return fmt.Sprintf("has observedGeneration %d, generation %d", p.Status.ObservedGeneration, p.Generation)
	case ready == nil:
		return "has no Ready condition"
	case ready.ObservedGeneration != p.Generation:
		return fmt.Sprintf("has a Ready of generation %d, not of %d", ready.ObservedGeneration, p.Generation)
	}
	return ""
}

// untrueReady tells what a resource that was observed says wrongly of its group.
func untrueReady(p *v1alpha1.SecurityGroupPolicy, c *v1alpha1.SecurityGroupClaim, ready *metav1.Condition, inCloud ecssim.Policy) string {
	if !wants(p) {
		status, reason := metav1.ConditionTrue, v1alpha1.ReasonInSync
		if inCloud != p.Spec.InnerAccessPolicy {
			status, reason = metav1.ConditionFalse, v1alpha1.ReasonDriftDetected
		}
		return unlike(ready, status, reason)
	}
	switch {
	case c == nil:
		return "does not hold its group"
	case inCloud != p.Spec.InnerAccessPolicy:
		return fmt.Sprintf("wants %s; its group is %s", p.Spec.InnerAccessPolicy, inCloud)
	case p.Status.PendingModification != nil:
		return "has a pendingModification"
	}
	return unlike(ready, metav1.ConditionTrue, v1alpha1.ReasonInSync)
}

func untrueSuspension(p *v1alpha1.SecurityGroupPolicy, ready *metav1.Condition) string {
	if !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionSuspended) || len(p.Status.Conditions) != 2 {
		return "is suspended, and does not say that alone"
	}
	status := metav1.ConditionFalse
	switch p.Status.InnerAccessPolicy {
	case "":
		status = metav1.ConditionUnknown
	case p.Spec.InnerAccessPolicy:
		status = metav1.ConditionTrue
	}
	return unlike(ready, status, v1alpha1.ReasonSuspended)
}

func unlike(ready *metav1.Condition, status metav1.ConditionStatus, reason string) string {
	if ready.Status == status && ready.Reason == reason {
		return ""
	}
	return fmt.Sprintf("is Ready=%s/%s, and should be %s/%s", ready.Status, ready.Reason, status, reason)
}

// asPlanned tells whether a resource is what the driver has made of it.
func asPlanned(r *resource, p *v1alpha1.SecurityGroupPolicy) bool {
	return equality.Semantic.DeepEqual(r.spec, p.Spec)
}
