package securitygrouppolicy

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/controllers/securitygroupclaim"
	"github.com/sgp-operator/sgp-operator/internal/claims"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

type silent struct{}

func (silent) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

// reconciler is the real one of a manager, on a port.
func (s *state) reconciler(n int, p *port, serial int64) *Reconciler {
	m := s.managers[n]
	p.guarded = s.guarded
	p.skew, p.clock = m.skew, testclock.NewFakePassiveClock(s.now.Add(m.skew))
	p.cached = func(o client.Object) error {
		switch o := o.(type) {
		case *claim:
			if c := s.claims.at(m.claim); c != nil {
				c.DeepCopyInto(o)
				return nil
			}
		case *sgp:
			for i := range s.policies {
				if c := s.policies[i].at(m.seen[i]); c != nil && c.Name == o.Name {
					c.DeepCopyInto(o)
					return nil
				}
			}
		}
		return notFound("cached")
	}
	tokens := 0
	r := &Reconciler{
		Client: p, APIReader: live{p: p}, Lines: m.lines, Recorder: silent{}, Clock: p.clock,
		Clouds:         func(context.Context, *sgp) (Cloud, string, error) { return p, v1alpha1.OwnAccount, nil },
		Jitter:         func(d time.Duration) time.Duration { return d / 2 },
		NewClientToken: func() string { tokens++; return "t" + itoa(serial) + "." + strconv.Itoa(tokens) },
		ResyncInterval: resync, MaxConcurrentReconciles: 1,
		Guard: p, Approvals: func(context.Context, string, string) (bool, string, error) { return s.demands, "", nil },
	}
	r.memory.began, r.memory.entries, r.memory.running = m.began.Add(-1000*time.Hour), map[types.UID]*packed{}, map[types.UID]time.Time{}
	r.memory.unsettled, r.memory.departed = map[claims.Group]time.Time{}, maps.Clone(m.departed)
	if r.ChangeBudget = s.budget; s.budget > 0 {
		kept := m.spent.clone()
		r.budget.prepare()
		if r.budget.filled = kept.filled; kept.waitsFor != nil {
			r.budget.spent, r.budget.waiting, r.budget.waitsFor = kept.spent, kept.waiting, kept.waitsFor
		}
	}
	if !m.unsettled.IsZero() {
		r.memory.unsettled[explored] = m.unsettled
	}
	for uid, e := range m.entries {
		r.memory.entries[uid] = r.memory.pack(e)
	}
	return r
}

// keepMemory takes over what a reconciler remembers.
func (m *manager) keepMemory(r *Reconciler) {
	if r.ChangeBudget > 0 {
		m.spent = budgetState{r.budget.filled, r.budget.spent, r.budget.waiting, r.budget.waitsFor}.clone()
	}
	m.unsettled, m.departed = r.memory.unsettled[explored], r.memory.departed
	m.entries = map[types.UID]entry{}
	for uid, e := range r.memory.entries {
		m.entries[uid] = r.memory.unpack(e)
	}
}

// queuePort notes who is woken.
type queuePort struct {
	queue

	s *state
	m *manager
}

// Add implements the queue.
func (q queuePort) Add(r reconcile.Request) {
	for i := range q.s.policies {
		if r.Name == "r"+itoa(int64(i)) {
			q.m.due[i] = q.s.now
		}
	}
}

func (s *state) claimReconciler(n int, p *port) *securitygroupclaim.Reconciler {
	r := s.reconciler(n, p, 0)
	return &securitygroupclaim.Reconciler{Client: p, APIReader: existing{s: s}, Endings: s.managers[n].endings, Clock: r.Clock, Jitter: r.Jitter}
}

// existing reads resources as they are.
type existing struct {
	client.Reader

	s *state
}

// Get implements client.Reader.
func (e existing) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	for i := range e.s.policies {
		if p := e.s.policies[i].newest(); p != nil && p.Name == key.Name {
			o.SetUID(p.UID)
			return nil
		}
	}
	return notFound(key.Name)
}

// deliverPolicy tells a manager of the next version of a resource.
func (s *state) deliverPolicy(n, i int) {
	m := s.managers[n]
	was := s.policies[i].at(m.seen[i])
	r, c := s.reconciler(n, &port{}, 0), s.claimReconciler(n, &port{})
	m.seen[i]++
	is := s.policies[i].at(m.seen[i])
	predicate, asks := r.asksForAPass(), false
	switch {
	case was == nil && is != nil:
		asks = predicate.Create(event.CreateEvent{Object: is})
	case was != nil && is == nil:
		asks = predicate.Delete(event.DeleteEvent{Object: was})
		if _, held := c.HolderGone(context.Background(), was, true); held {
			m.claimDue = s.now
		}
		m.due[i] = time.Time{}
	case was != nil && is != nil:
		asks = predicate.Update(event.UpdateEvent{ObjectOld: was, ObjectNew: is})
	}
	if asks {
		m.due[i] = s.now
	}
	m.keepMemory(r)
}

