// Package ecssim stands for Alibaba Cloud ECS (its security groups' inner access
// policy) and STS in tests, demos and benchmarks: an http.Handler that speaks the
// RPC protocol, verifies signatures, keeps state and misbehaves on request. It is
// written from the API's documentation alone and must know nothing of
// internal/ecs or of any client: a mistake that both shared would hide itself.
// What is documented, assumed and different is in docs/simulator.md.
package ecssim

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is the simulator. Use New; all methods may be called at any time.
type Server struct {
	now                 func() time.Time
	incompleteSignature bool
	controlFromAny      bool
	control             http.Handler

	// mu guards everything below and is never held while a call waits.
	mu      sync.Mutex
	latency time.Duration
	release chan struct{}
	keys    keyring
	nonces  nonces
	roles   map[string]Role
	regions map[string]bool
	groups  groups
	members members
	tokens  clientTokens
	quotas  quotas
	faults  faults
	log     callLog
}

// New returns a Server in the state that the options describe.
func New(o Options) *Server {
	s := &Server{
		now:                 o.Now,
		incompleteSignature: o.IncompleteSignature,
		controlFromAny:      o.ControlFromAny,
		latency:             o.Latency,
		release:             make(chan struct{}),
		keys:                newKeyring(),
		roles:               map[string]Role{},
		regions:             map[string]bool{},
		groups:              newGroups(),
		members:             newMembers(),
		tokens:              newClientTokens(),
		log:                 newCallLog(o.CallLog),
	}
	if s.now == nil {
		s.now = time.Now //nolint:forbidigo // the default of the injected clock
	}
	regions := o.Regions
	if regions == nil {
		regions = defaultRegions
	}
	for _, region := range regions {
		s.regions[region] = true
	}
	for _, key := range o.Keys {
		s.PutKey(key)
	}
	for _, role := range o.Roles {
		s.PutRole(role)
	}
	for _, group := range o.Groups {
		s.PutGroup(group)
	}
	s.control = s.controlAPI()
	return s
}

// ServeHTTP serves the API, and the control API below /_sim/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control.ServeHTTP(w, r)
		return
	}
	c, refusal := s.read(r)
	s.mu.Lock()
	s.log.add(c.log)
	s.mu.Unlock()
	if refusal == nil {
		refusal = s.admit(c)
	}
	if refusal != nil {
		s.write(w, c, nil, refusal)
		return
	}
	s.mu.Lock()
	fault := s.faults.next(c)
	if fault != nil {
		c.log.Fault = fault.Kind
	}
	s.mu.Unlock()
	if fault != nil {
		s.serveFault(w, c, fault)
		return
	}
	answer, refusal := s.perform(c)
	s.write(w, c, answer, refusal)
}

// admit does what the gateway in front of ECS does before ECS sees a call: it
// finds the API, checks who calls and counts the call.
func (s *Server) admit(c *call) *apiError {
	if refusal := c.resolve(); refusal != nil {
		return refusal
	}
	if c.api.signed {
		if refusal := s.authenticate(c); refusal != nil {
			return refusal
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.log.Account = c.key.Account
	return s.quotas.take(s.now(), quotaKey{c.key.Account, c.log.Region, c.log.Action})
}

// perform carries out an admitted call.
func (s *Server) perform(c *call) (object, *apiError) {
	if c.key.denies(c.log.Action) {
		return nil, forbidden(c)
	}
	if !c.api.waits {
		s.pause(c)
	}
	return c.api.do(s, c)
}

// pause takes the time that ECS takes. A client that leaves meanwhile does not
// stop ECS.
func (s *Server) pause(c *call) {
	s.mu.Lock()
	latency := s.latency
	s.mu.Unlock()
	if latency > 0 {
		<-time.NewTimer(latency).C
	}
	if c.inside != nil {
		c.inside()
	}
}

// Release lets every call that hangs now go on at once.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.release)
	s.release = make(chan struct{})
}

// SetLatency makes every call take at least d.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// newRequestID returns an identifier in the form of ECS's request ids.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := strings.ToUpper(hex.EncodeToString(b[:]))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
