package securitygrouppolicy

import (
	"flag"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// raceDetector tells whether the test has it.
var raceDetector bool

var (
	exploreTotal = flag.Int("explore.disturbances", 0, "how many disturbances an exploration may combine; 0: as many as the tests do")
	exploreOnly  = flag.String("explore.only", "", "which kinds of disturbances, separated by commas; all if empty")
	exploreLimit = flag.Int("explore.states", 3_000_000, "after how many states an exploration gives up")
	exploreWalks = flag.Int("explore.walks", 0, "how many random walks follow, with twice as many disturbances")
	exploreSeed  = flag.Uint64("explore.seed", 1, "what the random walks follow from")
)

// budgetsOf bounds each kind of disturbance, and all together.
func budgetsOf(total int) budgets {
	b := budgets{total: total}
	only := map[string]bool{}
	for kind := range strings.SplitSeq(*exploreOnly, ",") {
		only[kind] = true
	}
	for kind, bound := range map[string]struct {
		left *int
		most int
	}{
		"edit": {&b.edit, 2}, "remove": {&b.remove, 1}, "create": {&b.create, 1}, "mode": {&b.mode, 2}, "suspend": {&b.suspend, 1}, "parameter": {&b.parameter, 1}, "label": {&b.label, 1},
		"stale": {&b.stale, 2}, "timeout": {&b.timeout, 1}, "refuse": {&b.refuse, 1}, "throttle": {&b.throttle, 1}, "lose": {&b.lose, 1},
		"outsider": {&b.outsider, 1}, "vanish": {&b.vanish, 1}, "api": {&b.api, 1}, "crash": {&b.crash, 1}, "takeover": {&b.takeover, 1},
		"wait": {&b.wait, 1}, "race": {&b.race, 1}, "preempt": {&b.preempt, 2},
		"nodes": {&b.nodes, 1}, "approve": {&b.approve, 2}, "confirm": {&b.confirm, 1},
	} {
		if *exploreOnly == "" || only[kind] {
			*bound.left = bound.most
		}
	}
	return b
}

// setting is where an exploration begins.
type setting struct {
	resources, managers int
	skew                time.Duration
	total               int
	// least is how many states have to be found.
	least int
	// guarded and nodes say that the cluster runs in the group's account, and that a node
	// of it is in the group; demands that the account demands approvals.
	guarded, nodes, demands bool
	// budget is that of changes.
	budget int
	// rollbackAfter is that of the resources.
	rollbackAfter time.Duration
}

func (e setting) start() *state {
	s := &state{now: epoch, left: budgetsOf(e.total), ledger: newLedger(e.total), edits: make([]int, e.resources),
		guarded: e.guarded, nodes: e.nodes, demands: e.demands, budget: e.budget, policies: make([]versions[sgp], e.resources), cloud: cloudState{value: ecs.Accept, tokens: map[string]string{}}}
	for range e.managers {
		s.managers = append(s.managers, &manager{lines: &claims.Lines{}, endings: &claims.Endings{}})
	}
	if e.managers > 1 {
		s.managers[1].skew = e.skew
	}
	s.claims.add(nil)
	for i := range e.resources {
		s.policies[i].add(nil)
		p := s.resource(i, []string{ecs.Drop, ecs.Accept, ecs.Drop}[i], (e.resources == 1 || i == 2) && e.rollbackAfter == 0)
		if e.rollbackAfter > 0 {
			p.Spec.RollbackAfter = &metav1.Duration{Duration: e.rollbackAfter}
		}
		s.putPolicy(i, p)
		s.now = s.now.Add(time.Second)
	}
	s.begin(0)
	return s
}

// finding is a state in which something does not hold.
type finding struct {
	what  string
	state *state
}

// explore visits every state that can be reached, breadth first.
func explore(t *testing.T, e setting) (found *finding, states, depth int) {
	t.Helper()
	started := time.Now()
	seed := maphash.MakeSeed()
	key := func(s *state) uint64 { return maphash.String(seed, s.digest()) }
	seen, settled := map[uint64]bool{}, map[uint64]bool{}
	first := e.start()
	queue := []*state{first}
	seen[key(first)] = true
	for len(queue) > 0 {
		s := queue[0]
		queue[0] = nil
		queue = queue[1:]
		for _, step := range s.steps() {
			next := s.take(step)
			if next.ledger.broken != "" {
				return &finding{next.ledger.broken, next}, len(seen), next.trail.length()
			}
			if k := key(next); seen[k] {
				continue
			} else {
				seen[k] = true
			}
			depth = max(depth, next.trail.length())
			if next.now.Sub(epoch) < horizon {
				queue = append(queue, next)
			}
			if step.spend != nil {
				if f := next.drain(settled, key); f != nil {
					return f, len(seen), next.trail.length()
				}
			}
			if len(seen)%100_000 == 0 {
				t.Logf("%d states, depth %d, %d to visit, %v", len(seen), next.trail.length(), len(queue), time.Since(started).Round(time.Second))
			}
			if len(seen) >= *exploreLimit {
				t.Logf("gave up after %d states", len(seen))
				return nil, len(seen), depth
			}
		}
	}
	return nil, len(seen), depth
}

// horizon is how far the exploration goes: resyncs go on for ever, and a state that is
// reached later is one that was reached before, but for its time.
const horizon = resync + 2*time.Minute

// drain lets a state settle without further disturbance, and tells what is wrong then.
// Known are the states from which all settles well; those on the way are added.
func (s *state) drain(known map[uint64]bool, key func(*state) uint64) *finding {
	c := s.follow("(nothing disturbs any more)")
	c.left.total, c.ledger.holding = 0, ""
	c.deliverAll()
	// Two intervals for the holder, and two more for whoever observes what it does.
	end := s.now.Add(4*resync + 2*time.Minute)
	var way []uint64
	for range 1000 {
		if c.ledger.broken != "" {
			return &finding{c.ledger.broken, c}
		}
		k := key(c)
		if known[k] {
			break
		}
		way = append(way, k)
		steps := slices.DeleteFunc(c.steps(), func(t step) bool {
			return strings.HasSuffix(t.label, "resumed") || strings.HasSuffix(t.label, "takes effect")
		})
		if len(steps) == 0 || c.now.After(end) {
			if why := c.settled(); why != "" {
				return &finding{"at the end " + why, c}
			}
			break
		}
		c = c.take(steps[0])
	}
	for _, k := range way {
		known[k] = true
	}
	return nil
}

// path tells how a state came about.
func (s *state) path() string {
	var lines []string
	for t := s.trail; t != nil; t = t.before {
		lines = append(lines, fmt.Sprintf("  %6.0fs %s", t.at.Sub(epoch).Seconds(), t.action))
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

func (s *state) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cloud %s gone %v flights %+v\n", s.cloud.value, s.cloud.gone, s.cloud.flights)
	for i := range s.policies {
		if p := s.policies[i].newest(); p != nil {
			fmt.Fprintf(&b, "r%d uid %s spec %+v\n   deleting %v finalizers %v status %+v pending %+v last %+v\n", i, p.UID, p.Spec, p.DeletionTimestamp, p.Finalizers, p.Status, p.Status.PendingModification, p.Status.LastModification)
		}
	}
	if c := s.claims.newest(); c != nil {
		fmt.Fprintf(&b, "claim %+v\n", c.Spec)
	}
	return b.String()
}

func runExploration(t *testing.T, name string, e setting) {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	if *exploreTotal > 0 {
		e.total = *exploreTotal
	}
	started := time.Now()
	found, states, depth := explore(t, e)
	t.Logf("%s: %d disturbances of %+v, %d states, depth %d, %v", name, e.total, budgetsOf(e.total), states, depth, time.Since(started).Round(100*time.Millisecond))
	if found != nil {
		t.Fatalf("%s\nafter %d steps:\n%s\n%s", found.what, found.state.trail.length(), found.state.path(), found.state.describe())
	}
	if states < e.least && *exploreOnly == "" {
		t.Errorf("only %d states, at least %d were expected", states, e.least)
	}
	walk(t, e)
}

// walk goes on where not everything can be visited.
func walk(t *testing.T, e setting) {
	t.Helper()
	random := rand.New(rand.NewPCG(*exploreSeed, 1))
	e.total *= 2
	seed := maphash.MakeSeed()
	for n := range *exploreWalks {
		s := e.start()
		for range 200 {
			steps := s.steps()
			if len(steps) == 0 {
				break
			}
			step := steps[0]
			if random.IntN(3) == 0 {
				step = steps[random.IntN(len(steps))]
			}
			s = s.take(step)
			if s.ledger.broken != "" {
				t.Fatalf("walk %d: %s\n%s\n%s", n, s.ledger.broken, s.path(), s.describe())
			}
		}
		if f := s.drain(map[uint64]bool{}, func(s *state) uint64 { return maphash.String(seed, s.digest()) }); f != nil {
			t.Fatalf("walk %d: %s\n%s\n%s", n, f.what, f.state.path(), f.state.describe())
		}
	}
}

// The race detector has nothing to find here and takes ten times as long, so that
// make test explores without it.
func skipWithRaceDetector(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("explored without the race detector")
	}
	t.Parallel()
}

func TestExploreOneResourceAndTwoManagers(t *testing.T) {
	skipWithRaceDetector(t)
	for name, skew := range map[string]time.Duration{"clocks agree": 0, "the second is an hour ahead": time.Hour, "the second is an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			runExploration(t, name, setting{resources: 1, managers: 2, skew: skew, total: 2, least: 40_000})
		})
	}
}

