package ecssim

import (
	"hash/maphash"
	"slices"
	"strings"
	"time"
)

// expiredFor is how long an expired temporary key is still told apart from one
// that never existed.
const expiredFor = 24 * time.Hour

// keyring holds the access keys, and whose each security token is.
type keyring struct {
	byID    map[string]Key
	byToken map[string]string
}

func newKeyring() keyring {
	return keyring{byID: map[string]Key{}, byToken: map[string]string{}}
}

// PutKey adds a key or replaces the one with its ID.
func (s *Server) PutKey(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.put(key)
}

// DeleteKey removes a key: it is not found from now on.
func (s *Server) DeleteKey(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.remove(id)
}

func (k *keyring) put(key Key) {
	k.remove(key.ID)
	if key.Account == "" {
		key.Account = DefaultAccount
	}
	key.Deny = slices.Clone(key.Deny)
	k.byID[key.ID] = key
	if key.Token != "" {
		k.byToken[key.Token] = key.ID
	}
}

func (k *keyring) remove(id string) {
	delete(k.byToken, k.byID[id].Token)
	delete(k.byID, id)
}

// forget drops temporary keys whose end is long past, so that a server that
// issues them for days does not grow.
func (k *keyring) forget(now time.Time) {
	for id, key := range k.byID {
		if key.role != nil && now.Sub(key.Expires) > expiredFor {
			k.remove(id)
		}
	}
}

// find returns the key that a request names, if the request may use it.
func (k *keyring) find(id, token string, now time.Time) (Key, *apiError) {
	key, ok := k.byID[id]
	switch {
	case !ok:
		return key, refuse(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
	case key.Inactive:
		return key, refuse(400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.")
	case key.Token != "" && token == "":
		return key, refuse(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
	case key.Token != token:
		if _, known := k.byToken[token]; known {
			return key, refuse(400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
		}
		return key, refuse(400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
	case !key.Expires.IsZero() && !now.Before(key.Expires):
		return key, refuse(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
	}
	return key, nil
}

// denies tells whether RAM refuses an action to the key, named with or without
// its product.
func (k Key) denies(action string) bool {
	return slices.ContainsFunc(k.Deny, func(denied string) bool {
		_, name, found := strings.Cut(denied, ":")
		if !found {
			name = denied
		}
		return name == "*" || strings.EqualFold(name, action)
	})
}

// forbidden is RAM's refusal.
func forbidden(c *call) *apiError {
	action := c.api.product + ":" + c.log.Action
	code := "Forbidden.RAM"
	if c.api.product == "sts" {
		code = "NoPermission"
	}
	refusal := refuse(403, code, "User not authorized to operate on the specified resource, or this API doesn't support RAM.")
	principal, display := "SubUser", c.key.ID
	if c.key.role != nil {
		principal, display = "AssumedRoleUser", c.key.role.name
	}
	refusal.detail = object{
		{"AuthAction", action},
		{"AuthPrincipalType", principal},
		{"AuthPrincipalOwnerId", c.key.Account},
		{"AuthPrincipalDisplayName", display},
		{"NoPermissionType", "ImplicitDeny"},
		{"PolicyType", "AccountLevelIdentityBasedPolicy"},
	}
	return refusal
}

// nonces remembers which nonces were used, by the minute of their signature: a
// nonce can only come back while its signature's time is still accepted.
type nonces struct {
	seed    maphash.Seed
	minutes map[int64]map[uint64]struct{}
}

// use tells whether a nonce is new, and remembers it.
func (n *nonces) use(now, signedAt time.Time, keyID, nonce string) bool {
	if n.minutes == nil {
		n.seed, n.minutes = maphash.MakeSeed(), map[int64]map[uint64]struct{}{}
	}
	// A hash of 64 bits keeps hours of load small; two nonces of a quarter of an
	// hour at 1,000 calls per second meet with a chance of one in 40 million.
	hash := maphash.String(n.seed, keyID+"\n"+nonce)
	for _, used := range n.minutes {
		if _, ok := used[hash]; ok {
			return false
		}
	}
	minute := signedAt.Unix() / 60
	used := n.minutes[minute]
	if used == nil {
		used = map[uint64]struct{}{}
		n.minutes[minute] = used
		oldest := now.Add(-clockSkew).Unix()/60 - 1
		for other := range n.minutes {
			if other < oldest {
				delete(n.minutes, other)
			}
		}
	}
	used[hash] = struct{}{}
	return true
}
