// Package claims says who may hold a security group: how the claim of a group is
// named, which of several candidates is next, and when a claim whose holder is gone
// is free. It knows neither conditions nor requests.
//
// A group is held by whom its SecurityGroupClaim names, and by nobody else. A claim is
// created by its holder alone, and deleted when the holder's right ends: so that who
// holds a group is decided by the API server, where a name exists once. While a group
// has no claim, its candidates go one at a time, the oldest first, and only the one
// whose turn it is calls the cloud.
package claims

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

const (
	// Turn is how long a candidate may take until the next one is tried.
	Turn = time.Minute
	// Answer is how long a holder that is asked for its group may take to reach it.
	Answer = time.Hour
)

// Group names a security group.
type Group struct{ RegionID, SecurityGroupID string }

// GroupOf is the group that a resource names.
func GroupOf(p *v1alpha1.SecurityGroupPolicy) Group {
	return Group{p.Spec.RegionID, p.Spec.SecurityGroupID}
}

// Of is the group that a claim is for.
func Of(c *v1alpha1.SecurityGroupClaim) Group {
	return Group{c.Spec.RegionID, c.Spec.SecurityGroupID}
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// ClaimName is the name of the group's claim: region and id, for example
// cn-hangzhou.sg-bp1abcdefgh. An id that cannot be part of a name is written in lower
// case without what does not fit, or as x if nothing is left, and a hash of the id
// follows after a dot, which no id contains.
func (g Group) ClaimName() string {
	if label.MatchString(g.SecurityGroupID) {
		return g.RegionID + "." + g.SecurityGroupID
	}
	sum := sha256.Sum256([]byte(g.SecurityGroupID))
	hash := hex.EncodeToString(sum[:8])
	readable := strings.Trim(strings.ReplaceAll(strings.ToLower(g.SecurityGroupID), "_", "-"), "-")
	return g.RegionID + "." + cmp.Or(readable, "x") + "." + hash
}

// Wants tells whether a resource needs its group for itself: it may change the group,
// now or to put the original value back.
func Wants(p *v1alpha1.SecurityGroupPolicy) bool {
	return p.Spec.ManagementPolicy != v1alpha1.ManagementObserve && !p.Spec.Suspend &&
		(p.DeletionTimestamp.IsZero() || len(p.Finalizers) > 0)
}

// HeldBy tells whether a claim names a resource as the holder.
func HeldBy(c *v1alpha1.SecurityGroupClaim, p *v1alpha1.SecurityGroupPolicy) bool {
	return c != nil && c.Spec.Holder.UID == string(p.UID) && Of(c) == GroupOf(p)
}
