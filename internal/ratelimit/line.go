package ratelimit

import "time"

// ticket is a place in a line.
type ticket struct {
	Asker
	asked time.Time // for the first time
	due   time.Time // when to ask again
	place int       // in the heap of dues

	round, number int // of the line; and within the round

	// When it asked last: how many stood before it, how many of them in its line, and
	// how many calls had gone.
	ahead, inLine, gone int
}

// line holds those who wait with one priority, in rounds: each tenant has one
// ticket in a round at the most, so that the tenants take turns.
type line struct {
	waiting int
	tenants map[string]tenancy
	rounds  []round
	current int    // index of the first round with anybody in it
	ended   int    // how many rounds were dropped before rounds[0]
	sizes   counts // who waits in each round
}

// tenancy is what a tenant has waiting in a line.
type tenancy struct {
	waiting   int
	lastRound int
}

type round struct{ came, left int }

// join puts a ticket into the first round that has none of its tenant. A round that
// has begun takes nobody in: those who come back at once would make it last forever.
func (l *line) join(t *ticket) {
	if l.waiting == 0 {
		l.rounds, l.sizes, l.current, l.ended = l.rounds[:0], l.sizes[:0], 0, 0
	}
	at := l.current
	if at < len(l.rounds) && l.rounds[at].left > 0 {
		at++
	}
	mine, known := l.tenants[t.Tenant]
	if known {
		// Where it has given up most of its places, the rounds left empty count for it.
		at = max(at, min(mine.lastRound+1-l.ended, at+2*mine.waiting))
	}
	for at >= len(l.rounds) {
		l.rounds = append(l.rounds, round{})
		l.sizes.push(0)
	}
	t.round, t.number = at+l.ended, l.rounds[at].came
	l.rounds[at].came++
	l.sizes.add(at, 1)
	l.waiting++
	l.tenants[t.Tenant] = tenancy{waiting: mine.waiting + 1, lastRound: t.round}
}

// leave takes a ticket out.
func (l *line) leave(t *ticket) {
	at := t.round - l.ended
	l.rounds[at].left++
	l.sizes.add(at, -1)
	l.waiting--
	if mine := l.tenants[t.Tenant]; mine.waiting > 1 {
		l.tenants[t.Tenant] = tenancy{waiting: mine.waiting - 1, lastRound: mine.lastRound}
	} else {
		delete(l.tenants, t.Tenant)
	}
	for l.current < len(l.rounds) && l.rounds[l.current].came == l.rounds[l.current].left {
		l.current++
	}
	// Half of the rounds are over: forgetting them costs each of them one step.
	if l.waiting > 0 && l.current > len(l.rounds)/2 {
		l.ended += l.current
		l.rounds = append(l.rounds[:0], l.rounds[l.current:]...)
		l.current = 0
		l.sizes = l.sizes[:0]
		for _, r := range l.rounds {
			l.sizes.push(r.came - r.left)
		}
	}
}

// before is how many go before a ticket. Where others have left its round out of
// order it may be one too few, which changes the order a little and the rate not at all.
func (l *line) before(t *ticket) int {
	at := t.round - l.ended
	return l.sizes.before(at) + max(0, t.number-l.rounds[at].left)
}

// counts is a Fenwick tree: numbers that can be changed, and summed up to an index, in
// logarithmic time. Element i holds the sum of those from i&(i+1) to i.
type counts []int

func (c counts) add(i, n int) {
	for ; i < len(c); i |= i + 1 {
		c[i] += n
	}
}

// before is the sum of those before i.
func (c counts) before(i int) (sum int) {
	for ; i > 0; i &= i - 1 {
		sum += c[i-1]
	}
	return sum
}

func (c *counts) push(n int) {
	i := len(*c)
	*c = append(*c, n+c.before(i)-c.before(i&(i+1)))
}

// dues is a heap of the tickets, the one that is due first at its root.
type dues []*ticket

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

// Push is for container/heap.
func (d *dues) Push(x any) {
	t := x.(*ticket)
	t.place = len(*d)
	*d = append(*d, t)
}

// Pop is for container/heap.
func (d *dues) Pop() any {
	last := len(*d) - 1
	t := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return t
}
