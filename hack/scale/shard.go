package main

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// epoch is when the simulation begins: not at the turn of a minute.
var epoch = time.Date(2026, 11, 24, 10, 0, 7, 0, time.UTC)

const (
	// firstBackoff and maxBackoff bound the wait after a refusal, and maxTurnWait
	// that for a turn within a pass: the reconciler's and the client's own.
	firstBackoff = time.Second
	maxBackoff   = 5 * time.Minute
	maxTurnWait  = 5 * time.Second
	// namespaces share the groups of each account-region evenly.
	namespaces = 10
)

// shard is a manager, with its accounts: a queue of passes, and workers for them.
// Everybody else's time stands still while one event is handled.
type shard struct {
	*plan
	now     time.Duration // since the epoch
	events  events
	ready   [2]lane // for a worker: what users have asked for, and periodic work
	working int
	unseen  int
	streams []stream
	groups  []group
	random  *rand.Rand
	*tally
}

// stream is an account-region.
type stream struct {
	place
	unseen  int // groups that were not observed yet
	observe bucket
	modify  bucket
}

// bucket is what ECS counts together, and the Governor that keeps below it.
type bucket struct {
	*ratelimit.Governor
	minute int64
	used   int // of the quota, in this minute
}

type step uint8

const (
	look step = iota
	modify
	readBack
)

// need is what an edit has yet to get.
type need uint8

const (
	nothing need = iota
	aChange
	toBeSeen
)

type group struct {
	id      string
	tenant  string // the namespace that declares it
	stream  *stream
	version uint32 // of its place in a queue; what is older there is void

	running  bool
	step     step
	deadline time.Duration // for a turn within the pass
	failures int

	seen   bool
	seenAt time.Duration

	need     need
	editing  bool // the pass that runs is for a change
	turned   bool // the first turn has been had
	editedAt time.Duration
	editedIn phase
}

// newShard takes every so many-th account, from the i-th on.
func newShard(p *plan, i int) *shard {
	s := &shard{plan: p, tally: newTally(p)}
	s.random = rand.New(rand.NewPCG(p.seed, uint64(i))) //nolint:gosec // the same for the same seed
	for a := i; a < p.accounts; a += p.shards {
		for r, n := range p.sizes[a] {
			s.streams = append(s.streams, stream{place: place{a, r}, unseen: n, observe: s.bucket(), modify: s.bucket()})
			s.unseen += n
		}
	}
	s.groups = make([]group, 0, s.unseen)
	for k := range s.streams {
		for range s.streams[k].unseen {
			s.groups = append(s.groups, group{
				id:     "sg-bp1" + strconv.FormatUint(s.random.Uint64(), 36),
				tenant: "team-" + strconv.Itoa(len(s.groups)%namespaces),
				stream: &s.streams[k],
			})
		}
	}
	// The manager lists its resources in no order.
	s.random.Shuffle(len(s.groups), func(i, j int) { s.groups[i], s.groups[j] = s.groups[j], s.groups[i] })
	return s
}

func (s *shard) bucket() bucket {
	return bucket{Governor: ratelimit.New(s.qps, s.burst, func() time.Time { return epoch.Add(s.now) })}
}

// run begins with a cold start.
func (s *shard) run() *tally {
	for i := range s.groups {
		s.enqueue(i)
	}
	s.awaitEdit()
	s.dispatch()
	for len(s.events) > 0 && s.events[0].at < s.end {
		e := s.events.pop()
		s.now = e.at
		s.handle(e)
		s.dispatch()
	}
	s.now = s.end
	for i := range s.groups {
		if g := &s.groups[i]; g.seen {
			s.noteOverdue(s.end - g.seenAt)
		}
	}
	return s.tally
}

func (s *shard) handle(e event) {
	switch g := &s.groups[e.group]; e.kind {
	case wake:
		if g.version == e.version {
			s.enqueue(e.group)
		}
	case turn:
		s.ask(e.group)
	case answer:
		s.learn(e.group, true)
	case refusal:
		s.learn(e.group, false)
	case edit:
		s.edit(e.group)
	}
}

// dispatch gives workers what is ready.
func (s *shard) dispatch() {
	for s.working < s.workers {
		i, ok := s.next()
		if !ok {
			break
		}
		g := &s.groups[i]
		s.working++
		g.running, g.step, g.editing = true, look, g.need == aChange
		s.ask(i)
	}
	p := &s.phases[s.phase(s.unseen)]
	p.workers = max(p.workers, s.working)
}

func (s *shard) next() (int, bool) {
	for k := range s.ready {
		for {
			e, ok := s.ready[k].pop()
			if !ok {
				break
			}
			if s.groups[e.group].version == e.version {
				return e.group, true
			}
		}
	}
	return 0, false
}

func (s *shard) enqueue(i int) {
	g := &s.groups[i]
	g.version++
	l := &s.ready[1]
	if g.need == aChange {
		l = &s.ready[0]
	}
	l.push(entry{group: i, version: g.version})
}

