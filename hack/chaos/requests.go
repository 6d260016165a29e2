package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// blur is how much later than it was stored a version may come to be known here. The
// times of the simulator are exact.
const blur = time.Second

// sending is a request to change a group, as a resource wrote it ahead.
type sending struct {
	uid      types.UID
	name, to string
	restores bool
	// ahead are the versions that wrote it ahead.
	ahead []version
	// first and last are the versions that wrote it ahead, first and again.
	first, last version
	// until is the version that holds it no more, or the end of the resource; its
	// revision is zero while it is held.
	until version
	// orphaned says that the resource ended while it was held.
	orphaned bool
}

// requestsOf finds every request for a group that was written ahead, by its token, and
// tells what is wrong with how that was done. It is called with the history locked.
func (h *history) requestsOf(group string) (found map[string]*sending, wrong string) {
	found = map[string]*sending{}
	for _, l := range h.lives {
		if l.versions[0].policy.Spec.SecurityGroupID != group {
			continue
		}
		var held *v1alpha1.PendingModification
		for _, v := range l.versions {
			is := v.policy.Status.PendingModification
			if held != nil && (is == nil || is.ClientToken != held.ClientToken) {
				found[held.ClientToken].until = v
			}
			if is != nil && (held == nil || is.ClientToken != held.ClientToken || !is.Time.Equal(&held.Time)) {
				if why := writtenAhead(found, v); why != "" {
					wrong = why
				}
			}
			held = is
		}
		if held != nil && l.ended != nil {
			found[held.ClientToken].until, found[held.ClientToken].orphaned = *l.ended, true
		}
	}
	return found, wrong
}

// writtenAhead notes the request that a version wrote ahead, first or again, and tells
// what is wrong with that.
func writtenAhead(found map[string]*sending, v version) (wrong string) {
	p, request := v.policy, v.policy.Status.PendingModification
	if why := unwanted(v); why != "" {
		wrong = fmt.Sprintf("no value that nobody wants: %s wrote token %s ahead, and %s", p.Name, request.ClientToken, why)
	}
	s := found[request.ClientToken]
	switch {
	case s == nil:
		// What is repeated is the request of an earlier spec, which may have asked for no
		// rollback.
		if why := unsecured(v); why != "" {
			wrong = fmt.Sprintf("no change that cannot be put back: %s wrote token %s ahead, and %s", p.Name, request.ClientToken, why)
		}
		s = &sending{uid: p.UID, name: p.Name, to: request.To, first: v}
		found[request.ClientToken] = s
	case s.uid != p.UID:
		wrong = fmt.Sprintf("a token of one's own: %s is that of %s and of %s", request.ClientToken, s.name, p.Name)
	}
	s.last, s.until = v, version{}
	s.ahead = append(s.ahead, v)
	s.restores = s.restores || request.Cause == v1alpha1.CauseRestore
	return wrong
}

// unwanted tells why a resource, as it was when it wrote a request ahead, does not want
// it.
func unwanted(v version) string {
	p := v.policy
	to, want := p.Status.PendingModification.To, p.Spec.InnerAccessPolicy
	if !p.DeletionTimestamp.IsZero() {
		if want = putBackTo(p); want == "" {
			return "is being deleted without Restore"
		}
	}
	switch {
	case isRolledBack(p):
		return "had its change put back for this generation"
	case p.Status.PendingModification.Cause == v1alpha1.CauseRollback && p.Spec.ManagementPolicy != v1alpha1.ManagementObserve && !p.Spec.Suspend:
		return unwantedRollback(v)
	case p.Spec.ManagementPolicy == v1alpha1.ManagementObserve:
		return "only observes"
	case p.Spec.Suspend:
		return "is suspended"
	case !strings.EqualFold(to, want):
		return fmt.Sprintf("wants %q, not %s", want, to)
	}
	return ""
}

// unentitled tells which call or change of a group was made by a resource that was not
// the one to make it.
func (h *history) unentitled(g *group, effects []ecssim.Effect, calls []ecssim.Call) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	requests, wrong := h.requestsOf(g.id)
	if wrong != "" {
		return wrong
	}
	sent := map[string]bool{}
	for _, c := range calls {
		if c.Action != modify {
			continue
		}
		sent[c.ClientToken] = true
		if why := h.strange(g, requests[c.ClientToken], c.Policy, c.Time); why != "" {
			return fmt.Sprintf("a call by the holder alone: at %s, for %s with token %s, %s", c.Time.Format(clockFormat), c.Policy, c.ClientToken, why)
		}
	}
	for _, e := range effects {
		if !e.ByAPI {
			continue
		}
		if why := h.strange(g, requests[e.ClientToken], e.To, e.Time); why != "" {
			return fmt.Sprintf("a change for the holder alone: at %s, to %s with token %s, %s", e.Time.Format(clockFormat), e.To, e.ClientToken, why)
		}
	}
	for token, s := range requests {
		if why := h.overtaken(g, s); sent[token] && why != "" {
			return fmt.Sprintf("one holder while a change is under way: token %s of %s: %s", token, s.name, why)
		}
	}
	return ""
}