func TestExploreThreeResourcesAndOneManager(t *testing.T) {
	skipWithRaceDetector(t)
	runExploration(t, "three resources", setting{resources: 3, managers: 1, total: 2, least: 600_000})
}

// TestExploreAGuardedGroup has a node of the cluster join and leave the group, approvals
// come and go, and one manager take over from another, whatever else happens.
func TestExploreAGuardedGroup(t *testing.T) {
	skipWithRaceDetector(t)
	for name, nodes := range map[string]bool{"with a node": true, "without one": false} {
		t.Run(name, func(t *testing.T) {
			runExploration(t, name, setting{resources: 1, managers: 2, total: 2, guarded: true, nodes: nodes, least: 20_000})
		})
	}
}

// TestExploreDemandedApprovals has an account demand an approval of each change.
func TestExploreDemandedApprovals(t *testing.T) {
	skipWithRaceDetector(t)
	runExploration(t, "demanded", setting{resources: 1, managers: 2, total: 2, demands: true, least: 10_000})
}

// TestExploreABudget lets one group change to each value once in ten minutes.
func TestExploreABudget(t *testing.T) {
	skipWithRaceDetector(t)
	runExploration(t, "budget", setting{resources: 1, managers: 2, total: 2, budget: 1, least: 20_000})
}

