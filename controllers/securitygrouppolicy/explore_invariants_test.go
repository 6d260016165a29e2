package securitygrouppolicy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// ledger is what happened, as far as an invariant speaks of it.
type ledger struct {
	// broken is the first invariant that did not hold.
	broken string
	// total is how many disturbances there may be.
	total int
	// holding is which manager is not told of which object.
	holding string
	writer  int
	// aheads are the requests that were written ahead.
	aheads map[string]ahead
	// effects are the changes that took effect.
	effects map[string]*effectNote
	// origins are the values from before the first effect of a resource.
	origins map[types.UID]string
	// disturbed are the resources after whose last effect somebody else changed the
	// group.
	disturbed map[types.UID]bool
	// restored are the resources that are gone and had to put something back.
	restored map[types.UID]bool
	// blurred are the resources while whose change was under way somebody else changed
	// the group: nobody can tell whose change it is.
	blurred map[types.UID]bool
	// yielded are the resources that were set to Observe while they held the group.
	yielded map[types.UID]bool
	calls   map[types.UID][]time.Time
	// unconfirmed are the changes that have to be put back unless they are confirmed.
	unconfirmed map[types.UID]unconfirmed
	// lenient are the resources that were set to Observe at some time.
	lenient map[types.UID]bool
}

// unconfirmed is a change that took effect, and until when it may stand.
type unconfirmed struct {
	to    string
	until time.Time
}

// mustBePutBack tells whether a change has to be, that nobody has confirmed: once the spec
// did not allow it for a while, it may stand.
func (l *ledger) mustBePutBack(uid types.UID) (to string, must bool) {
	open, found := l.unconfirmed[uid]
	return open.to, found && !l.lenient[uid]
}

type ahead struct {
	uid   types.UID
	owner string
	edits int
	at    time.Time
	// approved says that the version that it was written on is approved, and rollsBack
	// that it puts back what nobody has confirmed.
	approved, rollsBack bool
	// by is the manager that has written it.
	by int
}

type effectNote struct {
	uid types.UID
	to  string
	// hidden says that somebody else changed the group after it, so that no
	// observation need show it.
	hidden   bool
	recorded bool
	// answered says that a manager that is still at work has got the request id.
	answered bool
}

func newLedger(total int) ledger {
	return ledger{total: total, aheads: map[string]ahead{}, effects: map[string]*effectNote{}, origins: map[types.UID]string{}, disturbed: map[types.UID]bool{},
		restored: map[types.UID]bool{}, blurred: map[types.UID]bool{}, yielded: map[types.UID]bool{}, calls: map[types.UID][]time.Time{}, unconfirmed: map[types.UID]unconfirmed{}, lenient: map[types.UID]bool{}}
}

func (l *ledger) clone() ledger {
	c := *l
	c.aheads, c.origins, c.disturbed, c.restored = maps.Clone(l.aheads), maps.Clone(l.origins), maps.Clone(l.disturbed), maps.Clone(l.restored)
	c.effects, c.blurred, c.yielded = maps.Clone(l.effects), maps.Clone(l.blurred), maps.Clone(l.yielded)
	for token, e := range c.effects {
		c.effects[token] = new(*e)
	}
	c.calls, c.unconfirmed, c.lenient = maps.Clone(l.calls), maps.Clone(l.unconfirmed), maps.Clone(l.lenient)
	return c
}

func (l *ledger) fail(format string, args ...any) {
	if l.broken == "" {
		l.broken = fmt.Sprintf(format, args...)
	}
}

func (l *ledger) aheadAt(token string) time.Time { return l.aheads[token].at }

// tooLate tells whether the manager has given a request up by now.
func (l *ledger) tooLate(s *state, token string) bool {
	known, written := l.aheads[token]
	return written && s.now.Sub(known.at) > sendWithin
}