const clockFormat = "15:04:05.000"

// strange holds a call or its effect against the request that was written ahead for it,
// and against the claim of that time.
func (h *history) strange(g *group, s *sending, to string, at time.Time) string {
	switch {
	case s == nil:
		return "no resource had written it ahead"
	case s.to != to:
		return "it was written ahead for " + s.to
	case at.Before(s.first.at.Add(-blur)):
		return "it was written ahead only at " + s.first.at.Format(clockFormat)
	}
	for _, t := range h.tenures[g.claimName()] {
		if t.holder == s.uid && !at.Before(t.since.Add(-blur)) && (t.to == 0 || !at.After(t.until.Add(blur))) {
			return ""
		}
	}
	return s.name + " did not hold the group; " + h.heldAs(g)
}

// overtaken tells whether another resource held the group while a request may have been
// under way: until its outcome was recorded, or it was too old to have one. Revisions tell exactly what was before what.
func (h *history) overtaken(g *group, s *sending) string {
	begun := int64(0)
	for _, t := range h.tenures[g.claimName()] {
		within := (s.until.revision == 0 || t.from < s.until.revision) && (t.to == 0 || t.to > s.first.revision)
		switch {
		case !within:
		case t.holder == s.uid:
			begun = max(begun, t.from)
			// What was sent may take effect this much later, whoever is gone.
			if s.orphaned && t.to != 0 && t.until.Before(s.last.at.Add(policy.Lag-blur)) {
				return fmt.Sprintf("it was last written ahead at %s, and the claim given up at %s", s.last.at.Format(clockFormat), t.until.Format(clockFormat))
			}
		case begun != 0 && t.since.Before(s.last.at.Add(policy.Doubt-blur)):
			// Later the request can take no effect any more, whatever became of it.
			return "another took the group before its outcome was recorded; " + h.heldAs(g)
		}
	}
	if begun == 0 {
		return "it was sent without a claim; " + h.heldAs(g)
	}
	return ""
}

// heldAs is who held a group from when to when.
func (h *history) heldAs(g *group) string {
	var b strings.Builder
	b.WriteString("the group was held")
	for _, t := range h.tenures[g.claimName()] {
		fmt.Fprintf(&b, " by %s from %s (revision %d)", h.nameOf(t.holder), t.since.Format(clockFormat), t.from)
		if t.to != 0 {
			fmt.Fprintf(&b, " to %s (revision %d)", t.until.Format(clockFormat), t.to)
		}
	}
	return b.String()
}

// passedOn tells which claim was ended, or given to another, while its holder had a
// right to it.
func (h *history) passedOn(g *group) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tenures[g.claimName()] {
		if len(t.others) > 0 {
			return fmt.Sprintf("a claim for its holder alone: that of %s came to name %s", h.nameOf(t.holder), h.nameOf(t.others[0]))
		}
		l := h.lives[t.holder]
		if l == nil || l.versions[0].revision > t.from {
			return fmt.Sprintf("a claim for who exists: %s was not there at revision %d", h.nameOf(t.holder), t.from)
		}
		gone := l.ended != nil && l.ended.revision <= t.to
		observing := func(v version) bool {
			return v.revision <= t.to && v.policy.Spec.ManagementPolicy == v1alpha1.ManagementObserve
		}
		if t.to != 0 && !gone && !slices.ContainsFunc(l.versions, observing) {
			return fmt.Sprintf("a claim until its right ends: that of %s ended at %s, and it was there and had never turned to Observe", h.nameOf(t.holder), t.until.Format(clockFormat))
		}
	}
	return ""
}

// misreported makes sure that the status names a request that ECS has confirmed for
// this very group, or one whose answer was lost.
func (h *history) misreported(p *v1alpha1.SecurityGroupPolicy, calls []ecssim.Call) string {
	last := p.Status.LastModification
	if last == nil {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	requests, _ := h.requestsOf(p.Spec.SecurityGroupID)
	for _, c := range calls {
		s := requests[c.ClientToken]
		switch {
		case c.Action != modify || c.Policy != last.To || s == nil || s.uid != p.UID:
		case last.RequestID == "", c.Code == "" && c.RequestID == last.RequestID:
			return ""
		}
	}
	return fmt.Sprintf("lastModification: no call of this resource that ECS has granted has request id %q", last.RequestID)
}

// tenuresOf is how often somebody has come to hold a group.
func (h *history) tenuresOf(g *group) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tenures[g.claimName()])
}