// TestExploreARollback has changes put back that nobody confirms, with clocks that agree
// and with others.
func TestExploreARollback(t *testing.T) {
	skipWithRaceDetector(t)
	for name, skew := range map[string]time.Duration{"clocks agree": 0, "the second is an hour ahead": time.Hour, "the second is an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			runExploration(t, name, setting{resources: 1, managers: 2, skew: skew, total: 2, rollbackAfter: 3 * time.Minute, least: 20_000})
		})
	}
}

// digest is the same for states from which the same can follow. Times count from now,
// versions from the newest.
func (s *state) digest() string {
	var b strings.Builder
	age := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		age := s.now.Sub(t)
		if age > 2*time.Minute { // of what is older only the interval matters
			age = min(age.Truncate(resync), 3*resync)
		}
		return itoa(int64(max(age, -2*time.Hour) / time.Second))
	}
	fmt.Fprintf(&b, "%v|%s%v%v|", s.left, s.cloud.value, s.cloud.gone, s.nodes)
	for _, p := range s.cloud.past {
		b.WriteString(p.value + age(p.until) + ",")
	}
	for _, f := range s.cloud.flights {
		b.WriteString("f" + itoa(int64(f.by)) + f.to + age(f.deadline))
	}
	b.WriteString(s.ledger.holding + "a" + s.actor)
	uids := map[types.UID]string{}
	for i := range s.policies {
		v := &s.policies[i]
		for n := max(v.base, v.last()-maxBehind); n <= v.last(); n++ {
			b.WriteString("|")
			s.digestPolicy(&b, v.at(n), age)
			if p := v.at(n); p != nil {
				uids[p.UID] = fmt.Sprintf("%d/%v", i, p == v.newest())
			}
		}
		fmt.Fprintf(&b, "e%d", s.edits[i])
	}
	for n := max(s.claims.base, s.claims.last()-maxBehind); n <= s.claims.last(); n++ {
		if c := s.claims.at(n); c != nil {
			b.WriteString("|c" + uids[types.UID(c.Spec.Holder.UID)])
			if c.Spec.RequestedAt != nil {
				b.WriteString("r")
			}
		} else {
			b.WriteString("|-")
		}
	}
	for n, m := range s.managers {
		if m.up {
			s.digestManager(&b, n, uids, age)
		}
	}
	for i := range s.policies {
		if p := s.policies[i].newest(); p != nil {
			fmt.Fprintf(&b, "|%v%v%v", s.ledger.origins[p.UID], s.ledger.disturbed[p.UID], len(s.ledger.calls[p.UID]))
			if open, must := s.ledger.unconfirmed[p.UID]; must {
				fmt.Fprintf(&b, "%s%s%v", open.to, age(open.until), s.ledger.lenient[p.UID])
			}
		}
	}
	return b.String()
}

