package main

import "time"

type kind uint8

const (
	wake kind = iota // a pass is due
	turn             // one that runs asks again
	answer
	refusal
	edit
)

type event struct {
	at      time.Duration
	group   int
	version uint32
	kind    kind
}

// events is a heap, without the interfaces of container/heap: most of the time of
// a simulation is spent here.
type events []event

func (s *shard) push(e event) {
	q := append(s.events, e)
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if q[parent].at <= e.at {
			break
		}
		q[i], i = q[parent], parent
	}
	q[i] = e
	s.events = q
}

func (h *events) pop() event {
	q := *h
	first, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	*h = q
	for i := 0; len(q) > 0; {
		child := 2*i + 1
		if child+1 < len(q) && q[child+1].at < q[child].at {
			child++
		}
		if child >= len(q) || q[child].at >= last.at {
			q[i] = last
			break
		}
		q[i], i = q[child], child
	}
	return first
}

// lane is a queue, first in, first out.
type lane struct {
	entries []entry
	head    int
}

type entry struct {
	group   int
	version uint32
}

func (l *lane) push(e entry) {
	if l.head > len(l.entries)/2 {
		l.entries = append(l.entries[:0], l.entries[l.head:]...)
		l.head = 0
	}
	l.entries = append(l.entries, e)
}

func (l *lane) pop() (entry, bool) {
	if l.head == len(l.entries) {
		return entry{}, false
	}
	l.head++
	return l.entries[l.head-1], true
}
