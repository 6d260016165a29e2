package securitygrouppolicy

import (
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

const (
	exploredRegion = "cn-hangzhou"
	exploredGroup  = "sg-1"
	// realLag is how late ECS shows, and takes, a change.
	realLag = 30 * time.Second
	// resync is the interval of the explored resources.
	resync = 10 * time.Minute
)

var explored = claims.Group{RegionID: exploredRegion, SecurityGroupID: exploredGroup}

var epoch = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

type (
	sgp   = v1alpha1.SecurityGroupPolicy
	claim = v1alpha1.SecurityGroupClaim
)

// versions are what an object has been, the newest last; nil for none. Only as many
// are kept as a cache may be behind.
type versions[T any] struct {
	list []*T
	base int // number of the first
}

func (v *versions[T]) newest() (o *T) {
	if len(v.list) > 0 {
		o = v.list[len(v.list)-1]
	}
	return o
}

func (v *versions[T]) last() int { return v.base + len(v.list) - 1 }

func (v *versions[T]) at(n int) *T {
	if n < v.base || len(v.list) == 0 {
		return nil
	}
	return v.list[n-v.base]
}

func (v *versions[T]) add(o *T) {
	v.list = append(slices.Clone(v.list), o)
	if extra := len(v.list) - maxBehind - 2; extra > 0 {
		v.list, v.base = v.list[extra:], v.base+extra
	}
}

// maxBehind is by how many versions a cache may lag.
const maxBehind = 2

// state is everything that can differ. It is copied before each step.
type state struct {
	now      time.Time
	rv       int64
	serial   int64
	policies []versions[sgp]
	claims   versions[claim]
	managers []*manager
	cloud    cloudState
	left     budgets
	// guarded says that the cluster runs in the group's account, and nodes that one of its
	// nodes is in the group.
	guarded, nodes bool
	// demands says that the account demands an approval of each change.
	demands bool
	// budget is how many changes to a value there may be in ten minutes; 0 for any number.
	budget int
	// edits counts the edits of each resource, and deletions count as one.
	edits []int
	// ledger is what the invariants need to know of the past.
	ledger ledger

	// actor is whose request was answered last: it goes on by itself.
	actor string

	// trail is how the state came about.
	trail *trail
}

// trail is a step and those before it.
type trail struct {
	before *trail
	at     time.Time
	action string
	depth  int
}

func (t *trail) length() int {
	if t == nil {
		return 0
	}
	return t.depth
}

// budgets bound what disturbs.
type budgets struct {
	total                                             int
	edit, remove, create, mode                        int
	stale, timeout, refuse, throttle, lose, outsider  int
	api, crash, takeover, vanish, wait, suspend, race int
	preempt, parameter, label                         int
	nodes, approve, confirm                           int
}

// cloudState is the group as ECS has it.
type cloudState struct {
	value string
	gone  bool
	// past are the values from before the changes of the last 30 seconds.
	past []pastValue
	// tokens are the requests that ECS has carried out.
	tokens map[string]string
	// flights are the requests that may still take effect.
	flights []flight
}

type pastValue struct {
	value string
	until time.Time
}

type flight struct {
	token, to string
	by        int
	deadline  time.Time
}

// manager is one process.
type manager struct {
	up    bool
	skew  time.Duration
	seen  []int
	claim int
	// began is since when it runs.
	began   time.Time
	entries map[types.UID]entry
	// unsettled is until when the group is, and departed are the resources that were
	// this manager's.
	unsettled time.Time
	departed  map[types.UID]time.Time
	lines     *claims.Lines
	endings   *claims.Endings
	// spent is what counts towards the budget, and changes are those that were sent.
	spent    budgetState
	changes  []spending
	due      []time.Time
	claimDue time.Time
	runs     []*run
	// answered is the last answer of ECS for each resource.
	answered map[types.UID]answered
}

type answered struct {
	value string
	at    time.Time
}

// budgetState is what a budget holds.
type budgetState struct {
	filled   bool
	spent    map[spendingOf][]spending
	waiting  map[spendingOf][]waiter
	waitsFor map[types.UID]spendingOf
}

func (b budgetState) clone() budgetState {
	c := budgetState{b.filled, map[spendingOf][]spending{}, map[spendingOf][]waiter{}, maps.Clone(b.waitsFor)}
	for key, all := range b.spent {
		c.spent[key] = slices.Clone(all)
	}
	for key, all := range b.waiting {
		c.waiting[key] = slices.Clone(all)
	}
	return c
}

// run is a pass under way: what it began with, and the answers that it has.
type run struct {
	object  *sgp
	begin   *pass
	serial  int64
	answers []*answer
	next    *request
	label   string
	// cleared says that the guard has found nothing.
	cleared bool
}

// follow is a copy of the state that an action is to change.
func (s *state) follow(action string) *state {
	c := *s
	c.policies = slices.Clone(s.policies)
	c.managers = slices.Clone(s.managers)
	for i, m := range c.managers {
		copied := *m
		copied.seen, copied.due, copied.runs = slices.Clone(m.seen), slices.Clone(m.due), slices.Clone(m.runs)
		copied.entries, copied.answered = maps.Clone(m.entries), maps.Clone(m.answered)
		copied.departed = maps.Clone(m.departed)
		copied.lines, copied.endings = m.lines.Clone(), m.endings.Clone()
		copied.spent, copied.changes = m.spent.clone(), slices.Clone(m.changes)
		c.managers[i] = &copied
	}
	c.cloud.past, c.cloud.flights = slices.Clone(s.cloud.past), slices.Clone(s.cloud.flights)
	c.cloud.tokens = maps.Clone(s.cloud.tokens)
	c.edits = slices.Clone(s.edits)
	c.ledger = s.ledger.clone()
	c.trail = &trail{s.trail, s.now, action, s.trail.length() + 1}
	return &c
}

// setCloud changes the group.
func (s *state) setCloud(value string) {
	if value == s.cloud.value {
		return
	}
	s.cloud.past = append(s.cloud.past, pastValue{s.cloud.value, s.now})
	s.cloud.value = value
}

// visible are the values that a read may show, the present one first.
func (s *state) visible() []string {
	values := []string{s.cloud.value}
	for _, p := range s.cloud.past {
		if s.now.Sub(p.until) <= realLag && !slices.Contains(values, p.value) {
			values = append(values, p.value)
		}
	}
	return values
}

// settleTime drops what time has taken care of.
func (s *state) settleTime() {
	s.cloud.past = slices.DeleteFunc(s.cloud.past, func(p pastValue) bool { return s.now.Sub(p.until) > realLag })
	s.cloud.flights = slices.DeleteFunc(s.cloud.flights, func(f flight) bool { return s.now.After(f.deadline) })
}

// effect carries a request out, unless it has been.
func (s *state) effect(token, to string, by int) {
	if _, done := s.cloud.tokens[token]; done || s.cloud.gone {
		return
	}
	s.cloud.tokens[token] = to
	s.ledger.effect(s, token, to, by)
	s.setCloud(to)
}

// The API server, as far as the reconciler uses it.

func notFound(name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "explored"}, name)
}

