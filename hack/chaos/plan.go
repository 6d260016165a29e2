package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// lane is a stream of actions that are carried out one after the other. Edits
// wait for an API server that is away; what befalls the cloud does not.
type lane int

const (
	laneEdits lane = iota
	laneCloud
	laneMachines
	lanes
)

// action is one thing that the driver does.
type action struct {
	at   time.Duration
	lane lane
	what string
	do   func(*world) error
}

// plan is all that a seed determines.
type plan struct {
	seed     uint64
	length   time.Duration
	groups   []*group
	policies []*resource
	actions  []action
	// kills and restarts are how often a manager and the API server end.
	kills, restarts int

	rand *rand.Rand
	at   time.Duration
	// calmer says that what takes a minute to settle by contract is left out: a change
	// of unknown outcome that meets a deletion or a change by somebody else. A group
	// then has either the one or the other in store for it.
	calmer bool
}

const (
	region = "cn-hangzhou"

	// The operator holds a fourth correction within an hour back, as the contract
	// says. The driver stays below that: by changes behind the operator's back, and
	// by how often a resource that shares its group can lose it and take it again.
	maxOutOfBand       = 2
	maxOutOfBandShared = 1
	maxToggles         = 4
	// actionsPerPolicy over the whole of the plan, faults included.
	actionsPerPolicy = 8
	// betweenKills and betweenRestarts hold for a plan long enough for several.
	betweenKills    = 45 * time.Second
	betweenRestarts = 60 * time.Second
	// shortest is the length of a plan that has everything in store.
	shortest = 30 * time.Second
	// loseLease is how long the API server stays away for a leader to give up.
	loseLease = 15 * time.Second
)

