package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// at is a time of a story.
func at(second int) time.Time { return begin.Add(time.Duration(second) * time.Second) }

// answered is a resource with an annotation that has the value of a generation.
func answered(p *v1alpha1.SecurityGroupPolicy, annotation string, generation int64) *v1alpha1.SecurityGroupPolicy {
	p = p.DeepCopy()
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, annotation, strconv.FormatInt(generation, 10))
	return p
}

func TestAChangeThatCutsANodeOffIsFound(t *testing.T) {
	p := declared("p", "default", ecssim.Drop)
	p.Generation = 2
	sent := func(p *v1alpha1.SecurityGroupPolicy) func(story) {
		return func(s story) { s.tell(100, writesAhead(p, "token", ecssim.Drop), false) }
	}
	long := []stay{{since: at(10)}}
	for name, c := range map[string]struct {
		tell   func(story)
		effect ecssim.Effect
		stays  []stay
		vpc    string
		found  bool
	}{
		"a node that was in it":                        {sent(p), effect(101, ecssim.Drop, "token"), long, "", true},
		"approved":                                     {sent(answered(p, v1alpha1.AnnotationApprove, 2)), effect(101, ecssim.Drop, "token"), long, "", false},
		"approved for another generation":              {sent(answered(p, v1alpha1.AnnotationApprove, 1)), effect(101, ecssim.Drop, "token"), long, "", true},
		"a change to Accept":                           {sent(p), effect(101, ecssim.Accept, "token"), long, "", false},
		"by somebody else":                             {sent(p), effect(101, ecssim.Drop, ""), long, "", false},
		"no node":                                      {sent(p), effect(101, ecssim.Drop, "token"), nil, "", false},
		"a node that has just joined":                  {sent(p), effect(101, ecssim.Drop, "token"), []stay{{since: at(95)}}, "", false},
		"a node that had left":                         {sent(p), effect(101, ecssim.Drop, "token"), []stay{{since: at(10), until: at(90)}}, "", false},
		"a node that left later":                       {sent(p), effect(101, ecssim.Drop, "token"), []stay{{since: at(10), until: at(110)}}, "", true},
		"a node that is not in the listing of the VPC": {sent(p), effect(101, ecssim.Drop, "token"), []stay{{since: at(60)}}, sharedVPC, false},
		"a node that is":                               {sent(p), effect(101, ecssim.Drop, "token"), long, sharedVPC, true},
		"sent before the node joined, and late to take effect": {func(s story) {
			s.tell(20, writesAhead(p, "token", ecssim.Drop), false)
			again := writesAhead(p, "token", ecssim.Drop)
			again.Status.PendingModification.Time = metav1.NewTime(at(100))
			s.tell(100, again, false)
		}, effect(101, ecssim.Drop, "token"), []stay{{since: at(30)}}, "", false},
	} {
		s := story{newHistory(), t}
		c.tell(s)
		g := &group{id: "sg-1", vpc: c.vpc, node: &node{}}
		if why := s.cutting(g, []ecssim.Effect{c.effect}, c.stays); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// tried is a resource that has changed its group to Drop and awaits its confirmation.
func tried() *v1alpha1.SecurityGroupPolicy {
	p := declared("p", "default", ecssim.Drop)
	p.Generation, p.Spec.RollbackAfter = 1, &metav1.Duration{Duration: rollbackAfter}
	p.Status.Rollback = &v1alpha1.Rollback{Generation: 1, To: ecssim.Accept, Deadline: metav1.NewTime(at(70))}
	return p
}

func TestAnUnwantedRollbackIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		second int
		harm   func(*v1alpha1.SecurityGroupPolicy)
		want   string
	}{
		"at its deadline":           {70, func(*v1alpha1.SecurityGroupPolicy) {}, ""},
		"too early":                 {60, func(*v1alpha1.SecurityGroupPolicy) {}, "only at 12:01:10"},
		"to another value":          {70, func(p *v1alpha1.SecurityGroupPolicy) { p.Status.PendingModification.To = ecssim.Drop }, "would put Accept back"},
		"of a confirmed change":     {70, func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.Confirmed = true }, "no change to put back"},
		"although it is confirmed":  {70, func(p *v1alpha1.SecurityGroupPolicy) { *p = *answered(p, v1alpha1.AnnotationConfirm, 1) }, "confirmed"},
		"again":                     {70, func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.RolledBack = true }, "put back for this generation"},
		"by one that only observes": {70, func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }, "only observes"},
	} {
		p := writesAhead(tried(), "token", ecssim.Accept)
		p.Status.PendingModification.Cause = v1alpha1.CauseRollback
		c.harm(p)
		if why := unwanted(version{at: at(c.second), policy: p}); c.want == "" && why != "" || !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, want %q", name, why, c.want)
		}
	}
}

func TestAChangeThatCannotBePutBackIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		harm  func(*v1alpha1.SecurityGroupPolicy)
		found bool
	}{
		"with its rollback":    {func(*v1alpha1.SecurityGroupPolicy) {}, false},
		"confirmed in advance": {func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.Confirmed = true }, false},
		"confirmed for another": {func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.Rollback.Confirmed, p.Status.Rollback.Generation = true, 0
		}, true},
		"without any": {func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback = nil }, true},
		"with an old one": {func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.Rollback.Generation, p.Status.Rollback.RolledBack = 0, true
		}, true},
		"with one of too late": {func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.Deadline = metav1.NewTime(at(90)) }, true},
		"where none is to be":  {func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback, p.Spec.RollbackAfter = nil, nil }, false},
		"a correction of drift": {func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.Rollback, p.Status.PendingModification.Cause = nil, v1alpha1.CauseDrift
		}, false},
	} {
		p := writesAhead(tried(), "token", ecssim.Drop)
		c.harm(p)
		if why := unsecured(version{at: at(10), policy: p}); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestALostRollbackIsFound(t *testing.T) {
	r := &resource{name: "p", namespace: "default", group: &group{id: "sg-1"}}
	with := func(edit func(*v1alpha1.SecurityGroupPolicy)) *v1alpha1.SecurityGroupPolicy {
		p := tried()
		edit(p)
		return p
	}
	lost := func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback = nil }
	for name, c := range map[string]struct {
		second  int
		is      *v1alpha1.SecurityGroupPolicy
		effects []ecssim.Effect
		found   bool
	}{
		"lost":           {20, with(lost), []ecssim.Effect{effect(5, ecssim.Drop, "token")}, true},
		"without effect": {20, with(lost), nil, false},
		"without effect, and said to be put back": {20, with(func(p *v1alpha1.SecurityGroupPolicy) {
			p.Status.Rollback.RolledBack, p.Status.Rollback.Generation = true, 0
		}), nil, false},
		"put back":       {70, with(func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.RolledBack = true }), nil, false},
		"put back early": {20, with(func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.RolledBack = true }), []ecssim.Effect{effect(5, ecssim.Drop, "token")}, true},
		"confirmed": {20, answered(with(func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.Confirmed = true }), v1alpha1.AnnotationConfirm, 1),
			nil, false},
		"confirmed by nobody":    {20, with(func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.Confirmed = true }), []ecssim.Effect{effect(5, ecssim.Drop, "token")}, true},
		"undone by an edit":      {20, with(func(p *v1alpha1.SecurityGroupPolicy) { lost(p); p.Spec.InnerAccessPolicy = ecssim.Accept }), []ecssim.Effect{effect(5, ecssim.Drop, "token")}, false},
		"Observe":                {20, with(func(p *v1alpha1.SecurityGroupPolicy) { lost(p); p.Spec.ManagementPolicy = v1alpha1.ManagementObserve }), []ecssim.Effect{effect(5, ecssim.Drop, "token")}, false},
		"no rollback any more":   {20, with(func(p *v1alpha1.SecurityGroupPolicy) { lost(p); p.Spec.RollbackAfter = nil }), []ecssim.Effect{effect(5, ecssim.Drop, "token")}, false},
		"anew, for a correction": {20, with(func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.Deadline = metav1.NewTime(at(80)) }), nil, false},
		"put off":                {20, with(func(p *v1alpha1.SecurityGroupPolicy) { p.Status.Rollback.Deadline = metav1.NewTime(at(90)) }), []ecssim.Effect{effect(5, ecssim.Drop, "token")}, true},
	} {
		s := story{newHistory(), t}
		s.tell(10, writesAhead(tried(), "token", ecssim.Drop), false)
		s.tell(c.second, c.is, false)
		if why := s.forgotten(r, c.effects); (why != "") != c.found {
			t.Errorf("%s: %q", name, why)
		}
	}
}