func conflicting(name string) error {
	return apierrors.NewConflict(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "explored"}, name, nil)
}

func (s *state) version(m *metav1.ObjectMeta) {
	s.rv++
	m.ResourceVersion = itoa(s.rv)
}

// putPolicy stores a version of a resource, and pushes caches that are too far behind.
func (s *state) putPolicy(i int, p *sgp) {
	if p != nil {
		s.version(&p.ObjectMeta)
	}
	s.policies[i].add(p)
	for n, m := range s.managers {
		if m.up && s.policies[i].last()-m.seen[i] > maxBehind {
			s.deliverPolicy(n, i)
		}
	}
}

func (s *state) putClaim(c *claim) {
	if c != nil {
		s.version(&c.ObjectMeta)
	}
	s.claims.add(c)
	for n, m := range s.managers {
		if m.up && s.claims.last()-m.claim > maxBehind {
			s.deliverClaim(n)
		}
	}
}

// writePolicy is a write with a resourceVersion: of the status, or of the metadata.
func (s *state) writePolicy(i int, r *request, status bool) (*sgp, error) {
	o := r.policy
	newest := s.policies[i].newest()
	switch {
	case newest == nil || newest.UID != o.UID:
		return nil, notFound(o.Name)
	case newest.ResourceVersion != o.ResourceVersion && r.locked():
		return nil, conflicting(o.Name)
	}
	written := newest.DeepCopy()
	if status {
		s.ledger.statusWritten(s, i, newest, o)
		o.Status.DeepCopyInto(&written.Status)
	} else {
		written.Finalizers = slices.Clone(o.Finalizers)
	}
	if !written.DeletionTimestamp.IsZero() && len(written.Finalizers) == 0 {
		s.vanish(i, written)
		return written, nil
	}
	s.putPolicy(i, written)
	return s.policies[i].newest(), nil
}

