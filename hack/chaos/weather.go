package main

import (
	"fmt"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	observe = "DescribeSecurityGroupAttribute"
	modify  = "ModifySecurityGroupPolicy"
)

var faultKinds = []ecssim.FaultKind{
	ecssim.Throttle, ecssim.Error, ecssim.HangBefore, ecssim.HangInside, ecssim.HangAfter, ecssim.ResetBefore, ecssim.ResetAfter,
	ecssim.HTML, ecssim.Truncated, ecssim.BrokenJSON, ecssim.Giant, ecssim.Empty, ecssim.NoContent, ecssim.WrongJSON,
}

// passing are errors that ECS answers for a while, and that say nothing about
// the request.
var passing = []struct {
	status int
	code   string
}{
	{500, "InternalError"}, {503, "ServiceUnavailable"}, {504, "GatewayTimeout"}, {502, "BadGateway"},
	{403, "OperationConflict"}, {403, "LastTokenProcessing"},
}

// fault injects a fault that ends after a few calls: for one group or for any,
// for one action or for any.
func (p *plan) fault(of *group) {
	f := ecssim.Fault{Kind: faultKinds[p.rand.IntN(len(faultKinds))], Region: region, Times: 1 + p.rand.IntN(4)}
	if f.Kind == ecssim.Throttle && !p.mayThrottle() {
		f.Kind = ecssim.ResetBefore
	}
	group, action := p.chance(0.6), p.rand.IntN(3)
	switch {
	case action == 0 || !of.doubtful:
		f.Action = observe
	case action == 1:
		f.Action = modify
	}
	if group || p.calmer && f.Action != observe {
		f.GroupID = of.id
	}
	switch f.Kind {
	case ecssim.HangBefore, ecssim.HangInside, ecssim.HangAfter:
		// Around the manager's limit for a call, on both sides.
		f.Delay = time.Duration(500+p.rand.IntN(5000)) * time.Millisecond
		f.Times = 1 + p.rand.IntN(2)
	case ecssim.Error:
		e := passing[p.rand.IntN(len(passing))]
		f.Status, f.Code = e.status, e.code
		f.Effect = e.status >= 500 && p.chance(0.5)
	case ecssim.Giant:
		f.Times = 1
		f.Effect = p.chance(0.5)
	case ecssim.HTML, ecssim.Truncated, ecssim.BrokenJSON, ecssim.Empty, ecssim.NoContent, ecssim.WrongJSON:
		f.Effect = p.chance(0.5)
	case ecssim.Throttle, ecssim.ResetBefore, ecssim.ResetAfter:
	}
	p.add(laneCloud, fmt.Sprintf("fault %s on %q of %q, %d times (effect %v, %v)", f.Kind, f.Action, f.GroupID, f.Times, f.Effect, f.Delay),
		func(w *world) error { w.sim.Inject(f); return nil })
}

// mayThrottle keeps refusals for rate to the first third of a plan: one teaches the
// leader a rate of about a call a second, which takes it two minutes to leave behind,
// and hardly anything else would happen to so few calls.
func (p *plan) mayThrottle() bool { return p.at < p.length/3 }

// throttle sets a quota for a moment, and lifts it again.
func (p *plan) throttle() {
	limit := ecssim.Limit{Region: region, RetryAfter: p.chance(0.3), AcsRetryAfter: p.chance(0.3), RateLimitHeader: p.chance(0.3)}
	if p.chance(0.5) {
		limit.PerWindow, limit.Window = 5+p.rand.IntN(30), time.Duration(1+p.rand.IntN(3))*time.Second
	} else {
		limit.QPS, limit.Burst = float64(5+p.rand.IntN(30)), 1+p.rand.IntN(10)
	}
	if p.chance(0.3) {
		limit.Code = "Throttling"
	}
	if !p.mayThrottle() {
		return
	}
	p.add(laneCloud, fmt.Sprintf("limit %+v", limit), func(w *world) error { w.sim.SetLimits([]ecssim.Limit{limit}); return nil })
	now := p.at
	p.at = min(p.length, now+time.Duration(500+p.rand.IntN(3500))*time.Millisecond)
	p.add(laneCloud, "no limit", func(w *world) error { w.sim.SetLimits(nil); return nil })
	p.at = now
}

// lag makes reads show changes late from now on, or ends that; the answers take
// their time too.
func (p *plan) lag(of *group) {
	lag := ecssim.ReadLag{}
	if p.chance(0.5) {
		lag.GroupID = of.id
	}
	if p.chance(0.7) {
		lag.For, lag.Reads = time.Duration(p.rand.IntN(3000))*time.Millisecond, p.rand.IntN(3)
	}
	latency := time.Duration(p.rand.IntN(30)) * time.Millisecond
	p.add(laneCloud, fmt.Sprintf("read lag %+v, latency %v", lag, latency), func(w *world) error {
		w.sim.SetReadLag(lag)
		w.sim.SetLatency(latency)
		return nil
	})
}

// calm ends all of it. What hangs goes on at once.
func (w *world) calm() {
	w.sim.ClearFaults()
	w.sim.SetLimits(nil)
	w.sim.SetLatency(0)
	w.sim.SetReadLag(ecssim.ReadLag{})
	for _, g := range w.plan.groups {
		w.sim.SetReadLag(ecssim.ReadLag{GroupID: g.id})
	}
}

// underWay tells whether a change that hangs inside the simulator may still take
// effect.
func (w *world) underWay() bool {
	w.sim.Release()
	for _, call := range w.sim.Calls() {
		if call.Fault == ecssim.HangInside && call.Status == 0 {
			return true
		}
	}
	return false
}
