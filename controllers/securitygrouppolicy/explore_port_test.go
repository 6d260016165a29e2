package securitygrouppolicy

import (
	"bytes"
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/guard"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// request is what a pass waits for an answer to.
type request struct {
	kind   string
	policy *sgp
	claim  *claim
	to     string
	token  string
	// owner is the parameter OwnerAccount.
	owner string
	// patch is how a write is made.
	patch client.Patch
}

// locked tells whether a write names the version that it is for.
func (r *request) locked() bool {
	if r.patch == nil {
		return true // an update always does
	}
	data, err := r.patch.Data(r.policy)
	return err == nil && bytes.Contains(data, []byte(`"resourceVersion"`))
}

// The kinds of requests.
const (
	getPolicy   = "get policy"
	getClaim    = "get claim"
	putStatus   = "write status"
	putMeta     = "write finalizer"
	newClaim    = "create claim"
	setClaim    = "update claim"
	endClaim    = "delete claim"
	observeCall = "observe"
	modifyCall  = "modify"
	guardCall   = "look for nodes"
)

// answer is what a pass got, and when.
type answer struct {
	at     time.Time
	policy *sgp
	claim  *claim
	value  string
	wait   time.Duration
	err    error
	label  string
}

// port is everything outside of a pass: it gives the answers that there are, and stops
// the pass where there is none.
type port struct {
	client.Client

	answers []*answer
	used    int
	clock   *testclock.FakePassiveClock
	skew    time.Duration
	cached  func(o client.Object) error
	guarded bool
}

// stopped is what a pass is stopped by.
type stopped struct{ at *request }

func (p *port) ask(r *request) *answer {
	if p.used == len(p.answers) {
		panic(stopped{r})
	}
	a := p.answers[p.used]
	p.used++
	p.clock.SetTime(a.at.Add(p.skew))
	return a
}

// Get implements client.Client by the cache.
func (p *port) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	return p.cached(o)
}

// List implements client.Client by the cache.
func (p *port) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	o := &sgp{ObjectMeta: metav1.ObjectMeta{Name: "r0"}}
	if p.cached(o) == nil {
		list.(*v1alpha1.SecurityGroupPolicyList).Items = []sgp{*o}
	}
	return nil
}

// Status implements client.Client.
func (p *port) Status() client.SubResourceWriter { return statusPort{p: p} }

type statusPort struct {
	client.SubResourceWriter

	p *port
}

// Update implements client.SubResourceWriter.
func (w statusPort) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	return w.p.write(putStatus, o.(*sgp), nil)
}

// Patch implements client.Client.
func (p *port) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.PatchOption) error {
	return p.write(putMeta, o.(*sgp), patch)
}

func (p *port) write(kind string, o *sgp, patch client.Patch) error {
	a := p.ask(&request{kind: kind, policy: o, patch: patch})
	if a.err == nil {
		a.policy.DeepCopyInto(o)
	}
	return a.err
}

// Create implements client.Client.
func (p *port) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	return p.writeClaim(newClaim, o.(*claim))
}

// Update implements client.Client.
func (p *port) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return p.writeClaim(setClaim, o.(*claim))
}

// Delete implements client.Client.
func (p *port) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	return p.ask(&request{kind: endClaim, claim: o.(*claim)}).err
}

func (p *port) writeClaim(kind string, o *claim) error {
	a := p.ask(&request{kind: kind, claim: o})
	if a.err == nil {
		a.claim.DeepCopyInto(o)
	}
	return a.err
}

// live is the port as the API reader.
type live struct {
	client.Reader

	p *port
}

// Get implements client.Reader.
func (l live) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *claim:
		a := l.p.ask(&request{kind: getClaim})
		if a.err == nil {
			a.claim.DeepCopyInto(o)
		}
		return a.err
	case *sgp:
		a := l.p.ask(&request{kind: getPolicy})
		if a.err == nil {
			a.policy.DeepCopyInto(o)
		}
		return a.err
	}
	return errors.New("not explored")
}

// Observe implements Cloud.
func (p *port) Observe(context.Context, ecs.Group, ratelimit.Priority) (ecs.Observation, time.Duration, error) {
	a := p.ask(&request{kind: observeCall})
	return ecs.Observation{Policy: a.value}, a.wait, a.err
}

// Modify implements Cloud.
func (p *port) Modify(_ context.Context, g ecs.Group, to, token string) (string, time.Duration, error) {
	a := p.ask(&request{kind: modifyCall, to: to, token: token, owner: g.OwnerAccount})
	return a.value, a.wait, a.err
}

// Check implements Guard: where the cluster runs elsewhere there is nothing to ask.
func (p *port) Check(context.Context, *sgp, ecs.Observation) (guard.Finding, time.Duration, error) {
	if !p.guarded {
		return guard.Finding{}, 0, nil
	}
	a := p.ask(&request{kind: guardCall})
	return guard.Finding{Held: a.value}, a.wait, a.err
}

// nothingDemanded is that no approval is needed.
func nothingDemanded(context.Context, string, string) (bool, string, error) { return false, "", nil }