// called counts a call: no more than ten for a resource in 30 seconds.
func (l *ledger) called(s *state, uid types.UID) {
	recent := slices.DeleteFunc(slices.Clone(l.calls[uid]), func(t time.Time) bool { return s.now.Sub(t) >= 30*time.Second })
	l.calls[uid] = append(recent, s.now)
	// Each disturbance may have the resource reconciled once more: two calls.
	if len(l.calls[uid]) > 10+2*(l.total-s.left.total) {
		l.fail("%d calls for one resource in 30 seconds", len(l.calls[uid]))
	}
}

// sent holds a request that leaves the manager against what is stored at that moment.
func (l *ledger) sent(s *state, n, i int, r *request) {
	if known, written := l.aheads[r.token]; written && known.owner != r.owner {
		l.fail("a request is repeated with other parameters")
	}
	if _, done := s.cloud.tokens[r.token]; done {
		return // another manager was faster; ECS answers with the effect of the first one
	}
	object := s.managers[n].runs[i].object
	stored := s.policies[i].newest()
	if stored == nil || stored.UID != object.UID {
		// It is gone since the write-ahead, which nothing can prevent; nobody else may
		// have its group yet.
		if c := s.claims.newest(); c != nil && c.Spec.Holder.UID != string(object.UID) {
			l.fail("a request of a resource that is gone is sent while another holds the group")
		}
		return
	}
	written := l.aheads[r.token]
	switch {
	case s.guarded && r.to == ecs.Drop && !s.managers[n].runs[i].cleared && !written.approved:
		l.fail("a change to Drop is sent that nobody approved, without a look at what it cuts")
	case s.demands && !written.approved && !written.rollsBack:
		l.fail("a change is sent without the approval that the account demands")
	}
	pending := stored.Status.PendingModification
	switch c := s.claims.newest(); {
	case pending == nil || pending.ClientToken != r.token:
		l.fail("a request is sent whose token does not stand in the status")
	case pending.To != r.to:
		l.fail("a request is sent that is not the one in the status")
	case c == nil || c.Spec.Holder.UID != string(object.UID):
		l.fail("a request is sent by a resource that does not hold the group")
	}
	if s.edits[i] != l.aheads[r.token].edits {
		return // an edit came after the write-ahead
	}
	wanted := desired(stored)
	switch {
	case !stored.DeletionTimestamp.IsZero() && stored.Spec.DeletionPolicy != v1alpha1.DeletionRestore:
		wanted = l.unconfirmed[stored.UID].to
	case !stored.DeletionTimestamp.IsZero():
		wanted = stored.Status.OriginalInnerAccessPolicy
	case written.rollsBack:
		wanted = l.unconfirmed[stored.UID].to
	}
	if stored.Spec.ManagementPolicy == v1alpha1.ManagementObserve || stored.Spec.Suspend || r.to != wanted {
		l.fail("a request is sent for a value that nobody wants")
	}
}

// countChange holds the changes that a manager has made against the budget. They count from
// when they were sent, and may take effect later.
func (l *ledger) countChange(s *state, token, to string) {
	written := l.aheads[token]
	m := s.managers[written.by]
	recent := slices.DeleteFunc(slices.Clone(m.changes), func(c spending) bool { return s.now.Sub(c.at) >= budgetWindow-policy.Doubt })
	m.changes = append(recent, spending{types.UID(to), s.now})
	same := 0
	for _, c := range m.changes {
		if string(c.uid) == to {
			same++
		}
	}
	if s.budget > 0 && same > s.budget && !written.approved && !written.rollsBack {
		l.fail("%d changes to %s in ten minutes, of which there may be %d", same, to, s.budget)
	}
}

// claimGivenUp holds the end of a claim against the rights of its holder.
func (l *ledger) claimGivenUp(s *state, c *claim) {
	for uid, p := range s.uids() {
		if string(uid) != c.Spec.Holder.UID || l.yielded[uid] || !p.DeletionTimestamp.IsZero() || s.cloud.gone {
			continue
		}
		if c.Spec.RequestedAt == nil || s.now.Sub(c.Spec.RequestedAt.Time) < claims.Answer {
			l.fail("a group is taken from a holder that has a right to it")
		}
	}
}