// newPlan draws a plan. The same seed, number and length give the same one.
func newPlan(seed uint64, resources int, length time.Duration) *plan {
	p := &plan{seed: seed, length: length, calmer: length < shortest,
		rand: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // a repeatable sequence is the purpose
	p.populate(resources)
	p.planMachines()
	for range resources * actionsPerPolicy {
		p.at = time.Duration(p.rand.Int64N(int64(length)))
		p.actions = append(p.actions, action{at: p.at})
	}
	// The kinds are drawn in the order of time, since what may be done to a
	// resource depends on what was done before.
	slices.SortStableFunc(p.actions, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	drawn := p.actions
	p.actions = nil
	for _, a := range drawn {
		if a.do != nil {
			p.actions = append(p.actions, a)
			continue
		}
		p.at = a.at
		p.draw()
	}
	for _, r := range p.policies {
		if !r.created {
			p.create(r)
		}
	}
	slices.SortStableFunc(p.actions, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	return p
}

// planMachines spreads the kills and restarts; a short plan has one of each.
func (p *plan) planMachines() {
	p.kills = max(1, int(p.length/betweenKills))
	for i := range p.kills {
		at := p.length * time.Duration(2*i+1) / time.Duration(2*p.kills+1)
		p.actions = append(p.actions, action{at: at + p.jitter(), lane: laneMachines, what: "kill the leader", do: (*world).killLeader})
	}
	p.restarts = max(1, int(p.length/betweenRestarts))
	for i := range p.restarts {
		at := p.length * time.Duration(3*i+2) / time.Duration(3*p.restarts+1)
		outage := time.Duration(i%2) * loseLease
		p.actions = append(p.actions, action{at: at + p.jitter(), lane: laneMachines, what: fmt.Sprintf("restart the API server after %v", outage),
			do: func(w *world) error { return w.restartAPIServer(outage) }})
	}
}

func (p *plan) jitter() time.Duration { return time.Duration(p.rand.Int64N(int64(p.length / 20))) }

func (p *plan) chance(probability float64) bool { return p.rand.Float64() < probability }

func (p *plan) either(a, b string) string {
	if p.chance(0.5) {
		return a
	}
	return b
}

func (p *plan) add(l lane, what string, do func(*world) error) {
	p.actions = append(p.actions, action{at: p.at, lane: l, what: what, do: do})
}

// draw adds one action of a random kind.
func (p *plan) draw() {
	r := p.policies[p.rand.IntN(len(p.policies))]
	kind := p.rand.IntN(100)
	switch {
	case kind < 31:
		p.drawWeather(kind, r.group)
	case r.deleted:
		p.drawForDeleted(r)
	case !r.created:
		p.create(r)
	case p.drawSafety(r):
	case kind < 45:
		p.changeBehind(r.group)
	case kind < 53:
		p.toggleManagement(r)
	case kind < 61:
		p.toggleSuspend(r)
	case kind < 66:
		p.toggleDeletion(r)
	case kind < 70:
		// A deletion that meets a change of unknown outcome waits a minute: late ones
		// would only make the calm phase longer.
		if p.at < p.length/2 && !p.spares(r.group) {
			p.delete(r)
		}
	default:
		p.flip(r)
	}
}

func (p *plan) drawWeather(kind int, of *group) {
	switch {
	case kind < 25:
		p.fault(of)
	case kind < 28:
		p.throttle()
	default:
		p.lag(of)
	}
}

// drawSafety draws what concerns nodes, approvals and rollbacks, if it does so at all.
func (p *plan) drawSafety(r *resource) bool {
	kind := p.rand.IntN(100)
	switch {
	case r.group.node != nil && kind < 18:
		p.moveNode(r.group)
	case r.group.node != nil && kind < 35:
		p.answer(r, v1alpha1.AnnotationApprove)
	case r.mayRollBack && kind >= 80:
		p.answer(r, v1alpha1.AnnotationConfirm)
	case r.mayRollBack && kind >= 75:
		p.toggleRollback(r)
	default:
		return false
	}
	return true
}

// drawForDeleted approves, at times, what a deletion puts back.
func (p *plan) drawForDeleted(r *resource) {
	if r.group.node != nil && p.chance(0.5) {
		p.answer(r, v1alpha1.AnnotationApprove)
	}
}

func (p *plan) toggleRollback(r *resource) {
	if r.spec.RollbackAfter == nil {
		r.spec.RollbackAfter = &metav1.Duration{Duration: rollbackAfter}
		p.edit(r, fmt.Sprintf(`{"spec":{"rollbackAfter":%q}}`, rollbackAfter))
	} else {
		r.spec.RollbackAfter = nil
		p.edit(r, `{"spec":{"rollbackAfter":null}}`)
	}
	// What was put back is tried again for the next generation.
	r.reasons++
}

func (p *plan) create(r *resource) {
	r.created = true
	r.reasons++
	r.startSpec = r.spec
	p.add(laneEdits, "create "+r.name, func(w *world) error { return w.create(r) })
}

// flip changes what the resource wants, now and then twice at once.
func (p *plan) flip(r *resource) {
	for range 1 + p.rand.IntN(2)*p.rand.IntN(2) {
		r.spec.InnerAccessPolicy = opposite(r.spec.InnerAccessPolicy)
		r.reasons++
		p.edit(r, fmt.Sprintf(`{"spec":{"innerAccessPolicy":%q}}`, r.spec.InnerAccessPolicy))
	}
}

func (p *plan) toggleManagement(r *resource) {
	if r.group.shared() && r.toggles == maxToggles {
		return
	}
	r.toggles++
	if r.spec.ManagementPolicy == v1alpha1.ManagementObserve {
		r.spec.ManagementPolicy = v1alpha1.ManagementEnforce
		r.reasons++
	} else {
		r.spec.ManagementPolicy = v1alpha1.ManagementObserve
	}
	p.edit(r, fmt.Sprintf(`{"spec":{"managementPolicy":%q}}`, r.spec.ManagementPolicy))
}

func (p *plan) toggleSuspend(r *resource) {
	r.spec.Suspend = !r.spec.Suspend
	if !r.spec.Suspend {
		r.reasons++
	}
	p.edit(r, fmt.Sprintf(`{"spec":{"suspend":%v}}`, r.spec.Suspend))
}

func (p *plan) toggleDeletion(r *resource) {
	if r.spec.DeletionPolicy == v1alpha1.DeletionRestore {
		r.spec.DeletionPolicy = v1alpha1.DeletionRetain
	} else {
		r.spec.DeletionPolicy = v1alpha1.DeletionRestore
	}
	p.edit(r, fmt.Sprintf(`{"spec":{"deletionPolicy":%q}}`, r.spec.DeletionPolicy))
}

func (p *plan) edit(r *resource, patch string) {
	p.add(laneEdits, "edit "+r.name+" "+patch, func(w *world) error { return w.patch(r, patch) })
}

func (p *plan) delete(r *resource) {
	if r.spec.Suspend {
		// A suspended resource with Restore waits for its resumption, as it should;
		// there is nothing more to see in that.
		p.toggleSuspend(r)
	}
	r.deleted = true
	r.reasons++
	p.add(laneEdits, fmt.Sprintf("delete %s (%s)", r.name, r.spec.DeletionPolicy), func(w *world) error { return w.delete(r) })
}

func (p *plan) changeBehind(g *group) {
	if g.outOfBand == g.mayBeChangedBehind() || p.spares(g) {
		return
	}
	to := p.either(ecssim.Accept, ecssim.Drop)
	g.outOfBand++
	p.add(laneCloud, "set "+g.id+" to "+to+" behind the operator's back", func(w *world) error {
		w.sim.SetPolicy(region, g.id, to)
		return nil
	})
}

func opposite(policy string) string {
	if policy == ecssim.Accept {
		return ecssim.Drop
	}
	return ecssim.Accept
}
