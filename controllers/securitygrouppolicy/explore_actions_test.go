package securitygrouppolicy

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// step is one thing that may happen next.
type step struct {
	label string
	// actor is who goes on by it, if it is a step of a manager's own.
	actor string
	do    func(*state)
	// spend is the budget that it costs; nil for what is no disturbance.
	spend func(*budgets) *int
}

// steps are all that may happen next. Of the managers' own steps one goes on by itself:
// that of whoever has gone on last, if there is more to do, else the first. That
// another one goes first is a disturbance, as everything else is that is not due.
func (s *state) steps() []step {
	var all []step
	add := func(spend func(*budgets) *int, actor string, do func(*state), label string, args ...any) {
		if spend != nil && (s.left.total == 0 || *spend(&s.left) == 0) {
			return
		}
		all = append(all, step{fmt.Sprintf(label, args...), actor, do, spend})
	}
	for n, m := range s.managers {
		if !m.up {
			add(func(b *budgets) *int { return &b.takeover }, "", func(c *state) { c.begin(n) }, "manager %d takes over", n)
			continue
		}
		s.managerSteps(n, add)
	}
	all, busy := s.oneGoesOn(all)
	s.userSteps(add)
	s.cloudSteps(add)
	if next, ok := s.nextMoment(); ok {
		var spend func(*budgets) *int
		if busy { // something takes longer than it should
			spend = func(b *budgets) *int { return &b.wait }
			if slow := s.now.Add(sendWithin + 5*time.Second); next.After(slow) {
				next = slow
			}
		}
		add(spend, "", func(c *state) { c.now = next; c.settleTime() }, "%v pass", next.Sub(s.now))
	}
	return all
}

// oneGoesOn has all of the managers' own steps but one cost what it costs that another
// goes first.
func (s *state) oneGoesOn(all []step) (kept []step, busy bool) {
	first := ""
	for _, t := range all {
		if t.actor != "" && t.spend == nil && (first == "" || t.actor == s.actor) {
			first = t.actor
		}
	}
	for _, t := range all {
		if t.actor != "" && t.actor != first {
			if t.spend != nil || s.left.total == 0 || s.left.preempt == 0 {
				continue
			}
			t.spend = func(b *budgets) *int { return &b.preempt }
		}
		kept = append(kept, t)
	}
	return kept, first != ""
}

type adder = func(spend func(*budgets) *int, actor string, do func(*state), label string, args ...any)

// managerSteps are those of one manager.
func (s *state) managerSteps(n int, add adder) {
	m := s.managers[n]
	for i := range s.policies {
		behind := s.policies[i].last() - m.seen[i]
		switch {
		case behind > 0 && s.held(n, i):
			add(nil, "", func(c *state) { c.ledger.holding = ""; c.deliverAll() }, "manager %d is told of r%d", n, i)
		case m.runs[i] != nil:
			s.replies(n, i, add)
		case !m.due[i].IsZero() && !m.due[i].After(s.now):
			add(nil, actor(n, i), func(c *state) { c.startPass(n, i) }, "manager %d begins r%d", n, i)
		}
		if s.ledger.holding == "" {
			add(func(b *budgets) *int { return &b.race }, "", func(c *state) { c.ledger.holding = hold(n, i) }, "manager %d is told late of r%d", n, i)
		}
	}
	if s.ledger.holding == hold(n, -1) {
		add(nil, "", func(c *state) { c.ledger.holding = ""; c.deliverAll() }, "manager %d is told of the claim", n)
	} else if s.ledger.holding == "" {
		add(func(b *budgets) *int { return &b.race }, "", func(c *state) { c.ledger.holding = hold(n, -1) }, "manager %d is told late of the claim", n)
	}
	if !m.claimDue.IsZero() && !m.claimDue.After(s.now) {
		add(nil, actor(n, -1), func(c *state) { c.reconcileClaim(n) }, "manager %d reconciles the claim", n)
	}
	crash := func(b *budgets) *int { return &b.crash }
	add(crash, "", func(c *state) { c.begin(n) }, "manager %d crashes", n)
	for i, run := range m.runs {
		if run == nil || run.next.kind != modifyCall || s.ledger.tooLate(s, run.next.token) {
			continue
		}
		r := run.next
		add(crash, "", func(c *state) { c.ledger.sent(c, n, i, r); c.effect(r.token, r.to, i); c.begin(n) }, "manager %d sends %s of r%d and crashes", n, r.to, i)
		add(crash, "", func(c *state) { c.ledger.sent(c, n, i, r); c.delay(r, i); c.begin(n) }, "manager %d sends %s of r%d, which is delayed, and crashes", n, r.to, i)
	}
}