// deliverClaim tells a manager of the next version of the claim.
func (s *state) deliverClaim(n int) {
	m := s.managers[n]
	was := s.claims.at(m.claim)
	m.claim++
	is := s.claims.at(m.claim)
	r := s.reconciler(n, &port{}, 0)
	handler, q := r.ofClaim(), queuePort{s: s, m: m}
	defer m.keepMemory(r)
	switch {
	case was == nil && is != nil:
		handler.Create(context.Background(), event.CreateEvent{Object: is}, q)
		m.claimDue = s.now
	case was != nil && is == nil:
		handler.Delete(context.Background(), event.DeleteEvent{Object: was}, q)
		m.endings.Forget(types.UID(was.Spec.Holder.UID))
		m.claimDue = time.Time{}
	case was != nil && is != nil:
		handler.Update(context.Background(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q)
		m.claimDue = s.now
	}
}

// reconcileClaim is one reconciliation of the claim, at once: that a holder is gone
// cannot become untrue between its two requests.
func (s *state) reconcileClaim(n int) {
	m := s.managers[n]
	m.claimDue = time.Time{}
	cached := s.claims.at(m.claim)
	if cached == nil {
		return
	}
	p := &port{}
	r := s.claimReconciler(n, p)
	r.Client = deleting{port: p, s: s}
	result, err := r.Reconcile(context.Background(), cached.DeepCopy())
	if err != nil {
		result.RequeueAfter = time.Second
	}
	if result.RequeueAfter > 0 {
		m.claimDue = s.now.Add(result.RequeueAfter.Truncate(time.Second) + time.Second)
	}
}

type deleting struct {
	*port

	s *state
}

// Delete implements client.Client.
func (d deleting) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	return d.s.deleteClaim(o.(*claim))
}

// startPass begins a pass over a resource as the manager's cache has it.
func (s *state) startPass(n, i int) {
	m := s.managers[n]
	m.due[i] = time.Time{}
	cached := s.policies[i].at(m.seen[i])
	if cached == nil {
		return
	}
	s.serial++
	r := s.reconciler(n, &port{}, s.serial)
	object := cached.DeepCopy()
	begun, err := r.begin(context.Background(), object)
	if err != nil {
		panic(err)
	}
	m.keepMemory(r)
	m.runs[i] = &run{object: cached, begin: begun, serial: s.serial, label: itoa(int64(s.policies[i].last() - m.seen[i]))}
	s.replay(n, i)
}

// replay runs a pass with the answers that it has, up to its next request or its end.
func (s *state) replay(n, i int) {
	m := s.managers[n]
	current := *m.runs[i]
	again := *current.begin
	again.p = current.begin.p.DeepCopy()
	again.stored = current.begin.stored.DeepCopy()
	p := &port{answers: current.answers}
	r := s.reconciler(n, p, current.serial)
	var o outcome
	done := func() (done bool) {
		defer func() {
			switch at := recover().(type) {
			case nil:
			case stopped:
				current.next = at.at
			default:
				panic(at)
			}
		}()
		o = r.work(context.Background(), &again)
		return true
	}()
	if !done {
		m.runs[i] = &current
		return
	}
	m.runs[i] = nil
	p.clock.SetTime(s.now.Add(m.skew))
	r.waker.queue = queuePort{s: s, m: m}
	result, err := r.commit(&again, o)
	m.keepMemory(r)
	s.ledger.passEnded(s, n, i, &again, o)
	switch {
	case err != nil:
		m.due[i] = s.now.Add(firstBackoff)
	case result.RequeueAfter > 0 && (m.due[i].IsZero() || m.due[i].After(s.now.Add(result.RequeueAfter))):
		m.due[i] = s.now.Add(result.RequeueAfter.Truncate(time.Second) + time.Second)
	}
	if again.p.UID != "" && s.policies[i].at(m.seen[i]) == nil {
		m.due[i] = time.Time{}
	}
}

// filled has the budget of a manager count what the statuses tell.
func (s *state) filled(n int, r *Reconciler) *Reconciler {
	if s.budget == 0 {
		return r
	}
	s.managers[n].keepMemory(r)
	r = s.reconciler(n, &port{}, 0)
	if err := r.budget.fill(context.Background(), r); err != nil {
		panic(err)
	}
	return r
}

// reply gives a pass an answer, and lets it go on.
func (s *state) reply(n, i int, a *answer) {
	m := s.managers[n]
	current := *m.runs[i]
	a.at = s.now
	current.answers = append(slices.Clone(current.answers), a)
	current.label += "," + a.label
	current.next = nil
	m.runs[i] = &current
	s.replay(n, i)
}

// begin starts a manager: its caches are filled, and everything is reconciled.
func (s *state) begin(n int) {
	m := &manager{up: true, departed: map[types.UID]time.Time{}, skew: s.managers[n].skew, began: s.now, seen: make([]int, len(s.policies)), entries: map[types.UID]entry{},
		lines: &claims.Lines{}, endings: &claims.Endings{}, due: make([]time.Time, len(s.policies)), runs: make([]*run, len(s.policies)),
		answered: map[types.UID]answered{}}
	s.managers[n] = m
	s.ledger.forgotten()
	r := s.reconciler(n, &port{}, 0)
	for i := range s.policies {
		m.seen[i] = s.policies[i].last()
		if p := s.policies[i].newest(); p != nil {
			r.arrive(p)
			m.due[i] = s.now
		}
	}
	// What the pass would read once is read here: a pass is replayed when its cache has moved on.
	r = s.filled(n, r)
	m.claim = s.claims.last()
	if c := s.claims.newest(); c != nil {
		r.Lines.Leave(types.UID(c.Spec.Holder.UID))
		m.claimDue = s.now
	}
	m.keepMemory(r)
}