func (s *state) vanish(i int, last *sgp) {
	s.ledger.vanished(s, i, last)
	s.putPolicy(i, nil)
}

func (s *state) createClaim(o *claim) (*claim, error) {
	if s.claims.newest() != nil {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{}, o.Name)
	}
	created := o.DeepCopy()
	s.serial++
	created.UID = types.UID("claim-" + itoa(s.serial))
	s.putClaim(created)
	if p := s.uids()[types.UID(o.Spec.Holder.UID)]; p != nil && p.Spec.ManagementPolicy == v1alpha1.ManagementEnforce {
		delete(s.ledger.yielded, p.UID)
	}
	return s.claims.newest(), nil
}

func (s *state) updateClaim(o *claim) (*claim, error) {
	newest := s.claims.newest()
	switch {
	case newest == nil:
		return nil, notFound(o.Name)
	case newest.ResourceVersion != o.ResourceVersion:
		return nil, conflicting(o.Name)
	}
	written := newest.DeepCopy()
	o.Spec.DeepCopyInto(&written.Spec)
	s.putClaim(written)
	return s.claims.newest(), nil
}

func (s *state) deleteClaim(o *claim) error {
	newest := s.claims.newest()
	switch {
	case newest == nil:
		return notFound(o.Name)
	case newest.ResourceVersion != o.ResourceVersion || newest.UID != o.UID:
		return conflicting(o.Name)
	}
	s.ledger.claimGivenUp(s, newest)
	s.putClaim(nil)
	return nil
}

// resource is a new resource of the explored group.
func (s *state) resource(i int, value string, restoring bool) *sgp {
	s.serial++
	p := &sgp{
		ObjectMeta: metav1.ObjectMeta{Name: "r" + itoa(int64(i)), Namespace: "ns" + itoa(int64(i)), UID: types.UID("uid-" + itoa(s.serial)),
			Generation: 1, CreationTimestamp: metav1.NewTime(s.now).Rfc3339Copy()},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: exploredRegion, SecurityGroupID: exploredGroup, InnerAccessPolicy: value,
			ManagementPolicy: v1alpha1.ManagementEnforce, DeletionPolicy: v1alpha1.DeletionRetain,
			ResyncInterval: &metav1.Duration{Duration: resync}},
		Status: v1alpha1.SecurityGroupPolicyStatus{ObservedGeneration: -1},
	}
	if restoring {
		p.Spec.DeletionPolicy = v1alpha1.DeletionRestore
	}
	return p
}

func other(value string) string {
	if value == ecs.Accept {
		return ecs.Drop
	}
	return ecs.Accept
}