func actor(n, i int) string { return fmt.Sprint(n, "/", i) }

func hold(n, i int) string { return fmt.Sprint(n, "/", i) }

func (s *state) held(n, i int) bool { return s.ledger.holding == hold(n, i) }

// deliverAll tells the managers of what has changed, but for what is held back.
func (s *state) deliverAll() {
	for n, m := range s.managers {
		if !m.up {
			continue
		}
		for i := range s.policies {
			for !s.held(n, i) && m.seen[i] < s.policies[i].last() {
				s.deliverPolicy(n, i)
			}
		}
		for !s.held(n, -1) && m.claim < s.claims.last() {
			s.deliverClaim(n)
		}
	}
}

func (s *state) delay(r *request, i int) {
	deadline := s.now.Add(realLag)
	if p := s.policies[i].newest(); p != nil && p.Status.PendingModification != nil && p.Status.PendingModification.ClientToken == r.token {
		deadline = s.ledger.aheadAt(r.token).Add(realLag)
	}
	s.cloud.flights = append(s.cloud.flights, flight{r.token, r.to, i, deadline})
}

var errAway = &awayError{}

type awayError struct{}

func (*awayError) Error() string { return "the API server is away" }

// replies are the answers that a pass may get.
func (s *state) replies(n, i int, add adder) {
	r := s.managers[n].runs[i].next
	reply := func(a func(*state) *answer) func(*state) {
		return func(c *state) { c.reply(n, i, a(c)) }
	}
	who := fmt.Sprintf("manager %d, r%d: %s", n, i, r.kind)
	if r.kind == guardCall {
		s.guardReplies(n, i, who, reply, add)
		return
	}
	if r.kind == observeCall || r.kind == modifyCall {
		s.cloudReplies(n, i, r, who, reply, add)
		return
	}
	add(nil, actor(n, i), reply(func(c *state) *answer { return c.serve(n, i, r) }), "%s", who)
	away := func(b *budgets) *int { return &b.api }
	add(away, actor(n, i), reply(func(c *state) *answer { c.ledger.forgotten(); return &answer{err: errAway, label: "away"} }), "%s: the API server is away", who)
	if r.kind != getPolicy && r.kind != getClaim {
		add(away, actor(n, i), reply(func(c *state) *answer {
			c.serve(n, i, r)
			c.ledger.forgotten()
			return &answer{err: errAway, label: "lost"}
		}), "%s: done, and the answer is lost", who)
	}
}

// serve has the API server carry out a request.
func (s *state) serve(n, i int, r *request) *answer {
	a := &answer{}
	switch r.kind {
	case getPolicy:
		if a.policy = s.policies[i].newest(); a.policy == nil {
			a.err = notFound("r")
		}
	case getClaim:
		if a.claim = s.claims.newest(); a.claim == nil {
			a.err = notFound("claim")
		}
	case putStatus:
		s.ledger.writer = n
		a.policy, a.err = s.writePolicy(i, r, true)
	case putMeta:
		a.policy, a.err = s.writePolicy(i, r, false)
	case newClaim:
		a.claim, a.err = s.createClaim(r.claim)
	case setClaim:
		a.claim, a.err = s.updateClaim(r.claim)
	case endClaim:
		a.err = s.deleteClaim(r.claim)
	}
	a.label = "ok"
	if a.err != nil {
		a.label = "no"
	}
	return a
}

