package securitygrouppolicy

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// stuckAfter is when a pass that has not ended by then counts as stuck.
const stuckAfter = 2 * passLimit

// memory is what the process knows beside the cluster, and can lose: it speaks only of
// when, never of what. It holds the resources that the watch has told of, and no
// others.
type memory struct {
	mu      sync.Mutex
	began   time.Time
	entries map[types.UID]*packed
	running map[types.UID]time.Time // passes, by their beginning
	// unsettled are the groups that a former holder has changed a moment ago, and until
	// when reads may not show it.
	unsettled map[claims.Group]time.Time
	// departed are the resources that were deleted a while ago.
	departed map[types.UID]time.Time
}

// departedFor is for how long a resource that is gone is known to have been this
// manager's: until its claim is gone as well.
const departedFor = 10 * time.Minute

// entry is what is remembered of a resource between passes.
type entry struct {
	// since is since when this process has known of the resource.
	since time.Time
	// modification and pending are since when this process has known of the change
	// that the status holds.
	modification, pending sighting
	// observed is the last answer of ECS, and observedAt when it came.
	observed   string
	observedAt time.Time
	// failures counts those in a row, for the backoff.
	failures int
	// waitingSince is since when it has been waiting for another.
	waitingSince time.Time
	// askedAt is when it asked the holder of its group for it.
	askedAt time.Time
}

// packed is an entry as it is kept, where there may be tens of thousands: half as large,
// and with fewer pointers for the collector to follow.
type packed struct {
	since, modification, pending, observedAt, waitingSince, askedAt moment
	modificationID, pendingID, observed                             string
	failures                                                        int
}

// moment is how long after the beginning of the memory something was; zero for never.
// Like a time.Time it does not follow when the system's clock is set.
type moment time.Duration

func (m *memory) pack(e entry) *packed {
	at := func(t time.Time) moment {
		if t.IsZero() {
			return 0
		}
		return moment(t.Sub(m.began))
	}
	return &packed{since: at(e.since), modification: at(e.modification.since), pending: at(e.pending.since),
		observedAt: at(e.observedAt), waitingSince: at(e.waitingSince), askedAt: at(e.askedAt),
		modificationID: e.modification.id, pendingID: e.pending.id, observed: e.observed, failures: e.failures}
}

func (m *memory) unpack(p *packed) entry {
	at := func(d moment) time.Time {
		if d == 0 {
			return time.Time{}
		}
		return m.began.Add(time.Duration(d))
	}
	return entry{since: at(p.since), modification: sighting{p.modificationID, at(p.modification)}, pending: sighting{p.pendingID, at(p.pending)},
		observedAt: at(p.observedAt), waitingSince: at(p.waitingSince), askedAt: at(p.askedAt), observed: p.observed, failures: p.failures}
}

// sighting is since when something has been known.
type sighting struct {
	id    string
	since time.Time
}

// age is for how long id has been known; what is new has no age.
func (s sighting) age(id string, now time.Time) time.Duration {
	if s.id != id {
		return 0
	}
	return max(0, now.Sub(s.since))
}

// note keeps since when id has been known.
func (s *sighting) note(id string, now time.Time) {
	if s.id != id {
		*s = sighting{id, now}
	}
}

// modificationID tells one change from another; empty for none.
func modificationID(m *v1alpha1.Modification) string {
	switch {
	case m == nil:
		return ""
	case m.RequestID != "":
		return m.RequestID
	}
	return m.To + m.Time.Format(time.RFC3339)
}

// pendingID tells one sending of a request from another; empty for none.
func pendingID(m *v1alpha1.PendingModification) string {
	if m == nil {
		return ""
	}
	return m.ClientToken + m.Time.Format(time.RFC3339)
}

// track begins to remember a resource.
func (m *memory) track(uid types.UID, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil {
		m.began = now.Add(-1) // so that nothing is remembered from a moment of zero
		m.entries, m.running = map[types.UID]*packed{}, map[types.UID]time.Time{}
		m.unsettled, m.departed = map[claims.Group]time.Time{}, map[types.UID]time.Time{}
	}
	if m.entries[uid] == nil {
		m.entries[uid] = m.pack(entry{since: now})
	}
}