// effect notes a change that takes effect.
func (l *ledger) effect(s *state, token, to string, by int) {
	stored := s.policies[by].newest()
	uid := l.aheads[token].uid
	if _, twice := l.effects[token]; twice {
		l.fail("a token has two effects")
	}
	l.effects[token] = &effectNote{uid: uid, to: to}
	l.countChange(s, token, to)
	if c := s.claims.newest(); c != nil && c.Spec.Holder.UID != string(uid) && !l.blurred[uid] {
		l.fail("a change takes effect while another resource holds the group")
	}
	if _, known := l.origins[uid]; !known {
		l.origins[uid] = other(to) // as it was observed
	}
	for other := range l.origins {
		if other != uid {
			l.disturbed[other] = true
		}
	}
	l.disturbed[uid] = false
	for known, e := range l.effects {
		if known != token {
			e.hidden = true
		}
	}
	if stored == nil || stored.UID != uid {
		if l.restored[uid] && to != l.origins[uid] {
			l.fail("a change takes effect after its resource was let go, and is never put back")
		}
		return
	}
	if pending := stored.Status.PendingModification; !l.blurred[uid] && (pending == nil || pending.ClientToken != token) {
		l.fail("a change takes effect after it was given up")
	}
	l.awaitConfirmation(s, stored, to)
	if _, must := l.mustBePutBack(uid); (must || stored.Spec.DeletionPolicy == v1alpha1.DeletionRestore) && !hasFinalizer(stored) {
		l.fail("a change takes effect that nothing would put back")
	}
}

// awaitConfirmation notes that a change has to be confirmed from now on, or has been undone.
func (l *ledger) awaitConfirmation(s *state, stored *sgp, to string) {
	switch known, open := l.unconfirmed[stored.UID]; {
	case open && known.to == to:
		delete(l.unconfirmed, stored.UID)
	case open || stored.Spec.RollbackAfter == nil:
	case l.mustConfirm(stored, to):
		l.unconfirmed[stored.UID] = unconfirmed{other(to), s.now.Add(stored.Spec.RollbackAfter.Duration)}
	}
}

// mustConfirm tells whether a change that takes effect may stand only if it is confirmed.
func (l *ledger) mustConfirm(stored *sgp, to string) bool {
	b, pending := stored.Status.Rollback, stored.Status.PendingModification
	if b == nil { // it asks for one, or puts drift right from what was found so
		return pending != nil && pending.Cause == v1alpha1.CauseSpec && !approves(stored.Annotations[v1alpha1.AnnotationConfirm], stored.Generation)
	}
	return !b.RolledBack && !b.Confirmed && b.To != to && !confirms(stored, b)
}

// confirmed notes that a change may stand.
func (l *ledger) confirmed(p *sgp) { delete(l.unconfirmed, p.UID) }

// edited notes what an edit means for a change that nobody has confirmed.
func (l *ledger) edited(p *sgp) {
	if p.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		l.lenient[p.UID] = true
	}
}

// forgotten notes that request ids may be lost that were answered.
func (l *ledger) forgotten() {
	for _, e := range l.effects {
		e.answered = false
	}
}

// outsider notes that somebody else changes the group.
func (l *ledger) outsider(s *state) {
	for uid, p := range s.uids() {
		if p.Status.PendingModification != nil {
			l.blurred[uid] = true
		}
	}
	for uid := range l.origins {
		l.disturbed[uid] = true
	}
	for _, e := range l.effects {
		e.hidden = true
	}
}

