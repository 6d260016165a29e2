// Package members reads what security groups protect: interfaces and instances, by group
// or by whole VPC, and what rules name. Reads are shared by all who ask for the same, and
// kept for as long as the asker allows. At rest it makes no call.
package members

import (
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

const (
	// fresh is for how long a snapshot of a VPC speaks for the present.
	fresh = time.Minute
	// loneGroups is how many groups of a VPC are read singly within that time. For more a
	// snapshot of the VPC costs less.
	loneGroups = 2
	// busy is when to come back while somebody else reads the same.
	busy = time.Second
	// longIdle is after what time nobody is expected to ask again.
	longIdle = 2 * time.Hour
	// maxPages bounds a listing whose pages do not end: half a million interfaces.
	maxPages = 1000
)

// Cloud is an account's client and name.
type Cloud struct {
	Client  *ecs.Client
	Account string
}

// Store keeps what was read. It is safe for concurrent use.
type Store struct {
	// Now is the clock.
	Now func() time.Time

	mu    sync.Mutex
	kept  map[key]*kept
	swept time.Time
	asked map[key][]asked
	large map[key]time.Time
}

// key names what is read: of a VPC, of instances, of a group, of a prefix list.
type key struct{ account, region, what, id string }

// kept is one of them, and at most one reader is at work on it.
type kept struct {
	reading sync.Mutex
	mu      sync.Mutex
	at      time.Time
	used    time.Time
	value   any
	// part is what a reader has got so far, that had to stop for the rate.
	part *part
}

type asked struct {
	group string
	at    time.Time
}

// Snapshot is the interfaces of a VPC at a time, or its instances.
type Snapshot struct {
	At         time.Time
	Interfaces []ecs.Interface
	Instances  []ecs.Instance

	byGroup map[string][]int
}

// Of are the interfaces that a group protects.
func (s *Snapshot) Of(group string) []ecs.Interface {
	var members []ecs.Interface
	for _, i := range s.byGroup[group] {
		members = append(members, s.Interfaces[i])
	}
	return members
}

func newSnapshot(at time.Time, all []ecs.Interface) *Snapshot {
	s := &Snapshot{At: at, byGroup: map[string][]int{}}
	seen := map[string]bool{}
	for _, i := range all {
		if seen[i.ID] {
			continue // pages may repeat what comes or goes meanwhile
		}
		seen[i.ID] = true
		for _, g := range i.GroupIDs {
			s.byGroup[g] = append(s.byGroup[g], len(s.Interfaces))
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	return s
}

// Found is what a group protects.
type Found struct {
	Interfaces []ecs.Interface
	// Instances are those whose primary interface is in the group, where they were read.
	Instances []ecs.Instance
}

// Count is the number of interfaces and of instances. Interfaces that belong to nothing,
// or are being deleted, do not count.
func (f Found) Count() (interfaces, instances int) {
	ids, primaries := map[string]bool{}, map[string]bool{}
	for _, i := range f.Interfaces {
		if i.Status == "Available" || i.Status == "Deleting" {
			continue
		}
		interfaces++
		if i.InstanceID != "" {
			ids[i.InstanceID] = true
		}
		if i.Type == "Primary" {
			primaries[i.InstanceID] = true
		}
	}
	for _, i := range f.Instances {
		if ids[i.ID] = true; !primaries[i.ID] {
			interfaces++ // its primary one
		}
	}
	return interfaces, len(ids)
}

// OfGroup reads what a group protects right now. A lone group takes two calls. Where many
// groups of a VPC are asked for at the same time, they share snapshots of it. Instances are
// read beside interfaces, since only they may bear a tag that counts.
func (s *Store) OfGroup(ctx context.Context, c Cloud, g ecs.Group, vpcID string) (Found, time.Duration, error) {
	if vpcID != "" && s.isOneOfMany(c, g, vpcID) {
		snapshot, wait, err := s.OfVPC(ctx, c, g.RegionID, vpcID, fresh)
		instances := &Snapshot{}
		if err == nil && wait == 0 {
			instances, wait, err = s.instancesOfVPC(ctx, c, g.RegionID, vpcID)
		}
		if ctx.Err() != nil {
			s.noteLarge(c, g.RegionID, vpcID)
		}
		if err != nil || wait > 0 {
			return Found{}, wait, err
		}
		found := Found{Interfaces: snapshot.Of(g.SecurityGroupID)}
		for _, i := range instances.Instances {
			if slices.Contains(i.GroupIDs, g.SecurityGroupID) {
				found.Instances = append(found.Instances, i)
			}
		}
		return found, 0, nil
	}
	chosen := ecs.Members{SecurityGroupID: g.SecurityGroupID}
	interfaces, wait, err := pages(ctx, &part{}, func(ctx context.Context, token string) (ecs.Page[ecs.Interface], time.Duration, error) {
		return c.Client.Interfaces(ctx, g.RegionID, chosen, token, ratelimit.Finish)
	})
	if err != nil || wait > 0 {
		return Found{}, wait, err
	}
	instances, wait, err := pages(ctx, &part{}, func(ctx context.Context, token string) (ecs.Page[ecs.Instance], time.Duration, error) {
		return c.Client.Instances(ctx, g.RegionID, chosen, token, ratelimit.Finish)
	})
	if err != nil || wait > 0 {
		return Found{}, wait, err
	}
	return Found{Interfaces: newSnapshot(s.Now(), interfaces).Interfaces, Instances: instances}, 0, nil
}

// noteLarge notes that a VPC cannot be listed in the time of a change: its groups are read
// singly for a while.
func (s *Store) noteLarge(c Cloud, region, vpcID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.large == nil {
		s.large = map[key]time.Time{}
	}
	s.large[key{c.Account, region, "vpc", vpcID}] = s.Now()
}

// isOneOfMany notes that a group is asked for, and tells whether others were so a short
// while ago.
func (s *Store) isOneOfMany(c Cloud, g ecs.Group, vpcID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, k := s.Now(), key{c.Account, g.RegionID, "vpc", vpcID}
	recent := slices.DeleteFunc(s.asked[k], func(a asked) bool { return now.Sub(a.at) > fresh || a.group == g.SecurityGroupID })
	if len(recent) < loneGroups+1 {
		recent = append(recent, asked{g.SecurityGroupID, now})
	}
	if s.asked == nil {
		s.asked = map[key][]asked{}
	}
	for known, all := range s.asked {
		if now.Sub(all[len(all)-1].at) > fresh {
			delete(s.asked, known)
		}
	}
	s.asked[k] = recent
	maps.DeleteFunc(s.large, func(_ key, at time.Time) bool { return now.Sub(at) > factsFor })
	_, large := s.large[k]
	return len(recent) > loneGroups && !large
}

// OfVPC is a snapshot of a VPC that is no older than within.
func (s *Store) OfVPC(ctx context.Context, c Cloud, region, vpcID string, within time.Duration) (*Snapshot, time.Duration, error) {
	return read(ctx, s, key{c.Account, region, "vpc", vpcID}, within, func(ctx context.Context, k *kept) (*Snapshot, time.Duration, error) {
		all, began, wait, err := resumed(ctx, s, k, within, func(ctx context.Context, token string) (ecs.Page[ecs.Interface], time.Duration, error) {
			return c.Client.Interfaces(ctx, region, ecs.Members{VpcID: vpcID}, token, ratelimit.Finish)
		})
		if err != nil || wait > 0 {
			return nil, wait, err
		}
		return newSnapshot(began, all), 0, nil
	})
}

// instancesOfVPC is a snapshot of the instances of a VPC.
func (s *Store) instancesOfVPC(ctx context.Context, c Cloud, region, vpcID string) (*Snapshot, time.Duration, error) {
	return read(ctx, s, key{c.Account, region, "vpc instances", vpcID}, fresh, func(ctx context.Context, k *kept) (*Snapshot, time.Duration, error) {
		all, began, wait, err := resumed(ctx, s, k, fresh, func(ctx context.Context, token string) (ecs.Page[ecs.Instance], time.Duration, error) {
			return c.Client.Instances(ctx, region, ecs.Members{VpcID: vpcID}, token, ratelimit.Finish)
		})
		if err != nil || wait > 0 {
			return nil, wait, err
		}
		return &Snapshot{At: began, Instances: all}, 0, nil
	})
}

// resumed reads a listing to its end, beginning where an earlier reader had to stop.
func resumed[T any](ctx context.Context, s *Store, k *kept, within time.Duration, next func(context.Context, string) (ecs.Page[T], time.Duration, error)) ([]T, time.Time, time.Duration, error) {
	// A part that was read too long ago would make the snapshot older than it says.
	if k.part == nil || s.Now().Sub(k.part.began) > within/2 {
		k.part = &part{began: s.Now()}
	}
	began := k.part.began
	all, wait, err := pages(ctx, k.part, next)
	if wait == 0 {
		k.part = nil
	}
	return all, began, wait, err
}

// Instances are those of some ids that the account has, kept for within: for other ids they
// are read anew. ECS leaves out those of other accounts.
func (s *Store) Instances(ctx context.Context, c Cloud, region string, ids []string, within time.Duration) ([]ecs.Instance, time.Duration, error) {
	if len(ids) == 0 {
		return nil, 0, nil
	}
	ids = slices.Sorted(slices.Values(ids))
	sum := sha256.Sum256([]byte(strings.Join(ids, ",")))
	return read(ctx, s, key{c.Account, region, "instances", string(sum[:])}, within, func(ctx context.Context, _ *kept) (found []ecs.Instance, _ time.Duration, _ error) {
		for chunk := range slices.Chunk(ids, ecs.MaxInstances) {
			page, wait, err := c.Client.Instances(ctx, region, ecs.Members{InstanceIDs: chunk}, "", ratelimit.Finish)
			if err != nil || wait > 0 {
				return nil, wait, err
			}
			found = append(found, page.Items...)
		}
		return found, 0, nil
	})
}

// Tagged are the ids of the groups of a region that bear a tag, kept for within.
func (s *Store) Tagged(ctx context.Context, c Cloud, region, tag string, within time.Duration) (map[string]bool, time.Duration, error) {
	return read(ctx, s, key{c.Account, region, "tagged", tag}, within, func(ctx context.Context, _ *kept) (map[string]bool, time.Duration, error) {
		found := map[string]bool{}
		for listing := c.Client.ListTagged(region, tag); !listing.Done(); {
			page, wait, err := listing.Next(ctx, ratelimit.Finish)
			if err != nil || wait > 0 {
				return nil, wait, err
			}
			for _, g := range page {
				if _, bears := g.Tags[tag]; bears {
					found[g.SecurityGroupID] = true
				}
			}
		}
		return found, 0, nil
	})
}

// Group is what a group is, with its rules, kept for within.
func (s *Store) Group(ctx context.Context, c Cloud, g ecs.Group, within time.Duration) (ecs.Observation, time.Duration, error) {
	g.Rules = true
	return read(ctx, s, groupKey(c.Account, g), within, func(ctx context.Context, _ *kept) (ecs.Observation, time.Duration, error) {
		return c.Client.Observe(ctx, g, ratelimit.Resync)
	})
}

// Keep takes what somebody has read of a group anyway, if others ask for it: rules are
// large, and most groups share no members.
func (s *Store) Keep(account string, g ecs.Group, o ecs.Observation) {
	s.mu.Lock()
	k := s.kept[groupKey(account, g)]
	s.mu.Unlock()
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.value = s.Now(), o
}

func groupKey(account string, g ecs.Group) key {
	return key{account, g.RegionID, "group", g.SecurityGroupID}
}

// find is what is kept of something. What nobody has asked for in a long time is dropped.
func (s *Store) find(what key) *kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kept[what]; k != nil {
		return k
	}
	if s.kept == nil {
		s.kept = map[key]*kept{}
	}
	now := s.Now()
	if now.Sub(s.swept) > longIdle/10 {
		maps.DeleteFunc(s.kept, func(_ key, k *kept) bool { return k.idle(now) })
		s.swept = now
	}
	k := &kept{used: now}
	s.kept[what] = k
	return k
}

func (k *kept) idle(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return now.Sub(k.used) > longIdle
}

// read gives what is kept if it is young enough, and else reads it. Who comes while another
// reads is told to come back, so that no worker waits for a worker.
func read[T any](ctx context.Context, s *Store, what key, within time.Duration, fetch func(context.Context, *kept) (T, time.Duration, error)) (value T, wait time.Duration, err error) {
	k := s.find(what)
	if value, ok := young[T](k, s.Now(), within); ok {
		return value, 0, nil
	}
	if !k.reading.TryLock() {
		return value, busy, nil
	}
	defer k.reading.Unlock()
	if value, ok := young[T](k, s.Now(), within); ok {
		return value, 0, nil
	}
	began := s.Now()
	if value, wait, err = fetch(ctx, k); err != nil || wait > 0 {
		return value, wait, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.value = began, value
	if snapshot, ok := any(value).(*Snapshot); ok {
		k.at = snapshot.At
	}
	return value, 0, nil
}

func young[T any](k *kept, now time.Time, within time.Duration) (value T, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used = now
	value, ok = k.value.(T)
	return value, ok && now.Sub(k.at) < within
}
