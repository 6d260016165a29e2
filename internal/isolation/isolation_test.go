package isolation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

func member(id, address string, groups ...string) ecs.Interface {
	return ecs.Interface{ID: "eni-" + id, InstanceID: "i-" + id, GroupIDs: groups, Prefixes: []netip.Prefix{netip.MustParsePrefix(address)}}
}

func rule(id, from string) ecs.Rule {
	return ecs.Rule{ID: id, Accept: true, Priority: 1, Protocol: "TCP", Ports: "22/22", From: []netip.Prefix{netip.MustParsePrefix(from)}}
}

func shared(group string) Path { return Path{GroupID: group} }

func by(group, id string) Path {
	return Path{GroupID: group, RuleID: id, Protocol: "TCP", Ports: "22/22"}
}

// The first two are the worked examples of ECS's documentation.
func TestVerdicts(t *testing.T) {
	pair := []ecs.Interface{member("a", "10.0.0.1/32", "g1"), member("b", "10.0.0.2/32", "g1")}
	of := func(rules ...ecs.Rule) map[string]Group { return map[string]Group{"g1": {Rules: rules}} }
	list := map[string][]netip.Prefix{"pl": {netip.MustParsePrefix("10.0.0.2/32")}}
	fromGroup := func(id, group string) ecs.Rule {
		return ecs.Rule{ID: id, Accept: true, Protocol: "TCP", Ports: "22/22", FromGroup: group}
	}
	for name, c := range map[string]struct {
		facts Facts
		want  Verdict
	}{
		"example A: two share another group with Accept": {Facts{ID: "g1", Groups: map[string]Group{"g1": {}, "g2": {Accept: true}},
			Interfaces: []ecs.Interface{member("1", "10.0.0.1/32", "g1", "g2"), member("2", "10.0.0.2/32", "g1", "g2")}}, Verdict{Members: 2, Paths: []Path{shared("g2")}}},
		"example A: the third group has one of them": {Facts{ID: "g1", Groups: map[string]Group{"g1": {}, "g3": {Accept: true}},
			Interfaces: []ecs.Interface{member("1", "10.0.0.1/32", "g1"), member("2", "10.0.0.2/32", "g1", "g3")}}, Verdict{Isolated: true, Members: 2}},
		"example B: the other group connects one of them with a stranger": {Facts{ID: "g1", Groups: map[string]Group{"g1": {}, "g2": {Accept: true}},
			Interfaces: []ecs.Interface{member("1", "10.0.0.1/32", "g1"), member("2", "10.0.0.2/32", "g1", "g2")}}, Verdict{Isolated: true, Members: 2}},

		"no member":   {Facts{ID: "g1"}, Verdict{Isolated: true}},
		"one member":  {Facts{ID: "g1", Interfaces: pair[:1]}, Verdict{Isolated: true, Members: 1}},
		"two members": {Facts{ID: "g1", Interfaces: pair, Groups: of()}, Verdict{Isolated: true, Members: 2}},
		"two interfaces of one instance": {Facts{ID: "g1", Groups: of(rule("r", "0.0.0.0/0")), Interfaces: []ecs.Interface{
			{ID: "eni-1", InstanceID: "i-1", GroupIDs: []string{"g1"}}, {ID: "eni-2", InstanceID: "i-1", GroupIDs: []string{"g1"}}}}, Verdict{Isolated: true, Members: 2}},
		"a rule for everybody":          {Facts{ID: "g1", Interfaces: pair, Groups: of(rule("r", "0.0.0.0/0"))}, Verdict{Members: 2, Paths: []Path{by("g1", "r")}}},
		"a rule for one member":         {Facts{ID: "g1", Interfaces: pair, Groups: of(rule("r", "10.0.0.2/32"))}, Verdict{Members: 2, Paths: []Path{by("g1", "r")}}},
		"a rule for others":             {Facts{ID: "g1", Interfaces: pair, Groups: of(rule("r", "10.1.0.0/16"))}, Verdict{Isolated: true, Members: 2}},
		"a rule that drops":             {Facts{ID: "g1", Interfaces: pair, Groups: of(ecs.Rule{ID: "r", From: rule("", "0.0.0.0/0").From})}, Verdict{Isolated: true, Members: 2}},
		"a rule for a prefix list":      {Facts{ID: "g1", Interfaces: pair, Lists: list, Groups: of(ecs.Rule{ID: "r", Accept: true, Protocol: "TCP", Ports: "22/22", FromList: "pl"})}, Verdict{Members: 2, Paths: []Path{by("g1", "r")}}},
		"a prefix list that is unread":  {Facts{ID: "g1", Interfaces: pair, Groups: of(ecs.Rule{ID: "r", Accept: true, FromList: "pl"})}, Verdict{Members: 2, Unread: []string{"the prefix list pl"}}},
		"a rule for the group itself":   {Facts{ID: "g1", Interfaces: pair, Groups: of(fromGroup("r", "g1"))}, Verdict{Members: 2, Paths: []Path{by("g1", "r")}}},
		"a rule for a group of none":    {Facts{ID: "g1", Interfaces: pair, Groups: of(fromGroup("r", "g9"))}, Verdict{Isolated: true, Members: 2}},
		"a source that is not known":    {Facts{ID: "g1", Interfaces: pair, Groups: of(ecs.Rule{ID: "r", Accept: true, Unknown: true})}, Verdict{Members: 2, Unread: []string{"the source or target of the rule r of g1"}}},
		"more rules than were read":     {Facts{ID: "g1", Interfaces: pair, Groups: map[string]Group{"g1": {More: true}}}, Verdict{Members: 2, Unread: []string{"the rules of g1"}}},
		"another group that is unread":  {Facts{ID: "g1", Groups: of(), Interfaces: []ecs.Interface{pair[0], member("b", "10.0.0.2/32", "g1", "g2")}}, Verdict{Members: 2, Unread: []string{"the rules of g2"}}},
		"a rule with a target, of none": {Facts{ID: "g1", Interfaces: pair, Groups: of(ecs.Rule{ID: "r", Accept: true, From: rule("", "0.0.0.0/0").From, To: rule("", "10.9.0.0/16").From})}, Verdict{Isolated: true, Members: 2}},
		"a rule of the other group of one member, for the other": {Facts{ID: "g1", Groups: map[string]Group{"g1": {}, "g2": {Rules: []ecs.Rule{rule("r", "10.0.0.1/32")}}},
			Interfaces: []ecs.Interface{pair[0], member("b", "10.0.0.2/32", "g1", "g2")}}, Verdict{Members: 2, Paths: []Path{by("g2", "r")}}},
		"delegated prefixes of pods":                 {Facts{ID: "g1", Groups: of(rule("r", "10.1.0.16/32")), Interfaces: []ecs.Interface{member("a", "10.1.0.16/28", "g1"), pair[1]}}, Verdict{Members: 2, Paths: []Path{by("g1", "r")}}},
		"an interface whose addresses are not known": {Facts{ID: "g1", Groups: of(rule("r", "10.0.0.9/32")), Interfaces: []ecs.Interface{pair[0], {ID: "eni-b", GroupIDs: []string{"g1"}}}}, Verdict{Members: 2, Unread: []string{"the addresses of eni-b"}}},
		"an interface with an address of another form": {Facts{ID: "g1", Groups: of(rule("r", "10.0.0.9/32")), Interfaces: []ecs.Interface{pair[0], {ID: "eni-b", GroupIDs: []string{"g1"}, Prefixes: pair[1].Prefixes, Unknown: true}}},
			Verdict{Members: 2, Unread: []string{"the addresses of eni-b"}}},
		"IPv6": {Facts{ID: "g1", Groups: of(rule("r", "::/0")), Interfaces: []ecs.Interface{member("a", "2001:db8::1/128", "g1"), pair[1]}}, Verdict{Members: 2, Paths: []Path{by("g1", "r")}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := gocmp.Diff(c.want, Judge(c.facts)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestTheEvidenceIsShortAndAlwaysTheSame(t *testing.T) {
	f := Facts{ID: "g1", Groups: map[string]Group{"g1": {}, "g2": {Accept: true}}, Interfaces: []ecs.Interface{member("a", "10.0.0.1/32", "g2", "g1"), member("b", "10.0.0.2/32", "g1", "g2")}}
	for n := range 5 {
		g := f.Groups["g1"]
		g.Rules = append(g.Rules, rule(fmt.Sprint("r", 4-n), "10.0.0.0/8"))
		f.Groups["g1"] = g
	}
	g := f.Groups["g1"]
	g.Rules = append(g.Rules, ecs.Rule{ID: "drops"})
	f.Groups["g1"] = g
	want := "members share g2, whose inner access policy is Accept; rule r0 of g1 accepts TCP, ports 22/22, from members (a rule that drops may still block it); " +
		"rule r1 of g1 accepts TCP, ports 22/22, from members (a rule that drops may still block it); and others"
	for range 20 {
		slices.Reverse(f.Interfaces)
		slices.Reverse(f.Groups["g1"].Rules)
		if got := Judge(f).Evidence(); got != want {
			t.Fatalf("%s", got)
		}
	}
}

func TestThreePathsAreAllThatThereAre(t *testing.T) {
	v := Verdict{Paths: []Path{shared("g1"), shared("g2"), shared("g3")}}
	if text := v.Evidence(); !strings.Contains(text, "g3") || strings.Contains(text, "others") {
		t.Errorf("%s", text)
	}
}

// packet is what one member may try to send another.
type packet struct {
	protocol string
	port     int
}

var packets = []packet{{"TCP", 22}, {"TCP", 80}, {"UDP", 53}}

// reaches is a model of ECS: whether a packet from an address of a arrives at one of b.
func reaches(f *Facts, a, b ecs.Interface, from, to netip.Addr, p packet) bool {
	// Isolation has the lowest priority: a group with Accept that both are in connects them.
	for _, g := range a.GroupIDs {
		if g != f.ID && f.Groups[g].Accept && slices.Contains(b.GroupIDs, g) {
			return true
		}
	}
	// The rules of all groups are put together; the first that matches decides, smaller
	// priorities first, and of equal ones those that drop.
	var rules []ecs.Rule
	for _, g := range b.GroupIDs {
		rules = append(rules, f.Groups[g].Rules...)
	}
	slices.SortStableFunc(rules, func(x, y ecs.Rule) int {
		drops := func(r ecs.Rule) int { return map[bool]int{false: 0, true: 1}[r.Accept] }
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(drops(x), drops(y)))
	})
	holds := func(all []netip.Prefix, x netip.Addr) bool {
		return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(x) })
	}
	for _, r := range rules {
		source := holds(r.From, from) || r.FromGroup != "" && slices.Contains(a.GroupIDs, r.FromGroup) || r.FromList != "" && holds(f.Lists[r.FromList], from)
		target := len(r.To) == 0 || holds(r.To, to)
		if source && target && (r.Protocol == "ALL" || r.Protocol == p.protocol) && (r.Ports == "-1/-1" || r.Ports == fmt.Sprintf("%d/%d", p.port, p.port)) {
			return r.Accept
		}
	}
	return false
}

// anyPath tries every packet between any two members of two owners.
func anyPath(f *Facts) bool {
	for _, a := range f.Interfaces {
		for _, b := range f.Interfaces {
			if owner(a) == owner(b) {
				continue
			}
			for _, from := range addresses(a) {
				for _, to := range addresses(b) {
					for _, p := range packets {
						if reaches(f, a, b, from, to, p) {
							return true
						}
					}
				}
			}
		}
	}
	return false
}

// addresses are all of an interface's.
func addresses(i ecs.Interface) (all []netip.Addr) {
	for _, p := range i.Prefixes {
		for x := p.Addr(); p.Contains(x); x = x.Next() {
			all = append(all, x)
		}
	}
	return all
}

// world makes up groups, rules and interfaces.
func world(r *rand.Rand) *Facts {
	groups := []string{"g0", "g1", "g2", "g3"}
	prefix := func(shortest int) netip.Prefix {
		bits := shortest + r.IntN(33-shortest)
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(16))}), bits).Masked()
	}
	f := &Facts{ID: "g0", Groups: map[string]Group{}, Lists: map[string][]netip.Prefix{"pl0": {prefix(29)}, "pl1": {prefix(30), prefix(31)}}}
	for n, id := range groups {
		g := Group{Accept: n > 0 && r.IntN(4) == 0}
		for k := range r.IntN(3) {
			one := ecs.Rule{ID: fmt.Sprint(id, "-", k), Accept: r.IntN(3) > 0, Priority: 1 + r.IntN(3), Protocol: []string{"ALL", "TCP", "UDP"}[r.IntN(3)], Ports: []string{"-1/-1", "22/22", "53/53"}[r.IntN(3)]}
			switch r.IntN(4) {
			case 0:
				one.FromGroup = groups[r.IntN(len(groups))]
			case 1:
				one.FromList = fmt.Sprint("pl", r.IntN(2))
			default:
				one.From = []netip.Prefix{prefix(28)}
			}
			if r.IntN(4) == 0 {
				one.To = []netip.Prefix{prefix(28)}
			}
			g.Rules = append(g.Rules, one)
		}
		f.Groups[id] = g
	}
	for n := range 1 + r.IntN(4) {
		i := ecs.Interface{ID: fmt.Sprint("eni-", n), InstanceID: fmt.Sprint("i-", r.IntN(4)), GroupIDs: []string{"g0"}}
		if r.IntN(5) == 0 {
			i.InstanceID = ""
		}
		for _, id := range groups[1:] {
			if r.IntN(4) == 0 {
				i.GroupIDs = append(i.GroupIDs, id)
			}
		}
		for range 1 + r.IntN(2) {
			i.Prefixes = append(i.Prefixes, prefix(31))
		}
		f.Interfaces = append(f.Interfaces, i)
	}
	return f
}