// guardReplies are what the guard finds: what is true, or nothing that can be read.
func (s *state) guardReplies(n, i int, who string, reply func(func(*state) *answer) func(*state), add adder) {
	add(nil, actor(n, i), reply(func(c *state) *answer {
		if c.nodes {
			return &answer{value: "1 node of this cluster is in it", label: "nodes"}
		}
		cleared := *c.managers[n].runs[i]
		cleared.cleared = true
		c.managers[n].runs[i] = &cleared
		return &answer{label: "clear"}
	}), "%s", who)
	add(func(b *budgets) *int { return &b.timeout }, actor(n, i), reply(func(*state) *answer {
		return &answer{err: &ecs.Error{Action: ecs.ActionInterfaces, Code: ecs.CodeTimeout, Class: ecs.Unavailable}, label: "timeout"}
	}), "%s: no answer", who)
	add(func(b *budgets) *int { return &b.throttle }, actor(n, i), reply(func(*state) *answer { return &answer{wait: time.Second, label: "wait"} }), "%s: has to wait", who)
}

func (s *state) cloudReplies(n, i int, r *request, who string, reply func(func(*state) *answer) func(*state), add adder) {
	fails := func(action, code string, class ecs.Class, status int) *answer {
		return &answer{err: &ecs.Error{Action: action, Code: code, Class: class, HTTPStatus: status}, label: code}
	}
	timeout := func(b *budgets) *int { return &b.timeout }
	refuse := func(b *budgets) *int { return &b.refuse }
	throttle := func(b *budgets) *int { return &b.throttle }
	if r.kind == observeCall {
		call := func(c *state) { c.ledger.called(c, c.managers[n].runs[i].object.UID) }
		if s.cloud.gone {
			add(nil, actor(n, i), reply(func(c *state) *answer {
				call(c)
				return fails(ecs.ActionObserve, "InvalidSecurityGroupId.NotFound", ecs.NotFound, 404)
			}), "%s: there is no group", who)
			return
		}
		for k, value := range s.visible() {
			var spend func(*budgets) *int
			if k > 0 {
				spend = func(b *budgets) *int { return &b.stale }
			}
			add(spend, actor(n, i), reply(func(c *state) *answer {
				call(c)
				c.managers[n].answered[c.managers[n].runs[i].object.UID] = answered{value, c.now}
				return &answer{value: value, label: value}
			}), "%s: %s%s", who, value, []string{"", ", which is old"}[min(k, 1)])
		}
		add(timeout, actor(n, i), reply(func(c *state) *answer { call(c); return fails(ecs.ActionObserve, ecs.CodeTimeout, ecs.Unavailable, 0) }), "%s: no answer", who)
		add(refuse, actor(n, i), reply(func(c *state) *answer { call(c); return fails(ecs.ActionObserve, "Forbidden.RAM", ecs.Denied, 403) }), "%s: refused", who)
		add(throttle, actor(n, i), reply(func(*state) *answer { return &answer{wait: time.Second, label: "wait"} }), "%s: has to wait for the rate", who)
		return
	}
	sent := func(c *state) {
		c.ledger.sent(c, n, i, r)
		c.ledger.called(c, c.managers[n].runs[i].object.UID)
	}
	lose := func(b *budgets) *int { return &b.lose }
	ok := func() *answer { return &answer{value: "req-" + r.token, label: "ok"} }
	who += " to " + r.to
	if s.ledger.tooLate(s, r.token) {
		add(nil, actor(n, i), reply(func(*state) *answer { return fails(ecs.ActionModify, ecs.CodeTimeout, ecs.Unavailable, 0) }), "%s: given up", who)
		return
	}
	add(nil, actor(n, i), reply(func(c *state) *answer {
		sent(c)
		if c.cloud.gone {
			return fails(ecs.ActionModify, "InvalidSecurityGroupId.NotFound", ecs.NotFound, 404)
		}
		c.effect(r.token, r.to, i)
		if e := c.ledger.effects[r.token]; e != nil {
			e.answered = true
		}
		return ok()
	}), "%s", who)
	add(lose, actor(n, i), reply(func(c *state) *answer {
		sent(c)
		c.effect(r.token, r.to, i)
		return fails(ecs.ActionModify, ecs.CodeTimeout, ecs.Unavailable, 0)
	}), "%s: done, and the answer is lost", who)
	add(lose, actor(n, i), reply(func(c *state) *answer { sent(c); return fails(ecs.ActionModify, ecs.CodeTimeout, ecs.Unavailable, 0) }), "%s: never arrives", who)
	add(lose, actor(n, i), reply(func(c *state) *answer {
		sent(c)
		c.delay(r, i)
		return fails(ecs.ActionModify, ecs.CodeTimeout, ecs.Unavailable, 0)
	}), "%s: delayed, and the answer is lost", who)
	add(refuse, actor(n, i), reply(func(c *state) *answer { sent(c); return fails(ecs.ActionModify, "Forbidden.RAM", ecs.Denied, 403) }), "%s: refused", who)
	add(throttle, actor(n, i), reply(func(*state) *answer { return &answer{wait: time.Second, label: "wait"} }), "%s: has to wait for the rate", who)
}

