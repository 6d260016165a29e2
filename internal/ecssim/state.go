package ecssim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// defaultRegions are well-known ones; ECS has more, and Options.Regions and the
// groups' own regions add to them.
var defaultRegions = []string{
	"cn-hangzhou", "cn-shanghai", "cn-beijing", "cn-shenzhen", "cn-qingdao", "cn-zhangjiakou", "cn-huhehaote",
	"cn-wulanchabu", "cn-chengdu", "cn-guangzhou", "cn-heyuan", "cn-hongkong", "ap-southeast-1", "ap-southeast-3",
	"ap-southeast-5", "ap-northeast-1", "ap-northeast-2", "eu-central-1", "eu-west-1", "us-east-1", "us-west-1",
	"me-east-1",
}

type groupKey struct{ region, id string }

// groups holds the security groups.
type groups struct {
	byKey map[groupKey]*groupState
	// sorted lists a region's ids in order; a missing entry is rebuilt.
	sorted map[string][]string
	lags   []ReadLag
}

// groupState is a group with its past.
type groupState struct {
	Group
	effects []Effect
	// stale is what reads still show, until a moment and for some reads.
	stale      Policy
	staleUntil time.Time
	staleReads int
}

func newGroups() groups {
	return groups{byKey: map[groupKey]*groupState{}, sorted: map[string][]string{}}
}

// PutGroup creates a group or replaces the one with its region and ID. The
// history of a replaced group is forgotten.
func (s *Server) PutGroup(g Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.Policy = canonicalPolicy(g.Policy)
	if g.Policy == "" {
		g.Policy = Accept
	}
	if g.Account == "" {
		g.Account = DefaultAccount
	}
	g.Tags, g.OwnRules = maps.Clone(g.Tags), slices.Clone(g.OwnRules)
	s.groups.put(g)
	s.regions[g.Region] = true
}

func (g *groups) put(group Group) {
	key := groupKey{group.Region, group.ID}
	if _, replaced := g.byKey[key]; !replaced {
		delete(g.sorted, group.Region)
	}
	g.byKey[key] = &groupState{Group: group}
}

func (g *groups) remove(region, id string) {
	delete(g.byKey, groupKey{region, id})
	delete(g.sorted, region)
}

// DeleteGroup removes a group: ECS answers that it is not found.
func (s *Server) DeleteGroup(region, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups.remove(region, id)
}

// Group returns a group as it really is, whatever lagging reads show.
func (s *Server) Group(region, id string) (Group, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups.byKey[groupKey{region, id}]
	if !ok {
		return Group{}, false
	}
	return g.copy(), true
}

// Groups returns all groups, by region and ID.
func (s *Server) Groups() []Group {
	s.mu.Lock()
	all := make([]Group, 0, len(s.groups.byKey))
	for _, g := range s.groups.byKey {
		all = append(all, g.copy())
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Group) int {
		if order := strings.Compare(a.Region, b.Region); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

func (g *groupState) copy() Group {
	group := g.Group
	group.Tags, group.OwnRules = maps.Clone(g.Tags), slices.Clone(g.OwnRules)
	return group
}

// SetPolicy changes a group's policy behind everyone's back: no call, no quota,
// and reads show it at once. A group that does not exist stays so.
func (s *Server) SetPolicy(region, id, policy string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups.byKey[groupKey{region, id}]
	if to := canonicalPolicy(policy); ok && to != "" {
		g.stale = ""
		g.change(to, Effect{Time: s.now()})
	}
}

// SetReadLag makes reads lag behind the changes made from now on. It replaces an
// earlier lag for the same region and group; a zero lag ends it.
func (s *Server) SetReadLag(lag ReadLag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups.lags = slices.DeleteFunc(s.groups.lags, func(l ReadLag) bool {
		return l.Region == lag.Region && l.GroupID == lag.GroupID
	})
	if lag.For > 0 || lag.Reads > 0 {
		s.groups.lags = append(s.groups.lags, lag)
	}
}

// Effects returns the changes of a group's policy, oldest first. Setting the
// policy that is already there changes nothing.
func (s *Server) Effects(region, id string) []Effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups.byKey[groupKey{region, id}]
	if !ok {
		return nil
	}
	return slices.Clone(g.effects)
}

// modify is a change by API, which reads may show late. It tells whether
// anything has changed.
func (g *groups) modify(state *groupState, to Policy, e Effect) bool {
	from := state.Policy
	e.ByAPI = true
	if !state.change(to, e) {
		return false
	}
	state.stale = ""
	for _, lag := range g.lags {
		if (lag.Region == "" || lag.Region == state.Region) && (lag.GroupID == "" || lag.GroupID == state.ID) {
			state.stale, state.staleUntil, state.staleReads = from, e.Time.Add(lag.For), lag.Reads
		}
	}
	return true
}

func (g *groupState) change(to Policy, e Effect) bool {
	if g.Policy == to {
		return false
	}
	e.From, e.To = g.Policy, to
	g.Policy = to
	g.effects = append(g.effects, e)
	return true
}

// visible is the policy that a read shows; it counts the read.
func (g *groupState) visible(now time.Time) Policy {
	if g.stale == "" {
		return g.Policy
	}
	if g.staleReads > 0 {
		g.staleReads--
		return g.stale
	}
	if now.Before(g.staleUntil) {
		return g.stale
	}
	g.stale = ""
	return g.Policy
}

// inRegion returns the ids of a region's groups in order.
func (g *groups) inRegion(region string) []string {
	ids, ok := g.sorted[region]
	if !ok {
		for key := range g.byKey {
			if key.region == region {
				ids = append(ids, key.id)
			}
		}
		slices.Sort(ids)
		g.sorted[region] = ids
	}
	return ids
}

// canonicalPolicy returns a policy in ECS's letter case, "" if it is none.
func canonicalPolicy(policy string) Policy {
	switch {
	case strings.EqualFold(policy, Accept):
		return Accept
	case strings.EqualFold(policy, Drop):
		return Drop
	}
	return ""
}