// unsettle notes that a group has lost its holder, and for how long reads may not show
// what that one has done.
func (m *memory) unsettle(g claims.Group, now time.Time, left time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for known, until := range m.unsettled {
		if !now.Before(until) {
			delete(m.unsettled, known)
		}
	}
	if left > 0 && m.unsettled != nil {
		m.unsettled[g] = now.Add(left)
	}
}

// stillLags is for how long reads may not show the last change of a resource.
func (e *entry) stillLags(p *v1alpha1.SecurityGroupPolicy, now time.Time) time.Duration {
	if id := modificationID(p.Status.LastModification); id != "" {
		return policy.Lag - e.modification.age(id, now)
	}
	return 0
}

// settles is for how long a group is unsettled.
func (m *memory) settles(g claims.Group, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, m.unsettled[g].Sub(now))
}

// forget drops a resource that is gone. A pass that is still under way leaves nothing
// behind.
func (m *memory) forget(p *v1alpha1.SecurityGroupPolicy, now time.Time) {
	if known, found := m.entry(p.UID); found {
		m.unsettle(claims.GroupOf(p), now, known.stillLags(p, now))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, at := range m.departed {
		if now.Sub(at) > departedFor {
			delete(m.departed, uid)
		}
	}
	if m.entries[p.UID] != nil {
		m.departed[p.UID] = now
	}
	delete(m.entries, p.UID)
}

// knows tells whether a resource is this manager's, or was until it was deleted.
func (m *memory) knows(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, departed := m.departed[uid]
	return departed || m.entries[uid] != nil
}

func (m *memory) entry(uid types.UID) (known entry, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.entries[uid]; p != nil {
		return m.unpack(p), true
	}
	return entry{}, false
}

func (m *memory) tracks(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[uid] != nil
}

// begin notes that a pass runs, and gives what is remembered of its resource.
func (m *memory) begin(p *v1alpha1.SecurityGroupPolicy, now time.Time) entry {
	known, found := m.entry(p.UID)
	known.modification.note(modificationID(p.Status.LastModification), now)
	known.pending.note(pendingID(p.Status.PendingModification), now)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		m.running[p.UID] = now
	}
	if found && m.entries[p.UID] != nil {
		m.entries[p.UID] = m.pack(known)
	}
	return known
}

// keep remembers what a pass leaves behind.
func (m *memory) keep(uid types.UID, e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[uid] != nil {
		m.entries[uid] = m.pack(e)
	}
}

// end notes that the pass has ended.
func (m *memory) end(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, uid)
}

// Alive is a liveness check: it fails when a pass is stuck.
func (r *Reconciler) Alive(*http.Request) error {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	for uid, since := range r.memory.running {
		if took := r.Clock.Since(since); took > stuckAfter {
			return fmt.Errorf("the reconciliation of the resource with uid %s has not ended for %s", uid, took.Round(time.Second))
		}
	}
	return nil
}

// begin reads everything that the process knows of a resource, and of its group.
func (r *Reconciler) begin(ctx context.Context, p *v1alpha1.SecurityGroupPolicy) (*pass, error) {
	g := claims.GroupOf(p)
	claim := &v1alpha1.SecurityGroupClaim{}
	switch err := r.Client.Get(ctx, types.NamespacedName{Name: g.ClaimName()}, claim); {
	case apierrors.IsNotFound(err):
		claim = nil
	case err != nil:
		return nil, fmt.Errorf("read the claim from the cache: %w", err)
	case claims.Of(claim) != g:
		claim = nil // made by hand; the name is taken, as creating one will show
	}
	now := r.Clock.Now()
	s := &pass{p: p, stored: p.DeepCopy(), claim: claim, known: r.memory.begin(p, now)}
	if !s.known.waitingSince.IsZero() {
		s.waited = now.Sub(s.known.waitingSince)
	}
	if claims.Wants(p) && !claims.HeldBy(claim, p) {
		s.unsettled = r.memory.settles(g, now)
	}
	if !claims.Wants(p) || claims.HeldBy(claim, p) {
		r.Lines.Leave(p.UID)
		return s, nil
	}
	if r.memory.tracks(p.UID) {
		r.Lines.Enter(p)
	}
	next, found := r.Lines.Next(g, now)
	s.first = found && next.UID == p.UID
	return s, nil
}