// userSteps are those of the resources' owners.
func (s *state) userSteps(add adder) {
	for i := range s.policies {
		p := s.policies[i].newest()
		if p == nil {
			add(func(b *budgets) *int { return &b.create }, "", func(c *state) {
				c.putPolicy(i, c.resource(i, ecs.Accept, i == 0))
			}, "r%d is made anew", i)
			continue
		}
		if !p.DeletionTimestamp.IsZero() {
			continue
		}
		edit := func(spend func(*budgets) *int, what string, change func(*v1alpha1.SecurityGroupPolicySpec)) {
			add(spend, "", func(c *state) {
				edited := c.policies[i].newest().DeepCopy()
				change(&edited.Spec)
				edited.Generation++
				c.edits[i]++
				if edited.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
					c.ledger.yielded[edited.UID] = true
				}
				c.ledger.edited(edited)
				c.putPolicy(i, edited)
			}, "r%d is edited: %s", i, what)
		}
		to := other(p.Spec.InnerAccessPolicy)
		edit(func(b *budgets) *int { return &b.edit }, to, func(spec *v1alpha1.SecurityGroupPolicySpec) { spec.InnerAccessPolicy = to })
		mode := v1alpha1.ManagementObserve
		if p.Spec.ManagementPolicy == mode {
			mode = v1alpha1.ManagementEnforce
		}
		edit(func(b *budgets) *int { return &b.mode }, string(mode), func(spec *v1alpha1.SecurityGroupPolicySpec) { spec.ManagementPolicy = mode })
		add(func(b *budgets) *int { return &b.label }, "", func(c *state) {
			c.putPolicy(i, c.policies[i].newest().DeepCopy())
		}, "r%d gets another label", i)
		edit(func(b *budgets) *int { return &b.parameter }, "another ownerAccount", func(spec *v1alpha1.SecurityGroupPolicySpec) { spec.OwnerAccount += "o" })
		if p.Spec.Suspend {
			edit(nil, "resumed", func(spec *v1alpha1.SecurityGroupPolicySpec) { spec.Suspend = false })
		} else {
			edit(func(b *budgets) *int { return &b.suspend }, "suspended", func(spec *v1alpha1.SecurityGroupPolicySpec) { spec.Suspend = true })
		}
		add(func(b *budgets) *int { return &b.remove }, "", func(c *state) { c.removePolicy(i) }, "r%d is deleted", i)
		s.annotationSteps(i, p, add)
	}
}

