package ecssim

import "maps"

// callLog keeps the calls in the order of their arrival.
type callLog struct {
	limit  int
	calls  []*Call
	oldest int // of a full ring
	counts map[string]int
}

func newCallLog(limit int) callLog { return callLog{limit: limit, counts: map[string]int{}} }

func (l *callLog) add(call *Call) {
	l.counts[call.Action]++
	if l.limit <= 0 || len(l.calls) < l.limit {
		l.calls = append(l.calls, call)
		return
	}
	l.calls[l.oldest] = call
	l.oldest = (l.oldest + 1) % l.limit
}

// Calls returns the logged calls, oldest first. A call is in the log from its
// arrival on.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]Call, 0, len(s.log.calls))
	for i := range s.log.calls {
		call := *s.log.calls[(s.log.oldest+i)%len(s.log.calls)]
		call.Params = maps.Clone(call.Params)
		calls = append(calls, call)
	}
	return calls
}

// CallCount tells how often an action was called since the start or ResetCalls,
// answered or not, also when the log no longer holds them all. An empty action
// counts every call.
func (s *Server) CallCount(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if action != "" {
		return s.log.counts[action]
	}
	total := 0
	for _, n := range s.log.counts {
		total += n
	}
	return total
}

// ResetCalls empties the call log and the counts.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = newCallLog(s.log.limit)
}
