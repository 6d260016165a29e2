package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// diagnosis is what is known of a group and its resources.
func (w *world) diagnosis(g *group, s scene) string {
	var b strings.Builder
	fmt.Fprintf(&b, " (group %s, at first %s, seed %d)\n", g.id, g.initial, w.seed)
	for _, r := range g.claimants {
		if p := s.policies[r.name]; p != nil {
			spec, _ := json.Marshal(p.Spec)
			status, _ := json.Marshal(p.Status)
			fmt.Fprintf(&b, "  %s/%s uid %s created %s generation %d, deleted %v, finalizers %v\n    spec %s\n    status %s\n", p.Namespace, p.Name, p.UID,
				p.CreationTimestamp.Format(time.TimeOnly), p.Generation, p.DeletionTimestamp, p.Finalizers, spec, status)
		}
	}
	if c := s.claims[g.claimName()]; c != nil {
		spec, _ := json.Marshal(c.Spec)
		fmt.Fprintf(&b, "  claim %s\n", spec)
	}
	b.WriteString(w.history.told(g))
	for _, e := range w.sim.Effects(region, g.id) {
		fmt.Fprintf(&b, "  effect %s %s→%s token %s request %s by API %v\n", e.Time.Format(clockFormat), e.From, e.To, e.ClientToken, e.RequestID, e.ByAPI)
	}
	calls := w.callsOf(g.id)
	for _, c := range calls[max(0, len(calls)-40):] {
		fmt.Fprintf(&b, "  call %s %s %s token %s → %d %s (effect %v, fault %s, request %s)\n",
			c.Time.Format(clockFormat), c.Action, c.Policy, c.ClientToken, c.Status, c.Code, c.Effect, c.Fault, c.RequestID)
	}
	for _, a := range w.plan.actions {
		if strings.Contains(a.what, g.id) {
			fmt.Fprintf(&b, "  plan %s %s\n", w.chaosBegun.Add(a.at).Format(clockFormat), a.what)
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

// told is every version of a group's resources and every claim, in their order.
func (h *history) told(g *group) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	type line struct {
		revision int64
		text     string
	}
	var lines []line
	add := func(revision int64, at time.Time, format string, args ...any) {
		lines = append(lines, line{revision, fmt.Sprintf("  stored %s %d ", at.Format(clockFormat), revision) + fmt.Sprintf(format, args...)})
	}
	for _, r := range g.claimants {
		_, l := h.of(r)
		if l == nil {
			continue
		}
		for _, v := range l.versions {
			add(v.revision, v.at, "%s %s", r.name, summary(v))
		}
		if l.ended != nil {
			add(l.ended.revision, l.ended.at, "%s is gone", r.name)
		}
	}
	for _, t := range h.tenures[g.claimName()] {
		add(t.from, t.since, "claim of %s", h.nameOf(t.holder))
		if t.to != 0 {
			add(t.to, t.until, "end of the claim of %s", h.nameOf(t.holder))
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return int(a.revision - b.revision) })
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// summary is what tells one version of a resource from the next.
func summary(v version) string {
	p, s := v.policy, v.policy.Status
	text := fmt.Sprintf("gen %d %s %s %s suspend %v deleting %v finalizers %d: observed %s original %s", p.Generation, p.Spec.InnerAccessPolicy,
		p.Spec.ManagementPolicy, p.Spec.DeletionPolicy, p.Spec.Suspend, p.DeletionTimestamp != nil, len(p.Finalizers), s.InnerAccessPolicy, s.OriginalInnerAccessPolicy)
	if m := s.PendingModification; m != nil {
		text += fmt.Sprintf(" pending %s→%s %s token %s", m.From, m.To, m.Cause, m.ClientToken)
	}
	if m := s.LastModification; m != nil {
		text += fmt.Sprintf(" last %s→%s %s request %q", m.From, m.To, m.Cause, m.RequestID)
	}
	for _, c := range s.Conditions {
		text += fmt.Sprintf(" %s=%s/%s", c.Type, c.Status, c.Reason)
	}
	return text
}