// ask asks for a turn. Only within a pass does anybody wait for it.
func (s *shard) ask(i int) {
	g := &s.groups[i]
	priority := ratelimit.Finish
	if g.step == look {
		priority = ratelimit.Resync
		if g.need != nothing {
			priority = ratelimit.Edit
		}
		s.phases[s.phase(g.stream.unseen)].takes++
	}
	wait, _ := g.bucket().Take(ratelimit.Asker{ID: g.id, Tenant: g.tenant, Priority: priority})
	switch {
	case wait == 0:
		s.send(i)
	case g.step != look && s.now+wait <= g.deadline:
		s.push(event{at: s.now + wait, group: i, kind: turn})
	default:
		s.finish(i, wait)
	}
}

func (g *group) bucket() *bucket {
	if g.step == modify {
		return &g.stream.modify
	}
	return &g.stream.observe
}

func (s *shard) send(i int) {
	g := &s.groups[i]
	p := &s.phases[s.phase(g.stream.unseen)]
	kind := refusal
	if s.grants(g.bucket()) {
		kind = answer
	} else {
		p.refused++
	}
	p.calls++
	s.perSecond[int(s.now/time.Second)]++
	if g.stream.place == s.largest && g.step != modify {
		s.observedLargest = append(s.observedLargest, s.now)
	}
	if g.step == look {
		p.turns++
	}
	if g.step == look && g.editing && !g.turned {
		g.turned = true
		in := &s.phases[g.editedIn]
		in.editTurns = append(in.editTurns, s.now-g.editedAt)
	}
	s.push(event{at: s.now + s.latency, group: i, kind: kind})
}

// grants counts a call as ECS does: a refused one uses nothing.
func (s *shard) grants(b *bucket) bool {
	if minute := epoch.Add(s.now).Unix() / 60; minute != b.minute {
		b.minute, b.used = minute, 0
	}
	if s.quota > 0 && b.used >= s.quota {
		return false
	}
	b.used++
	return true
}

// learn does what a pass does with an answer.
func (s *shard) learn(i int, answered bool) {
	g := &s.groups[i]
	if !answered {
		g.bucket().Done(ratelimit.Throttled, 0)
		s.finish(i, s.backoff(g))
		return
	}
	g.bucket().Done(ratelimit.Answered, 0)
	g.deadline = s.now + maxTurnWait
	switch g.step {
	case look:
		s.observed(g)
		if g.editing {
			g.step = modify
			s.ask(i)
			return
		}
	case modify:
		g.step, g.need = readBack, toBeSeen
		s.ask(i)
		return
	case readBack:
		g.seenAt = s.now
	}
	if g.need == toBeSeen {
		g.need = nothing
		in := &s.phases[g.editedIn]
		in.editsSeen = append(in.editsSeen, s.now-g.editedAt)
	}
	g.failures = 0
	s.finish(i, ratelimit.Spread(g.id, epoch.Add(s.now), s.interval))
}

// observed notes a look that was answered just now.
func (s *shard) observed(g *group) {
	asked := s.now - s.latency
	if g.seen {
		s.noteGap(s.phase(g.stream.unseen), asked-g.seenAt)
	} else {
		s.firsts = append(s.firsts, asked)
		if g.stream.place == s.largest {
			s.firstsLargest = append(s.firstsLargest, asked)
		}
		g.stream.unseen--
		s.unseen--
	}
	g.seen, g.seenAt = true, s.now
}

func (s *shard) backoff(g *group) time.Duration {
	d := min(firstBackoff<<min(g.failures, 16), maxBackoff)
	g.failures++
	return d/2 + time.Duration(s.random.Int64N(int64(d)))
}

// finish ends a pass. An edit that came meanwhile is worked on at once.
func (s *shard) finish(i int, again time.Duration) {
	g := &s.groups[i]
	s.working--
	g.running = false
	if g.need == aChange && !g.editing {
		s.enqueue(i)
		return
	}
	g.version++
	s.push(event{at: s.now + again, group: i, kind: wake, version: g.version})
}

// awaitEdit lets the next edit come after a while that knows nothing of the last.
func (s *shard) awaitEdit() {
	if rate := s.edits * float64(len(s.groups)) / float64(s.plan.groups); rate > 0 {
		after := time.Duration(s.random.ExpFloat64() / rate * float64(time.Second))
		s.push(event{at: s.now + after, group: s.random.IntN(len(s.groups)), kind: edit})
	}
}

// edit wakes a group, unless its last edit is not finished: one pass serves both.
func (s *shard) edit(i int) {
	s.awaitEdit()
	g := &s.groups[i]
	if g.need != nothing {
		return
	}
	g.need, g.turned = aChange, false
	g.editedAt, g.editedIn = s.now, s.phase(g.stream.unseen)
	if !g.running {
		s.enqueue(i)
	}
}

// phase tells where a shard or a stream stands that has so many groups to see yet.
func (s *shard) phase(unseen int) phase {
	switch {
	case s.now >= s.from:
		return steady
	case unseen > 0:
		return cold
	}
	return settling
}