// statusWritten holds a new status against what is true.
func (l *ledger) statusWritten(s *state, i int, old, written *sgp) {
	was, is := old.Status.PendingModification, written.Status.PendingModification
	if is != nil && was != nil && is.ClientToken == was.ClientToken && is.OwnerAccount != was.OwnerAccount {
		l.fail("the parameters of a request are changed")
	}
	if is != nil && pendingID(is) != pendingID(was) {
		l.aheads[is.ClientToken] = ahead{uid: old.UID, owner: is.OwnerAccount, edits: s.edits[i], at: s.now, by: l.writer, rollsBack: is.Cause == v1alpha1.CauseRollback}
		if b := old.Status.Rollback; is.Cause == v1alpha1.CauseRollback && (was == nil || was.ClientToken != is.ClientToken) && (b == nil || l.unconfirmed[old.UID].to != is.To || s.now.Add(s.managers[l.writer].skew).Before(b.Deadline.Time)) {
			l.fail("a change is put back that is confirmed, or before its time")
		}
	}
	if is != nil {
		known := l.aheads[is.ClientToken]
		known.approved = approves(old.Annotations[v1alpha1.AnnotationApprove], old.Generation)
		l.aheads[is.ClientToken] = known
	}
	if m := written.Status.LastModification; m != nil && was != nil && modificationID(m) != modificationID(old.Status.LastModification) {
		if e := l.effects[was.ClientToken]; e != nil && m.To == was.To {
			e.recorded = true
			if e.answered && m.RequestID == "" {
				l.fail("the request id of a change is lost")
			}
		}
	}
	if was != nil && (is == nil || is.ClientToken != was.ClientToken) {
		if e := l.effects[was.ClientToken]; e != nil && !e.recorded && !e.hidden {
			l.fail("a change that took effect is given up without a record")
		}
	}
	ready := apimeta.FindStatusCondition(written.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != old.Generation || old.Spec.Suspend {
		return
	}
	m := s.managers[l.writer]
	last, known := m.answered[old.UID]
	switch {
	case known && last.value != desired(old):
		l.fail("Ready is True although the last observation was %s", last.value)
	case known && s.now.Sub(last.at) > 2*resync:
		l.fail("Ready is True on an observation of %v ago", s.now.Sub(last.at))
	case !known && !apimeta.IsStatusConditionTrue(old.Status.Conditions, v1alpha1.ConditionReady):
		l.fail("Ready becomes True without an observation")
	}
	if is != nil && ready.Reason == v1alpha1.ReasonInSync {
		l.fail("Ready is True while a change may be under way")
	}
}

// passEnded holds what is stored against what the pass has learnt.
func (l *ledger) passEnded(s *state, n, i int, p *pass, o outcome) {
	stored := s.policies[i].newest()
	if o.err != nil || stored == nil || stored.UID != p.p.UID || stored.ResourceVersion != p.p.ResourceVersion || stored.Spec.Suspend {
		return
	}
	last, known := s.managers[n].answered[stored.UID]
	if known && last.value != desired(stored) && apimeta.IsStatusConditionTrue(stored.Status.Conditions, v1alpha1.ConditionReady) &&
		stored.Status.ObservedGeneration == stored.Generation {
		l.fail("Ready stays True although the last observation was %s", last.value)
	}
}

// vanished holds the end of a resource against the group that it leaves.
func (l *ledger) vanished(s *state, i int, last *sgp) {
	original, changed := l.origins[last.UID]
	if to, must := l.mustBePutBack(last.UID); must && last.Spec.DeletionPolicy != v1alpha1.DeletionRestore && !l.disturbed[last.UID] && !l.blurred[last.UID] &&
		!s.cloud.gone && s.cloud.value != to {
		l.fail("a resource is gone whose change nobody has confirmed, and the group is still %s", s.cloud.value)
	}
	if last.Spec.DeletionPolicy != v1alpha1.DeletionRestore || !changed || last.Spec.ManagementPolicy == v1alpha1.ManagementObserve || s.cloud.gone {
		return
	}
	if l.disturbed[last.UID] || l.blurred[last.UID] {
		return
	}
	if s.cloud.value != original {
		l.fail("a resource with Restore is gone, and the group is %s; it was %s", s.cloud.value, original)
	}
	l.restored[last.UID] = true
}

// settled holds a state against what is promised once nothing disturbs any more.
func (s *state) settled() string {
	live := s.uids()
	c := s.claims.newest()
	for uid, open := range s.ledger.unconfirmed {
		if _, must := s.ledger.mustBePutBack(uid); !must {
			continue
		}
		if p := live[uid]; p != nil && !p.Spec.Suspend && claims.HeldBy(c, p) && s.now.After(open.until.Add(resync)) && !s.cloud.gone &&
			s.cloud.value != open.to && (!s.guarded || !s.nodes || open.to != ecs.Drop) {
			return "a change that nobody has confirmed is not put back"
		}
	}
	wanted := false
	for i := range s.policies {
		p := s.policies[i].newest()
		if p == nil {
			continue
		}
		if why := s.settledPolicy(p, c); why != "" {
			return fmt.Sprintf("r%d: %s", i, why)
		}
		wanted = wanted || claims.Wants(p)
	}
	switch {
	case c != nil && live[types.UID(c.Spec.Holder.UID)] == nil:
		return "the claim names a holder that does not exist"
	case c == nil && wanted && !s.cloud.gone:
		return "nobody holds the group"
	}
	for n, m := range s.managers {
		if !m.up {
			continue
		}
		for uid := range m.entries {
			if live[uid] == nil {
				return fmt.Sprintf("manager %d remembers a resource that is gone", n)
			}
		}
		if m.lines.Len() > len(live) || c == nil && m.endings.Len() > 0 {
			return fmt.Sprintf("manager %d keeps %d candidates and %d holders for %d resources", n, m.lines.Len(), m.endings.Len(), len(live))
		}
	}
	return ""
}

// heldBack tells whether a resource says rightly that its change is held.
func (s *state) heldBack(p *sgp, reason string) bool {
	approved := approves(p.Annotations[v1alpha1.AnnotationApprove], p.Generation)
	wanted := desired(p)
	switch {
	case p.DeletionTimestamp.IsZero():
	case p.Spec.DeletionPolicy == v1alpha1.DeletionRestore:
		wanted = p.Status.OriginalInnerAccessPolicy
	case openRollback(p) != nil:
		wanted = p.Status.Rollback.To
	}
	return reason == v1alpha1.ReasonApprovalRequired && !approved && s.cloud.value != wanted && (s.demands || s.nodes && wanted == ecs.Drop || s.budget > 0)
}

func (s *state) settledPolicy(p *sgp, c *claim) string {
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	is := func(reason string) bool { return ready != nil && ready.Reason == reason }
	switch {
	case p.Spec.Suspend:
		if !is(v1alpha1.ReasonSuspended) {
			return "does not say that it is suspended"
		}
	case ready != nil && s.heldBack(p, ready.Reason):
	case !p.DeletionTimestamp.IsZero():
		return "is not let go"
	case ready == nil || p.Status.ObservedGeneration != p.Generation:
		return "says nothing of its spec"
	case s.cloud.gone:
		if !is(v1alpha1.ReasonSecurityGroupNotFound) && !is(v1alpha1.ReasonConflict) {
			return "does not say that there is no group: " + ready.Reason
		}
	case p.Spec.ManagementPolicy == v1alpha1.ManagementObserve:
		if is(v1alpha1.ReasonInSync) != (s.cloud.value == desired(p)) {
			return "does not tell the truth about the group: " + ready.Reason
		}
	case claims.HeldBy(c, p) && isRolledBack(p) && p.Status.Rollback.To != desired(p):
		if !is(v1alpha1.ReasonRolledBack) && s.cloud.value != desired(p) {
			return "is rolled back, and says " + ready.Reason
		}
	case claims.HeldBy(c, p):
		if !is(v1alpha1.ReasonInSync) || s.cloud.value != desired(p) {
			return fmt.Sprintf("holds the group, which is %s, and says %s", s.cloud.value, ready.Reason)
		}
	case !is(v1alpha1.ReasonConflict):
		return "does not hold the group, and says " + ready.Reason
	}
	return ""
}
