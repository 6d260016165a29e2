package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// The checks themselves are held against what they have to find.
func TestAFaultyStatusIsFound(t *testing.T) {
	healthy := func() (*v1alpha1.SecurityGroupPolicy, *v1alpha1.SecurityGroupClaim) {
		p := declared("p", "default", ecssim.Drop)
		p.Generation = 2
		p.Status = v1alpha1.SecurityGroupPolicyStatus{ObservedGeneration: 2, InnerAccessPolicy: ecssim.Drop, Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync, ObservedGeneration: 2}}}
		return p, claimOf(p)
	}
	if p, c := healthy(); inconsistent(p, c, ecssim.Drop, false) != "" {
		t.Errorf("a healthy resource %s", inconsistent(p, c, ecssim.Drop, false))
	}
	for name, harm := range map[string]func(*v1alpha1.SecurityGroupPolicy){
		"an old generation": func(p *v1alpha1.SecurityGroupPolicy) { p.Generation = 3 },
		"a wrong group":     func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.InnerAccessPolicy = ecssim.Accept },
		"a wrong word":      func(p *v1alpha1.SecurityGroupPolicy) { p.Status.InnerAccessPolicy = ecssim.Accept },
		"a pending change": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.PendingModification = &v1alpha1.PendingModification{}
		},
		"an old error": func(p *v1alpha1.SecurityGroupPolicy) { p.Status.LastError = &v1alpha1.CallError{} },
		"a request unhandled": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: "now"}
		},
		"a false suspension": func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.Suspend = true },
		"no drift seen": func(p *v1alpha1.SecurityGroupPolicy) {
			p.Spec.ManagementPolicy, p.Spec.InnerAccessPolicy = v1alpha1.ManagementObserve, ecssim.Accept
		},
		"a holder without a claim": func(p *v1alpha1.SecurityGroupPolicy) { p.UID = "another" },
	} {
		p, c := healthy()
		if harm(p); inconsistent(p, c, ecssim.Drop, false) == "" {
			t.Errorf("%s was not found", name)
		}
	}
	p, _ := healthy()
	if inconsistent(p, nil, ecssim.Drop, false) == "" {
		t.Error("a resource that is in sync without a claim was not found")
	}
	p.Spec.DeletionPolicy, p.Status.LastModification = v1alpha1.DeletionRestore, &v1alpha1.Modification{}
	if unguarded(p) == "" {
		t.Error("a missing finalizer was not found")
	}
}

func TestAFaultyConflictIsFound(t *testing.T) {
	holder := declared("holder", "default", ecssim.Drop)
	waiting := func(namespace, message string) *v1alpha1.SecurityGroupPolicy {
		p := declared("waits", namespace, ecssim.Accept)
		p.Generation, p.Status.ObservedGeneration = 1, 1
		for kind, status := range map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionStalled: metav1.ConditionTrue} {
			p.Status.Conditions = append(p.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: v1alpha1.ReasonConflict, Message: message, ObservedGeneration: 1})
		}
		return p
	}
	const named, unnamed = "The SecurityGroupPolicy holder holds the same security group", "A SecurityGroupPolicy in another namespace holds the same security group"
	for _, p := range []*v1alpha1.SecurityGroupPolicy{waiting("default", named), waiting("neighbour", unnamed)} {
		if why := inconsistent(p, claimOf(holder), ecssim.Drop, false); why != "" {
			t.Errorf("a resource that waits for the holder in default from %s %s", p.Namespace, why)
		}
	}
	for name, p := range map[string]*v1alpha1.SecurityGroupPolicy{
		"a neighbour's name": waiting("neighbour", named),
		"a nameless holder":  waiting("default", unnamed),
		"a conflict without doubt": func() *v1alpha1.SecurityGroupPolicy {
			p := waiting("default", named)
			p.Status.Conditions = p.Status.Conditions[:1]
			return p
		}(),
		"a change under way": func() *v1alpha1.SecurityGroupPolicy {
			p := waiting("default", named)
			p.Status.PendingModification = &v1alpha1.PendingModification{}
			return p
		}(),
		"a wrong reason": func() *v1alpha1.SecurityGroupPolicy {
			p := waiting("default", named)
			for i := range p.Status.Conditions {
				p.Status.Conditions[i].Reason = v1alpha1.ReasonProgressing
			}
			return p
		}(),
	} {
		if inconsistent(p, claimOf(holder), ecssim.Drop, false) == "" {
			t.Errorf("%s was not found", name)
		}
	}
}