// annotationSteps are approvals and confirmations.
func (s *state) annotationSteps(i int, p *sgp, add adder) {
	annotate := func(c *state, name, value string) *sgp {
		annotated := c.policies[i].newest().DeepCopy()
		if annotated.Annotations == nil {
			annotated.Annotations = map[string]string{}
		}
		if annotated.Annotations[name] = value; value == "" {
			delete(annotated.Annotations, name)
		}
		c.putPolicy(i, annotated)
		return annotated
	}
	if s.guarded || s.demands || s.budget > 0 {
		value, label := itoa(p.Generation), "approved"
		if p.Annotations[v1alpha1.AnnotationApprove] == value {
			value, label = "", "not approved any more"
		}
		add(func(b *budgets) *int { return &b.approve }, "", func(c *state) { annotate(c, v1alpha1.AnnotationApprove, value) }, "r%d is %s", i, label)
	}
	if b := p.Status.Rollback; b != nil && !confirms(p, b) {
		add(func(b *budgets) *int { return &b.confirm }, "", func(c *state) {
			c.edits[i]++
			c.ledger.confirmed(annotate(c, v1alpha1.AnnotationConfirm, itoa(b.Generation)))
		}, "r%d is confirmed", i)
	}
}

func (s *state) removePolicy(i int) {
	p := s.policies[i].newest()
	s.edits[i]++
	if len(p.Finalizers) == 0 {
		s.vanish(i, p)
		return
	}
	deleted := p.DeepCopy()
	deleted.DeletionTimestamp = new(metav1.NewTime(s.now).Rfc3339Copy())
	deleted.Generation++
	s.putPolicy(i, deleted)
}

// cloudSteps are those of ECS, and of whoever else uses it.
func (s *state) cloudSteps(add adder) {
	for k, f := range s.cloud.flights {
		add(nil, "", func(c *state) {
			c.cloud.flights = slices.Delete(c.cloud.flights, k, k+1)
			c.effect(f.token, f.to, f.by)
		}, "the delayed change of r%d to %s takes effect", f.by, f.to)
	}
	add(func(b *budgets) *int { return &b.outsider }, "", func(c *state) {
		c.ledger.outsider(c)
		c.setCloud(other(c.cloud.value))
	}, "somebody else sets %s", other(s.cloud.value))
	if s.guarded {
		add(func(b *budgets) *int { return &b.nodes }, "", func(c *state) { c.nodes = !c.nodes }, "nodes in the group: %v", !s.nodes)
	}
	if !s.cloud.gone {
		add(func(b *budgets) *int { return &b.vanish }, "", func(c *state) { c.cloud.gone = true }, "the group is deleted")
	}
}

// nextMoment is when something is due next.
func (s *state) nextMoment() (next time.Time, ok bool) {
	consider := func(t time.Time) {
		if t.After(s.now) && (!ok || t.Before(next)) {
			next, ok = t, true
		}
	}
	for _, m := range s.managers {
		if !m.up {
			continue
		}
		for i := range m.due {
			consider(m.due[i])
		}
		consider(m.claimDue)
	}
	for _, f := range s.cloud.flights {
		consider(f.deadline)
		consider(f.deadline.Add(time.Second))
	}
	return next, ok
}

// take carries out a step on a copy.
func (s *state) take(t step) *state {
	c := s.follow(t.label)
	if t.spend != nil {
		c.left.total--
		*t.spend(&c.left)--
	}
	if t.actor != "" {
		c.actor = t.actor
	}
	t.do(c)
	c.deliverAll()
	return c
}

// uids are those of the resources that there are.
func (s *state) uids() map[types.UID]*sgp {
	live := map[types.UID]*sgp{}
	for i := range s.policies {
		if p := s.policies[i].newest(); p != nil {
			live[p.UID] = p
		}
	}
	return live
}
