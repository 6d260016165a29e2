package main

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// call is what the simulator logs of a request to change the group.
func call(at int, to, token string) ecssim.Call {
	return ecssim.Call{Time: effect(at, to, token).Time, Action: modify, Policy: to, ClientToken: token, RequestID: "request-" + token}
}

func TestAChangeByWhoDidNotHoldTheGroupIsFound(t *testing.T) {
	g := &group{id: "sg-1"}
	a, b := declared("a", "default", ecssim.Drop), declared("b", "neighbour", ecssim.Drop)
	ordered := func(s story) { // what happens to a that changes the group and goes
		s.tell(1, a, false)
		s.tell(2, claimOf(a), false)
		s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
		s.tell(12, writesAhead(a, "", ""), false)
		s.tell(20, a, true)
		s.tell(22, claimOf(a), true)
	}
	for name, c := range map[string]struct {
		tell    func(story)
		effects []ecssim.Effect
		calls   []ecssim.Call
		want    string
	}{
		"the holder's own": {ordered, []ecssim.Effect{effect(11, ecssim.Drop, "token")}, []ecssim.Call{call(11, ecssim.Drop, "token")}, ""},
		"a claim that follows the record": {func(s story) {
			s.tell(1, a, false)
			s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(11, claimOf(a), false)
			s.tell(13, writesAhead(a, "", ""), false)
		}, nil, []ecssim.Call{call(12, ecssim.Drop, "token")}, ""},
		"one that was refused its claim and sent nothing": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(b), false)
			s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(11, writesAhead(a, "", ""), false)
		}, nil, nil, ""},
		"an unknown token":         {ordered, []ecssim.Effect{effect(11, ecssim.Drop, "other")}, nil, "no resource had written it ahead"},
		"a call of no known token": {ordered, nil, []ecssim.Call{call(11, ecssim.Drop, "other")}, "no resource had written it ahead"},
		"another value":            {ordered, []ecssim.Effect{effect(11, ecssim.Accept, "token")}, nil, "written ahead for Drop"},
		"too early":                {ordered, []ecssim.Effect{effect(5, ecssim.Drop, "token")}, nil, "written ahead only"},
		"after the claim":          {ordered, []ecssim.Effect{effect(30, ecssim.Drop, "token")}, nil, "did not hold the group"},
		"before the claim": {func(s story) {
			s.tell(1, a, false)
			s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(15, claimOf(a), false)
		}, nil, []ecssim.Call{call(11, ecssim.Drop, "token")}, "did not hold the group"},
		"another took the group meanwhile": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(a), false)
			s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(12, claimOf(a), true)
			s.tell(13, claimOf(b), false)
			s.tell(14, writesAhead(a, "", ""), false)
		}, nil, []ecssim.Call{call(11, ecssim.Drop, "token")}, "another took the group"},
		"another took the group when nothing could be under way any more": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(a), false)
			s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(73, claimOf(a), true)
			s.tell(74, claimOf(b), false)
			s.tell(80, writesAhead(a, "", ""), false)
		}, nil, []ecssim.Call{call(11, ecssim.Drop, "token")}, ""},
		"a group that was free too early": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(a), false)
			s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(12, writesAhead(a, "token", ecssim.Drop), true)
			s.tell(30, claimOf(a), true)
		}, nil, []ecssim.Call{call(11, ecssim.Drop, "token")}, "the claim given up"},
		"a group that was free late enough": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(a), false)
			s.tell(10, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(12, writesAhead(a, "token", ecssim.Drop), true)
			s.tell(74, claimOf(a), true)
		}, nil, []ecssim.Call{call(11, ecssim.Drop, "token")}, ""},
		"a shared token": {func(s story) {
			s.tell(1, writesAhead(a, "token", ecssim.Drop), false)
			s.tell(2, writesAhead(b, "token", ecssim.Drop), false)
		}, nil, nil, "a token of one's own"},
		"a value that nobody wants": {func(s story) { s.tell(1, writesAhead(a, "token", ecssim.Accept), false) }, nil, nil, "wants \"Drop\", not Accept"},
	} {
		t.Run(name, func(t *testing.T) {
			s := story{newHistory(), t}
			c.tell(s)
			why := s.unentitled(g, c.effects, c.calls)
			if c.want == "" && why != "" || !strings.Contains(why, c.want) {
				t.Errorf("%q, want %q", why, c.want)
			}
		})
	}
}

func TestARequestThatNobodyWantsIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(*v1alpha1.SecurityGroupPolicy)
		want bool
	}{
		"the value of the spec":         {func(*v1alpha1.SecurityGroupPolicy) {}, false},
		"in another letter case":        {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.InnerAccessPolicy = "drop" }, false},
		"another value":                 {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.InnerAccessPolicy = ecssim.Accept }, true},
		"while it only observes":        {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }, true},
		"while it is suspended":         {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.Suspend = true }, true},
		"deleted without Restore":       {func(p *v1alpha1.SecurityGroupPolicy) { p.DeletionTimestamp = new(metav1.Now()) }, true},
		"deleted, to what it was first": {func(p *v1alpha1.SecurityGroupPolicy) { deleting(p, ecssim.Drop) }, false},
		"deleted, to something else":    {func(p *v1alpha1.SecurityGroupPolicy) { deleting(p, ecssim.Accept) }, true},
	} {
		p := writesAhead(declared("p", "default", ecssim.Drop), "token", ecssim.Drop)
		v := version{at: begin, policy: p}
		if c.harm(p); (unwanted(v) != "") != c.want {
			t.Errorf("%s: %q", name, unwanted(v))
		}
	}
}

func deleting(p *v1alpha1.SecurityGroupPolicy, original string) {
	p.DeletionTimestamp, p.Spec.DeletionPolicy, p.Status.OriginalInnerAccessPolicy = new(metav1.Now()), v1alpha1.DeletionRestore, original
}