// TestIsolatedIsNeverWrong compares verdicts with the model of ECS over made-up worlds, with
// some of what there is not read.
func TestIsolatedIsNeverWrong(t *testing.T) {
	r := rand.New(rand.NewPCG(20261127, 1))
	isolated, connected, strict, unknown := 0, 0, 0, 0
	for n := range 60_000 {
		f := world(r)
		path := anyPath(f)
		known := *f
		if r.IntN(5) == 0 { // something is not read
			known.Groups = map[string]Group{}
			for id, g := range f.Groups {
				if id != "g1" {
					known.Groups[id] = g
				}
			}
			delete(known.Lists, "pl0")
		}
		v := Judge(known)
		switch {
		case v.Isolated && path:
			t.Fatalf("world %d: it says that members are isolated, and they are not: %+v", n, f)
		case v.Isolated != (len(v.Paths)+len(v.Unread) == 0):
			t.Fatalf("world %d: %+v", n, v)
		case v.Isolated:
			isolated++
		case len(v.Paths) == 0:
			unknown++
		case path:
			connected++
		case !hasDrops(f) && !hasOddPorts(f):
			t.Fatalf("world %d: it says that members are connected where no rule drops, and they are not: %v in %+v", n, v.Paths, f)
		default:
			strict++
		}
	}
	t.Logf("%d isolated, %d connected, %d said to be connected that a rule isolates, %d unknown", isolated, connected, strict, unknown)
	if min(isolated, connected, strict, unknown) < 100 {
		t.Errorf("too few of a kind: %d isolated, %d connected, %d strict, %d unknown", isolated, connected, strict, unknown)
	}
}

// hasDrops tells whether any rule drops.
func hasDrops(f *Facts) bool {
	for _, g := range f.Groups {
		if slices.ContainsFunc(g.Rules, func(r ecs.Rule) bool { return !r.Accept }) {
			return true
		}
	}
	return false
}

// hasOddPorts tells whether a rule is for packets that the model does not send.
func hasOddPorts(f *Facts) bool {
	for _, g := range f.Groups {
		if slices.ContainsFunc(g.Rules, func(r ecs.Rule) bool {
			return strings.HasPrefix(r.Ports, "22") && r.Protocol == "UDP" || strings.HasPrefix(r.Ports, "53") && r.Protocol == "TCP"
		}) {
			return true
		}
	}
	return false
}
