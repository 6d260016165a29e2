package main

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// unrestored tells whether a deleted resource with Restore has left its group otherwise
// than it found it, or any with a change that nobody has confirmed, although nobody else had changed or taken the group since. Without
// the finalizer nothing can be put back, for which there is one excuse: nobody had
// reconciled the resource since its last edit.
func (h *history) unrestored(r *resource, effects []ecssim.Effect) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	uid, l := h.of(r)
	if l == nil || l.ended == nil {
		return ""
	}
	spec, alive := l.ended.policy.Spec, l.lastAlive()
	unconfirmed := openRollback(alive.policy)
	if unconfirmed != nil && names(l.ended.policy, v1alpha1.AnnotationConfirm, unconfirmed.Generation, l.ended.policy.Generation) {
		unconfirmed = nil
	}
	if spec.DeletionPolicy != v1alpha1.DeletionRestore && unconfirmed == nil || spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return ""
	}
	guarded := slices.Contains(alive.policy.Finalizers, v1alpha1.FinalizerRestore)
	if !guarded && alive.policy.Status.ObservedGeneration != alive.policy.Generation {
		return ""
	}
	requests, _ := h.requestsOf(r.group.id)
	first, last, late := effectsOf(uid, requests, effects, l.ended.at.Add(blur))
	back := ""
	if first != nil {
		back = first.From
	}
	if spec.DeletionPolicy != v1alpha1.DeletionRestore {
		back = unconfirmed.To
	}
	switch {
	case late != nil && guarded:
		return fmt.Sprintf("restored: it was let go at %s, and its change to %s took effect at %s", l.ended.at.Format(clockFormat), late.To, late.Time.Format(clockFormat))
	case last == nil, last.To == back, requests[last.ClientToken].restores, h.takenByAnother(r, alive, l):
		return ""
	}
	return fmt.Sprintf("restored: the group was to be %s again, and is left as %s; %s", back, last.To, h.heldAs(r.group))
}

// effectsOf are the first change that a resource made of its group until its end, the
// last one that anybody made until then if that was its own, and one that came later.
func effectsOf(uid types.UID, requests map[string]*sending, effects []ecssim.Effect, end time.Time) (first, last, late *ecssim.Effect) {
	for i := range effects {
		e := &effects[i]
		s := requests[e.ClientToken]
		mine := e.ByAPI && s != nil && s.uid == uid
		if e.Time.After(end) {
			if mine {
				late = e
			}
			continue
		}
		if last = e; !mine {
			last = nil
		}
		if mine && first == nil {
			first = e
		}
	}
	return first, last, late
}

// lastAlive is the last version before a resource was deleted.
func (l *life) lastAlive() version {
	alive := l.versions[0]
	for _, v := range l.versions {
		if v.policy.DeletionTimestamp.IsZero() {
			alive = v
		}
	}
	return alive
}

// takenByAnother tells whether another resource held the group after the last version of
// a resource before its deletion, and before its end.
func (h *history) takenByAnother(r *resource, alive version, l *life) bool {
	return slices.ContainsFunc(h.tenures[r.group.claimName()], func(t *tenure) bool {
		return t.holder != alive.policy.UID && t.from < l.ended.revision && (t.to == 0 || t.to > alive.revision)
	})
}
