// Package isolation says whether the members of a security group with the inner access
// policy Drop are isolated from one another in fact: another group that two of them share,
// or a rule of any of their groups, may connect them all the same. It is pure.
//
// It errs on one side. Rules that drop are not weighed against those that accept, nor are
// outgoing rules, so that members may be isolated that it says are connected; those that
// it says are isolated have no path within the VPC.
package isolation

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// Group is a group that members are in.
type Group struct {
	// Accept says that its inner access policy connects its members.
	Accept bool
	Rules  []ecs.Rule
	// More says that it has rules beside these.
	More bool
}

// Facts are what a verdict follows from.
type Facts struct {
	// ID is the group in question, whose policy is Drop.
	ID string
	// Interfaces are those of its members, and those alone.
	Interfaces []ecs.Interface
	// Groups are all that the members are in, by id. One that is missing was not read.
	Groups map[string]Group
	// Lists are the prefix lists that rules of those groups name. One that is missing was
	// not read.
	Lists map[string][]netip.Prefix
}

// Path is a way from member to member.
type Path struct {
	// GroupID is a group with Accept that they share, or the group of the rule.
	GroupID string
	// RuleID, Protocol and Ports are those of the rule; empty for a shared group.
	RuleID, Protocol, Ports string
	// Drops says that the group has rules that drop, which may block it.
	Drops bool
}

// String tells it to a user.
func (p Path) String() string {
	if p.RuleID == "" && p.Protocol == "" {
		return "members share " + p.GroupID + ", whose inner access policy is Accept"
	}
	ports := "ports " + p.Ports
	if p.Ports == "-1/-1" {
		ports = "all ports"
	}
	text := fmt.Sprintf("rule %s of %s accepts %s, %s, from members", p.RuleID, p.GroupID, p.Protocol, ports)
	if p.Drops {
		text += " (a rule that drops may still block it)"
	}
	return text
}

// Verdict says what is known.
type Verdict struct {
	// Isolated is true if there is no path, and everything was read.
	Isolated bool
	// Members is how many interfaces there are.
	Members int
	// Paths are those that were found, in a fixed order.
	Paths []Path
	// Unread names what is missing; with a path it does not matter.
	Unread []string
}

// Judge gives the verdict.
func Judge(f Facts) Verdict {
	v := Verdict{Members: len(f.Interfaces)}
	if isOneOwner(f.Interfaces) {
		v.Isolated = true
		return v
	}
	in := map[string][]ecs.Interface{}
	for _, i := range f.Interfaces {
		if i.Unknown || len(i.Prefixes) == 0 {
			v.Unread = append(v.Unread, "the addresses of "+i.ID)
		}
		for _, id := range i.GroupIDs {
			in[id] = append(in[id], i)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(in)) {
		group, known := f.Groups[id]
		if !known || group.More {
			v.Unread = append(v.Unread, "the rules of "+id)
		}
		if id != f.ID && group.Accept && !isOneOwner(in[id]) {
			v.Paths = append(v.Paths, Path{GroupID: id})
		}
		f.judgeRules(&v, id, in[id])
	}
	slices.SortStableFunc(v.Paths, func(a, b Path) int {
		return cmp.Or(cmp.Compare(min(len(a.RuleID), 1), min(len(b.RuleID), 1)), cmp.Compare(a.GroupID, b.GroupID), cmp.Compare(a.RuleID, b.RuleID))
	})
	slices.Sort(v.Unread)
	v.Unread = slices.Compact(v.Unread)
	v.Isolated = len(v.Paths)+len(v.Unread) == 0
	return v
}

// judgeRules looks for rules of a group that let a member reach one of those that are in it.
func (f *Facts) judgeRules(v *Verdict, id string, targets []ecs.Interface) {
	group := f.Groups[id]
	drops := slices.ContainsFunc(group.Rules, func(r ecs.Rule) bool { return !r.Accept })
	for _, r := range group.Rules {
		if !r.Accept {
			continue
		}
		from := r.From
		if r.FromList != "" {
			list, known := f.Lists[r.FromList]
			if !known {
				v.Unread = append(v.Unread, "the prefix list "+r.FromList)
			}
			from = slices.Concat(from, list)
		}
		if r.Unknown {
			v.Unread = append(v.Unread, "the source or target of the rule "+r.ID+" of "+id)
		}
		sources := those(f.Interfaces, func(i ecs.Interface) bool {
			return overlaps(from, i.Prefixes) || r.FromGroup != "" && slices.Contains(i.GroupIDs, r.FromGroup)
		})
		reached := those(targets, func(i ecs.Interface) bool { return len(r.To) == 0 || overlaps(r.To, i.Prefixes) })
		if connects(sources, reached) {
			v.Paths = append(v.Paths, Path{GroupID: id, RuleID: r.ID, Protocol: cmp.Or(r.Protocol, "ALL"), Ports: cmp.Or(r.Ports, "-1/-1"), Drops: drops})
		}
	}
}

// those are the interfaces that something holds for.
func those(all []ecs.Interface, holds func(ecs.Interface) bool) []ecs.Interface {
	return slices.DeleteFunc(slices.Clone(all), func(i ecs.Interface) bool { return !holds(i) })
}

// connects tells whether one of the sources and one of the targets belong to two owners.
func connects(sources, targets []ecs.Interface) bool {
	return len(sources) > 0 && len(targets) > 0 && !isOneOwner(slices.Concat(sources, targets))
}

// isOneOwner tells whether all interfaces are one, or of one instance: they are no pair.
func isOneOwner(all []ecs.Interface) bool {
	return !slices.ContainsFunc(all, func(i ecs.Interface) bool { return owner(i) != owner(all[0]) })
}

func owner(i ecs.Interface) string { return cmp.Or(i.InstanceID, i.ID) }

func overlaps(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}

// mostTold is how many paths a message names.
const mostTold = 3

// Evidence tells the paths to a user, three at most.
func (v Verdict) Evidence() string {
	var told []string
	for _, p := range v.Paths[:min(mostTold, len(v.Paths))] {
		told = append(told, p.String())
	}
	text := strings.Join(told, "; ")
	if len(v.Paths) > mostTold {
		text += "; and others"
	}
	return text
}
