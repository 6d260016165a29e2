package ecssim

import (
	"maps"
	"math/rand/v2"
	"time"
)

// FaultKind is a way to misbehave.
type FaultKind string

// Before means that the call has no effect, After that it has.
const (
	// Throttle refuses the call: 400 Throttling.User, or the fault's own code.
	Throttle FaultKind = "Throttle"
	// Error answers an error: 500 InternalError, or the fault's own.
	Error FaultKind = "Error"
	// HangBefore lets the call wait at the door; it goes on when the hang ends,
	// unless the client has left.
	HangBefore FaultKind = "HangBefore"
	// HangInside lets the call wait inside ECS: it takes effect when the hang ends,
	// also after the client has left, and its ClientToken is in use until then.
	HangInside FaultKind = "HangInside"
	// HangAfter lets the answer wait.
	HangAfter FaultKind = "HangAfter"
	// ResetBefore and ResetAfter reset the connection instead of an answer.
	ResetBefore FaultKind = "ResetBefore"
	ResetAfter  FaultKind = "ResetAfter"
	// HTML answers a web page, as a proxy does: 502, or the fault's own status.
	HTML FaultKind = "HTML"
	// Truncated closes the connection in the middle of the answer.
	Truncated FaultKind = "Truncated"
	// BrokenJSON ends the body in the middle, as if it were complete.
	BrokenJSON FaultKind = "BrokenJSON"
	// Giant answers 200 and a body of Size bytes.
	Giant FaultKind = "Giant"
	// Empty answers 200 and no body, NoContent 204.
	Empty     FaultKind = "Empty"
	NoContent FaultKind = "NoContent"
	// WrongJSON answers 200 and {}.
	WrongJSON FaultKind = "WrongJSON"
)

var faultKinds = map[FaultKind]bool{
	Throttle: true, Error: true, HangBefore: true, HangInside: true, HangAfter: true, ResetBefore: true, ResetAfter: true,
	HTML: true, Truncated: true, BrokenJSON: true, Giant: true, Empty: true, NoContent: true, WrongJSON: true,
}

const defaultGiant = 32 << 20

// Fault makes matching calls misbehave. Only calls that authentication and
// quotas let pass meet one, each the first that matches it.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// Action, Region, GroupID and AccessKeyID choose the calls; empty matches all.
	Action      string `json:"action,omitempty"`
	Region      string `json:"region,omitempty"`
	GroupID     string `json:"groupId,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
	// Times is how many calls it strikes; 0: until ClearFaults.
	Times int `json:"times,omitempty"`
	// Skip lets that many matching calls pass first.
	Skip int `json:"skip,omitempty"`
	// Probability of striking a matching call, 0 for always, drawn from a
	// sequence that Seed determines.
	Probability float64 `json:"probability,omitempty"`
	Seed        uint64  `json:"seed,omitempty"`
	// Delay ends a hang, at the latest; 0: only Release or the client does.
	Delay time.Duration `json:"-"`
	// Status, Code, Message and Header replace those of an Error, a Throttle or a
	// broken answer.
	Status  int               `json:"status,omitempty"`
	Code    string            `json:"code,omitempty"`
	Message string            `json:"message,omitempty"`
	Header  map[string]string `json:"header,omitempty"`
	// Effect lets a call with an Error or a broken answer take effect all the
	// same.
	Effect bool `json:"effect,omitempty"`
	// Size of a Giant answer in bytes, 32 MiB if zero.
	Size int `json:"size,omitempty"`
}

type faults struct {
	lastID int
	active []*activeFault
}

type activeFault struct {
	Fault
	id     int
	random *rand.Rand
}

// Inject adds a fault and returns its number. Faults are tried in the order in
// which they were added.
func (s *Server) Inject(f Fault) (id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Header = maps.Clone(f.Header)
	s.faults.lastID++
	s.faults.active = append(s.faults.active, &activeFault{
		Fault: f, id: s.faults.lastID,
		random: rand.New(rand.NewPCG(f.Seed, 0)), //nolint:gosec // a repeatable sequence is the purpose
	})
	return s.faults.lastID
}

// ClearFaults removes every fault. Calls that hang already go on hanging: see
// Release.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.active = nil
}

// next returns the fault that strikes a call, if any.
func (f *faults) next(c *call) *Fault {
	for i, fault := range f.active {
		if !fault.matches(c) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		if fault.Probability > 0 && fault.random.Float64() >= fault.Probability {
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.active = append(f.active[:i:i], f.active[i+1:]...)
			}
		}
		return &fault.Fault
	}
	return nil
}

func (f *Fault) matches(c *call) bool {
	return (f.Action == "" || f.Action == c.log.Action) && (f.Region == "" || f.Region == c.log.Region) &&
		(f.GroupID == "" || f.GroupID == c.log.GroupID) && (f.AccessKeyID == "" || f.AccessKeyID == c.log.AccessKeyID)
}