func TestAClaimThatEndsOrMovesWithoutCauseIsFound(t *testing.T) {
	a := declared("a", "default", ecssim.Drop)
	observing := a.DeepCopy()
	observing.Spec.ManagementPolicy = v1alpha1.ManagementObserve
	moved := claimOf(a)
	moved.Spec.Holder.UID = "uid-b"
	for name, c := range map[string]struct {
		tell  func(story)
		found bool
	}{
		"it lasts": {func(s story) { s.tell(1, a, false); s.tell(2, claimOf(a), false) }, false},
		"its holder is gone": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(a), false)
			s.tell(3, a, true)
			s.tell(4, claimOf(a), true)
		}, false},
		"its holder turned to Observe": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(a), false)
			s.tell(3, observing, false)
			s.tell(4, claimOf(a), true)
		}, false},
		"its holder had a right to it": {func(s story) { s.tell(1, a, false); s.tell(2, claimOf(a), false); s.tell(4, claimOf(a), true) }, true},
		"it ends before its holder": {func(s story) {
			s.tell(1, a, false)
			s.tell(2, claimOf(a), false)
			s.tell(4, claimOf(a), true)
			s.tell(5, a, true)
		}, true},
		"it came to name another":   {func(s story) { s.tell(1, a, false); s.tell(2, claimOf(a), false); s.tell(3, moved, false) }, true},
		"it came before its holder": {func(s story) { s.tell(2, claimOf(a), false); s.tell(3, a, false) }, true},
	} {
		s := story{newHistory(), t}
		c.tell(s)
		if why := s.passedOn(&group{id: "sg-1"}); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// restoring tells of a resource with Restore that holds the group, changes it to Drop,
// and is gone at second 30.
func restoring(s story, lastAlive func(*v1alpha1.SecurityGroupPolicy)) {
	p := declared("p", "default", ecssim.Drop)
	p.Spec.DeletionPolicy, p.Finalizers, p.Generation = v1alpha1.DeletionRestore, []string{v1alpha1.FinalizerRestore}, 2
	p.Status.ObservedGeneration = 2
	s.tell(1, p, false)
	s.tell(2, claimOf(p), false)
	s.tell(3, writesAhead(p, "a", ecssim.Drop), false)
	p = writesAhead(p, "", "")
	p.Status.LastModification, p.Status.OriginalInnerAccessPolicy = &v1alpha1.Modification{}, ecssim.Accept
	if lastAlive != nil {
		lastAlive(p)
	}
	s.tell(5, p, false)
	gone := p.DeepCopy()
	gone.DeletionTimestamp = new(metav1.Now())
	s.tell(20, gone, false)
	back := writesAhead(gone, "b", ecssim.Accept)
	back.Status.PendingModification.Cause = v1alpha1.CauseRestore
	s.tell(21, back, false)
	s.tell(30, gone, true)
}

func TestAGroupThatIsNotPutBackIsFound(t *testing.T) {
	r := &resource{name: "p", namespace: "default", group: &group{id: "sg-1"}}
	changed := effect(4, ecssim.Drop, "a")
	unconfirmed := func(p *v1alpha1.SecurityGroupPolicy) {
		p.Spec.DeletionPolicy, p.Status.Rollback = v1alpha1.DeletionRetain, &v1alpha1.Rollback{Generation: 2, To: ecssim.Accept, Deadline: metav1.NewTime(at(60))}
	}
	for name, c := range map[string]struct {
		lastAlive func(*v1alpha1.SecurityGroupPolicy)
		effects   []ecssim.Effect
		other     bool // another takes the group
		found     bool
	}{
		"restored":                                {nil, []ecssim.Effect{changed, effect(22, ecssim.Accept, "b")}, false, false},
		"left":                                    {nil, []ecssim.Effect{changed}, false, true},
		"left for an outsider":                    {nil, []ecssim.Effect{changed, effect(10, ecssim.Accept, ""), effect(11, ecssim.Drop, "")}, false, false},
		"left for its heir":                       {nil, []ecssim.Effect{changed}, true, false},
		"never changed":                           {nil, nil, false, false},
		"changed once more after it was let go":   {nil, []ecssim.Effect{effect(22, ecssim.Accept, "b"), effect(40, ecssim.Drop, "a")}, false, true},
		"left without a finalizer":                {func(p *v1alpha1.SecurityGroupPolicy) { p.Finalizers = nil }, []ecssim.Effect{changed}, false, true},
		"edited and not seen since":               {func(p *v1alpha1.SecurityGroupPolicy) { p.Finalizers, p.Generation = nil, 3 }, []ecssim.Effect{changed}, false, false},
		"with a change that nobody has confirmed": {unconfirmed, []ecssim.Effect{changed}, false, true},
		"with one that is put back":               {unconfirmed, []ecssim.Effect{changed, effect(22, ecssim.Accept, "b")}, false, false},
		"Observe at the end":                      {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }, []ecssim.Effect{changed}, false, false},
	} {
		s := story{newHistory(), t}
		restoring(s, c.lastAlive)
		if c.other {
			s.tell(24, claimOf(declared("p", "default", "")), true)
			s.tell(25, claimOf(declared("heir", "neighbour", ecssim.Drop)), false)
		}
		if why := s.unrestored(r, c.effects); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestAFalseLastModificationIsFound(t *testing.T) {
	p := writesAhead(declared("p", "default", ecssim.Drop), "token", ecssim.Drop)
	other := declared("other", "neighbour", ecssim.Drop)
	s := story{newHistory(), t}
	s.tell(1, p, false)
	s.tell(2, other, false)
	claims := func(p *v1alpha1.SecurityGroupPolicy, request, to string) *v1alpha1.SecurityGroupPolicy {
		p = p.DeepCopy()
		p.Status.LastModification = &v1alpha1.Modification{RequestID: request, To: to}
		return p
	}
	for name, c := range map[string]struct {
		p     *v1alpha1.SecurityGroupPolicy
		found bool
	}{
		"its own":               {claims(p, "request-token", ecssim.Drop), false},
		"one whose answer lost": {claims(p, "", ecssim.Drop), false},
		"another request":       {claims(p, "request-other", ecssim.Drop), true},
		"another value":         {claims(p, "request-token", ecssim.Accept), true},
		"a neighbour's":         {claims(other, "request-token", ecssim.Drop), true},
		"one that was not sent": {claims(other, "", ecssim.Drop), true},
		"none":                  {p, false},
	} {
		if why := s.misreported(c.p, []ecssim.Call{call(2, ecssim.Drop, "token")}); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}