func (s *state) digestPolicy(b *strings.Builder, p *sgp, age func(time.Time) string) {
	if p == nil {
		b.WriteString("-")
		return
	}
	st := &p.Status
	fmt.Fprintf(b, "%s%s%v%d%d%v%d%s%s", p.Spec.InnerAccessPolicy, p.Spec.ManagementPolicy, p.Spec.Suspend, p.Generation-st.ObservedGeneration, len(p.Finalizers),
		p.DeletionTimestamp.IsZero(), len(st.DriftCorrections), st.InnerAccessPolicy, st.OriginalInnerAccessPolicy)
	for _, name := range []string{v1alpha1.AnnotationApprove, v1alpha1.AnnotationConfirm} {
		if value := p.Annotations[name]; value != "" {
			fmt.Fprintf(b, "@%v", approves(value, p.Generation))
		}
	}
	if r := st.Rollback; r != nil {
		fmt.Fprintf(b, "B%s%d%v%v%s", r.To, p.Generation-r.Generation, r.RolledBack, r.Confirmed, age(r.Deadline.Time))
	}
	if m := st.LastModification; m != nil {
		fmt.Fprintf(b, "L%s%s%s%v%v", m.From, m.To, m.Cause, m.RequestID != "", m.Generation == p.Generation)
	}
	if m := st.PendingModification; m != nil {
		_, done := s.cloud.tokens[m.ClientToken]
		fmt.Fprintf(b, "P%s%s%s%v%v%v", m.From, m.To, m.Cause, done, m.OwnerAccount == p.Spec.OwnerAccount, m.Generation == p.Generation)
	}
	if st.LastError != nil {
		b.WriteString("E" + st.LastError.Code)
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionSuspended} {
		if c := apimeta.FindStatusCondition(st.Conditions, kind); c != nil {
			b.WriteString("," + string(c.Status) + c.Reason + itoa(p.Generation-c.ObservedGeneration))
			if kind == v1alpha1.ConditionReady && c.Status == "True" {
				b.WriteString(age(c.LastTransitionTime.Time))
			}
		}
	}
}

func (s *state) digestManager(b *strings.Builder, n int, uids map[types.UID]string, age func(time.Time) string) {
	m := s.managers[n]
	local := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return age(t.Add(-m.skew))
	}
	for _, key := range []spendingOf{{v1alpha1.OwnAccount, ecs.Accept}, {v1alpha1.OwnAccount, ecs.Drop}} {
		for _, c := range m.spent.spent[key] {
			b.WriteString("$" + key.to + local(c.at))
		}
		fmt.Fprintf(b, "$%d", len(m.spent.waiting[key]))
	}
	if s.budget > 0 {
		for _, c := range m.changes {
			b.WriteString("!" + string(c.uid) + age(c.at))
		}
	}
	fmt.Fprintf(b, "|m%d.%d.%s", n, s.claims.last()-m.claim, age(m.claimDue))
	for i := range s.policies {
		fmt.Fprintf(b, ";%d,%s", s.policies[i].last()-m.seen[i], age(m.due[i]))
		for _, p := range []*sgp{s.policies[i].at(m.seen[i]), s.policies[i].newest()} {
			if p == nil {
				continue
			}
			if e, known := m.entries[p.UID]; known {
				fmt.Fprintf(b, "(%s%s%s%s%s%s%d%s%s", local(e.since), e.observed, local(e.observedAt), local(e.modification.since), local(e.pending.since), e.pending.id[min(len(e.pending.id), 0):], e.failures, local(e.waitingSince), local(e.askedAt))
				if a, known := m.answered[p.UID]; known {
					b.WriteString(a.value + age(a.at))
				}
			}
		}
		if r := m.runs[i]; r != nil {
			fmt.Fprintf(b, "R%s%s%v", r.label, r.next.kind, r.object == s.policies[i].at(m.seen[i]))
			s.digestPolicy(b, r.object, age)
		}
	}
	if next, found := m.lines.Clone().Next(explored, s.now.Add(m.skew)); found {
		b.WriteString("n" + uids[next.UID])
	}
	fmt.Fprintf(b, "l%d,%d,%s", m.lines.Len(), m.endings.Len(), local(m.unsettled))
}
