package main

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// group is a security group, and the resources that name it.
type group struct {
	serial int
	id     string
	// doubtful groups may have changes of unknown outcome.
	doubtful bool
	initial  ecssim.Policy
	// claimants are in two namespaces if there are several, and may want opposite
	// values.
	claimants []*resource
	vpc       string
	// node is one of the cluster that is in the group at times; nil for most groups.
	node           *node
	startsWithNode bool
	// outOfBand is how often the driver changes the group behind the operator's back.
	outOfBand int
}

// resource is what the driver has made of one resource when its plan is over.
type resource struct {
	namespace, name string // the name alone tells it from all others
	group           *group
	// early says that it is there before the chaos begins.
	early bool
	// startSpec is what it is created with, spec what it is left with.
	startSpec, spec v1alpha1.SecurityGroupPolicySpec

	created, deleted bool
	// mayRollBack says that its changes are put back at times, unless they are confirmed.
	mayRollBack bool
	// toggles is how often it is switched between Enforce and Observe.
	toggles int
	// reasons is how many times the driver gave cause to change the group, but for
	// changes behind the operator's back, which the simulator counts.
	reasons int
}

// namespaces are those of the claimants of a group, one after the other.
var namespaces = [...]string{"default", "neighbour"}

// claimants is how many resources name a group, one after the other.
var claimants = [...]int{1, 1, 2, 1, 3}

// populate draws the groups and their resources, two thirds of which are there before
// the chaos begins.
func (p *plan) populate(resources int) {
	for i := 0; len(p.policies) < resources; i++ {
		g := &group{serial: i, id: fmt.Sprintf("sg-chaos%03d", i), initial: p.either(ecssim.Accept, ecssim.Drop)}
		// What the claimants of a group do to each other is enough where doubt is kept
		// short.
		number := min(claimants[i%len(claimants)], resources-len(p.policies))
		g.doubtful = !p.calmer || i%2 == 0 && number == 1
		p.groups = append(p.groups, g)
		if i%4 == 1 {
			p.giveNode(g)
		} else if p.chance(0.5) {
			g.vpc = sharedVPC
		}
		for n := range number {
			r := p.newPolicy(g, n)
			g.claimants = append(g.claimants, r)
			p.policies = append(p.policies, r)
		}
	}
	for _, i := range p.rand.Perm(resources)[:max(1, resources*2/3)] {
		r := p.policies[i]
		r.early, r.created, r.startSpec = true, true, r.spec
		r.reasons++
	}
}

func (p *plan) newPolicy(g *group, n int) *resource {
	r := &resource{name: "of-" + g.id, namespace: namespaces[n%len(namespaces)], group: g}
	if n > 0 {
		r.name = fmt.Sprintf("%s-%d", r.name, n+1)
	}
	r.spec = v1alpha1.SecurityGroupPolicySpec{
		RegionID: region, SecurityGroupID: g.id, InnerAccessPolicy: p.either(ecssim.Accept, ecssim.Drop),
		ManagementPolicy: v1alpha1.ManagementEnforce, DeletionPolicy: v1alpha1.DeletionRetain,
	}
	if p.chance(0.5) {
		r.spec.DeletionPolicy = v1alpha1.DeletionRestore
	}
	if r.mayRollBack = g.serial%3 == 0; r.mayRollBack {
		r.spec.RollbackAfter = &metav1.Duration{Duration: rollbackAfter}
	}
	if p.chance(0.1) {
		r.spec.ManagementPolicy = v1alpha1.ManagementObserve
	}
	return r
}

// early are the resources that are there before the chaos begins.
func (p *plan) early() (early []*resource) {
	for _, r := range p.policies {
		if r.early {
			early = append(early, r)
		}
	}
	return early
}

// spares tells whether nobody else touches a group because its changes may be of
// unknown outcome.
func (p *plan) spares(g *group) bool { return p.calmer && g.doubtful }

func (g *group) shared() bool { return len(g.claimants) > 1 }

func (g *group) mayBeChangedBehind() int {
	if g.shared() {
		return maxOutOfBandShared
	}
	return maxOutOfBand
}

// claimName is the name of the group's claim.
func (g *group) claimName() string {
	return claims.Group{RegionID: region, SecurityGroupID: g.id}.ClaimName()
}
