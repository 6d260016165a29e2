package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// settling is how long everything may take to be as it should: a deletion that
// meets a change of unknown outcome waits half a minute by contract, and a rate
// that was refused is tried again with care.
const settling = 2 * time.Minute

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

// settle asks for a look at every resource, and waits until all are as they
// should be, or says which are not. Once the plan is over, those that it has
// deleted should be gone.
func (w *world) settle(ctx context.Context, when string, policies []*policy, over bool) error {
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
	begun, asked := time.Now(), strconv.FormatInt(time.Now().UnixNano(), 10)
	for _, r := range policies {
		if over && r.deleted {
			continue
		}
		if err := w.patch(r.name, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReconcileRequestedAt, asked)); err != nil {
			return fmt.Errorf("settles %s: ask %s for a look: %w", when, r.name, err)
		}
	}
	last := "everything was at once"
	for {
		wrong := w.wrong(ctx, policies, over)
		if len(wrong) == 0 {
			w.say("settled %s after %v; last: %s", when, time.Since(begun).Round(10*time.Millisecond), last)
			return nil
		}
		last, _, _ = strings.Cut(wrong[0], "\n")
		if rig.Pause(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("settles %s: %d resources are not as they should be after %v:\n%s", when, len(wrong), settling, strings.Join(wrong[:min(5, len(wrong))], "\n"))
		}
	}
}

// wrong tells which resources are not as they should be, and how.
func (w *world) wrong(ctx context.Context, policies []*policy, over bool) []string {
	found, err := w.list(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	for _, r := range policies {
		p := found[r.name]
		why := ""
		switch {
		case over && r.deleted && p != nil:
			why = "is stuck terminating"
		case over && r.deleted:
		case p == nil:
			why = "is gone, and nobody has deleted it"
		default:
			why = w.inconsistent(p)
		}
		if why != "" {
			wrong = append(wrong, r.name+" "+why+w.diagnosis(r, p))
		}
	}
	return wrong
}

// inconsistent holds a resource against its group: what it should be, and what
// its status says of it.
func (w *world) inconsistent(p *v1alpha1.SecurityGroupPolicy) string {
	g, _ := w.sim.Group(p.Spec.RegionID, p.Spec.SecurityGroupID)
	return inconsistent(p, g.Policy)
}

func inconsistent(p *v1alpha1.SecurityGroupPolicy, inCloud ecssim.Policy) string {
	s := p.Status
	ready := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	switch {
	case s.ObservedGeneration != p.Generation:
		return fmt.Sprintf("has observedGeneration %d, generation %d", s.ObservedGeneration, p.Generation)
	case ready == nil:
		return "has no Ready condition"
	case ready.ObservedGeneration != p.Generation:
		return fmt.Sprintf("has a Ready of generation %d, not of %d", ready.ObservedGeneration, p.Generation)
	case p.Spec.Suspend:
		return untrueSuspension(p, ready)
	case s.LastHandledReconcileAt != p.Annotations[v1alpha1.AnnotationReconcileRequestedAt]:
		return "has not handled the last request for a look"
	case s.InnerAccessPolicy != inCloud:
		return fmt.Sprintf("says that its group is %s; it is %s", s.InnerAccessPolicy, inCloud)
	case s.LastError != nil:
		return "has a lastError although its last look succeeded"
	case len(s.Conditions) != 1:
		return "has conditions beside Ready"
	}
	if p.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		status, reason := metav1.ConditionTrue, v1alpha1.ReasonInSync
		if inCloud != p.Spec.InnerAccessPolicy {
			status, reason = metav1.ConditionFalse, v1alpha1.ReasonDriftDetected
		}
		return unlike(ready, status, reason)
	}
	switch {
	case inCloud != p.Spec.InnerAccessPolicy:
		return fmt.Sprintf("wants %s; its group is %s", p.Spec.InnerAccessPolicy, inCloud)
	case s.PendingModification != nil:
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

// diagnosis is what is known of a resource and its group.
func (w *world) diagnosis(r *policy, p *v1alpha1.SecurityGroupPolicy) string {
	var b strings.Builder
	fmt.Fprintf(&b, " (group %s, at first %s, seed %d)\n", r.group, r.initial, w.seed)
	if p != nil {
		spec, _ := json.Marshal(p.Spec)
		status, _ := json.Marshal(p.Status)
		fmt.Fprintf(&b, "  generation %d, deleted %v, finalizers %v\n  spec %s\n  status %s\n", p.Generation, p.DeletionTimestamp, p.Finalizers, spec, status)
	}
	for _, e := range w.sim.Effects(region, r.group) {
		fmt.Fprintf(&b, "  effect %s %s→%s token %s request %s by API %v\n", e.Time.Format("15:04:05.000"), e.From, e.To, e.ClientToken, e.RequestID, e.ByAPI)
	}
	calls := w.callsOf(r.group)
	for _, c := range calls[max(0, len(calls)-25):] {
		fmt.Fprintf(&b, "  call %s %s %s token %s → %d %s (effect %v, fault %s, request %s)\n",
			c.Time.Format("15:04:05.000"), c.Action, c.Policy, c.ClientToken, c.Status, c.Code, c.Effect, c.Fault, c.RequestID)
	}
	for _, a := range w.plan.actions {
		if strings.Contains(a.what, r.name) || strings.Contains(a.what, r.group) {
			fmt.Fprintf(&b, "  plan %.1fs %s\n", a.at.Seconds(), a.what)
		}
	}
	return b.String()
}

func (w *world) callsOf(group string) []ecssim.Call {
	var calls []ecssim.Call
	for _, c := range w.sim.Calls() {
		if c.GroupID == group {
			calls = append(calls, c)
		}
	}
	return calls
}

// asPlanned tells whether a resource is what the driver has made of it.
func asPlanned(r *policy, p *v1alpha1.SecurityGroupPolicy) bool {
	return equality.Semantic.DeepEqual(r.spec, p.Spec)
}
