package ecssim

import (
	"crypto/sha256"
	"slices"
	"time"
)

// tokenLifetime is an assumption: ECS publishes none for this action.
const tokenLifetime = 24 * time.Hour

const maxClientToken = 64

// clientTokens remembers which ClientToken stands for which call.
type clientTokens struct {
	calls  map[string]*idempotentCall
	expiry []expiringToken
}

type expiringToken struct {
	id    string
	entry *idempotentCall
}

// idempotentCall is the first call with a token.
type idempotentCall struct {
	params    [sha256.Size]byte
	begun     time.Time
	running   bool
	requestID string
	// answer is what a repetition is answered with, beside the request id.
	answer object
}

func newClientTokens() clientTokens { return clientTokens{calls: map[string]*idempotentCall{}} }

// begin claims a token for a call. It returns the first call with the same token
// and parameters if that one is done, so that its answer can be repeated.
func (t *clientTokens) begin(now time.Time, c *call) (id string, first *idempotentCall, refusal *apiError) {
	token := c.param("ClientToken")
	if token == "" {
		return "", nil, nil
	}
	if !validClientToken(token) {
		return "", nil, refuse(400, "InvalidClientToken.ValueNotSupported", "The ClientToken provided is invalid.")
	}
	for len(t.expiry) > 0 && now.Sub(t.expiry[0].entry.begun) > tokenLifetime {
		if old := t.expiry[0]; t.calls[old.id] == old.entry {
			delete(t.calls, old.id)
		}
		t.expiry = t.expiry[1:]
	}
	id = c.key.Account + "/" + c.log.Action + "/" + token
	params := idempotentParams(c)
	if known, ok := t.calls[id]; ok {
		switch {
		case known.params != params:
			return "", nil, refuse(400, "IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request.")
		case known.running:
			return "", nil, refuse(403, "LastTokenProcessing", "The last token request is processing.")
		}
		return "", known, nil
	}
	entry := &idempotentCall{params: params, begun: now, running: true, requestID: c.log.RequestID}
	t.calls[id] = entry
	t.expiry = append(t.expiry, expiringToken{id, entry})
	return id, nil, nil
}

// keep completes the call that has claimed a token, with its answer.
func (t *clientTokens) keep(id string, answer object) {
	if entry := t.calls[id]; entry != nil {
		entry.running, entry.answer = false, answer
	}
}

// end completes the call that has claimed a token. A refused call gives its
// token back: ECS does not say whether it would keep it.
func (t *clientTokens) end(id string, done bool) {
	if entry := t.calls[id]; entry != nil {
		entry.running = false
		if !done {
			delete(t.calls, id)
		}
	}
}

func validClientToken(token string) bool {
	return len(token) <= maxClientToken && !slices.ContainsFunc([]byte(token), func(b byte) bool { return b > 0x7e || b < 0x20 })
}

// perRequest names the parameters that identify, date and sign a single request.
var perRequest = []string{
	"Action", "Version", "AccessKeyId", "SecurityToken", "Timestamp", "Format",
	"Signature", "SignatureNonce", "SignatureMethod", "SignatureVersion", "SignatureType",
}

// idempotentParams condenses what must be the same in a repetition.
func idempotentParams(c *call) [sha256.Size]byte {
	params := c.params()
	for _, name := range perRequest {
		delete(params, name)
	}
	return sha256.Sum256([]byte(canonicalQuery(params)))
}