func TestAWrongHolderIsFound(t *testing.T) {
	p := declared("p", "default", ecssim.Drop)
	g := &group{id: p.Spec.SecurityGroupID, claimants: []*resource{{name: "p"}}}
	with := func(p *v1alpha1.SecurityGroupPolicy, c *v1alpha1.SecurityGroupClaim) scene {
		s := scene{map[string]*v1alpha1.SecurityGroupPolicy{}, map[string]*v1alpha1.SecurityGroupClaim{}}
		if p != nil {
			s.policies[p.Name] = p
		}
		if c != nil {
			s.claims[c.Name] = c
		}
		return s
	}
	edited := func(edit func(*v1alpha1.SecurityGroupPolicy)) *v1alpha1.SecurityGroupPolicy {
		p := p.DeepCopy()
		edit(p)
		return p
	}
	asked := claimOf(p)
	asked.Spec.RequestedAt = new(metav1.Now())
	suspended := edited(func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.Suspend = true })
	observing := edited(func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve })
	for name, c := range map[string]struct {
		scene
		found bool
	}{
		"a holder":                          {with(p, claimOf(p)), false},
		"a suspended holder that was asked": {with(suspended, asked), false},
		"nobody who wants it":               {with(observing, nil), false},
		"nobody, and one wants it":          {with(p, nil), true},
		"a holder that is gone":             {with(nil, claimOf(p)), true},
		"a holder made anew":                {with(edited(func(p *v1alpha1.SecurityGroupPolicy) { p.UID = "new" }), claimOf(p)), true},
		"a holder that only observes":       {with(observing, claimOf(p)), true},
		"a holder that owes an answer":      {with(p, asked), true},
	} {
		if why := misheld(g, c.scene); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestAWastedOrRepeatedChangeIsFound(t *testing.T) {
	g := &group{claimants: []*resource{{reasons: 1}, {reasons: 1}}}
	single := &group{claimants: []*resource{{reasons: 2}}}
	for name, c := range map[string]struct {
		group   *group
		holders int
		effects []ecssim.Effect
		found   bool
	}{
		"two for two reasons":        {single, 1, []ecssim.Effect{effect(0, ecssim.Drop, "a"), effect(1, ecssim.Accept, "b")}, false},
		"one token for two":          {single, 1, []ecssim.Effect{effect(0, ecssim.Drop, "a"), effect(1, ecssim.Accept, ""), effect(2, ecssim.Drop, "a")}, true},
		"a change too many":          {single, 1, []ecssim.Effect{effect(0, ecssim.Drop, "a"), effect(1, ecssim.Accept, "b"), effect(2, ecssim.Drop, "c")}, true},
		"a drift put right":          {single, 1, []ecssim.Effect{effect(0, ecssim.Drop, "a"), effect(1, ecssim.Accept, ""), effect(2, ecssim.Drop, "b"), effect(3, ecssim.Accept, "c")}, false},
		"a second holder's":          {g, 1, []ecssim.Effect{effect(0, ecssim.Drop, "a"), effect(1, ecssim.Accept, "b"), effect(2, ecssim.Drop, "c")}, false},
		"one too many for a pair":    {g, 0, []ecssim.Effect{effect(0, ecssim.Drop, "a"), effect(1, ecssim.Accept, "b"), effect(2, ecssim.Drop, "c")}, true},
		"a change without any token": {single, 1, []ecssim.Effect{{To: ecssim.Drop, ByAPI: true}}, true},
	} {
		if why := untidy(c.group, c.holders, c.effects); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// begin is when the stories of these tests begin, each step a second.
var begin = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func effect(at int, to, token string) ecssim.Effect {
	return ecssim.Effect{Time: begin.Add(time.Duration(at) * time.Second), From: opposite(to), To: to, ClientToken: token, ByAPI: token != ""}
}

func declared(name, namespace, desired string) *v1alpha1.SecurityGroupPolicy {
	return &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name)},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: region, SecurityGroupID: "sg-1", InnerAccessPolicy: desired, ManagementPolicy: v1alpha1.ManagementEnforce}}
}

func claimOf(p *v1alpha1.SecurityGroupPolicy) *v1alpha1.SecurityGroupClaim {
	g := &group{id: p.Spec.SecurityGroupID}
	return &v1alpha1.SecurityGroupClaim{ObjectMeta: metav1.ObjectMeta{Name: g.claimName(), UID: "claim-" + p.UID},
		Spec: v1alpha1.SecurityGroupClaimSpec{RegionID: region, SecurityGroupID: p.Spec.SecurityGroupID,
			Holder: v1alpha1.ClaimHolder{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID)}}}
}

// story is a history as etcd tells it. The revision of each step is its second.
type story struct {
	*history

	t *testing.T
}

func (s story) tell(at int, object any, gone bool) {
	s.t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		s.t.Fatal(err)
	}
	e := etcdEvent{Now: etcdValue{Value: text, Revision: int64(at)}}
	switch o := object.(type) {
	case *v1alpha1.SecurityGroupPolicy:
		e.Now.Key = fmt.Appendf(nil, "%s%s/%s", storedPolicies, o.Namespace, o.Name)
	case *v1alpha1.SecurityGroupClaim:
		e.Now.Key = fmt.Appendf(nil, "%s%s", storedClaims, o.Name)
	}
	if gone {
		e.Type, e.Was, e.Now.Value = "DELETE", e.Now, nil
	}
	if err := s.note(e, begin.Add(time.Duration(at)*time.Second)); err != nil {
		s.t.Fatal(err)
	}
}

// writesAhead is a resource with a request in its status, or without one if the token
// is empty.
func writesAhead(p *v1alpha1.SecurityGroupPolicy, token, to string) *v1alpha1.SecurityGroupPolicy {
	p = p.DeepCopy()
	p.Status.PendingModification = nil
	if token != "" {
		p.Status.PendingModification = &v1alpha1.PendingModification{ClientToken: token, From: opposite(to), To: to, Cause: v1alpha1.CauseSpec}
	}
	return p
}
