package ecs

import (
	"net/netip"
	"strconv"
	"strings"
)

// Observation is what a read of a group shows.
type Observation struct {
	// Policy is the inner access policy: Accept or Drop.
	Policy string
	// Name and Description are as somebody has chosen them.
	Name, Description string
	// VpcID is empty for a group of the classic network.
	VpcID string
	// Rules are the ingress rules, if the group asked for them.
	Rules []Rule
	// MoreRules says that there are, or may be, others than Rules holds.
	MoreRules bool
}

// Rule is an ingress rule of a group.
type Rule struct {
	ID string
	// Accept is false for a rule that drops.
	Accept bool
	// Priority is 1 for what comes first.
	Priority int
	// Protocol and Ports are as ECS has them: TCP and 22/22, ALL and -1/-1.
	Protocol, Ports string
	// From are the sources by address, and To the targets, if the rule covers only some.
	From, To []netip.Prefix
	// FromGroup and FromList are other kinds of sources.
	FromGroup, FromList string
	// Unknown says that the source or the target is of a kind, or in a form, that is not known.
	Unknown bool
}

// wireRule is a rule in an answer. What the documentation shows as numbers comes as text
// as well.
type wireRule struct {
	SecurityGroupRuleID string `json:"SecurityGroupRuleId"`
	Direction, Policy   string
	Priority            flexible
	IPProtocol          string `json:"IpProtocol"`
	PortRange           string
	PortRangeListID     string `json:"PortRangeListId"`
	SourceCidrIP        string `json:"SourceCidrIp"`
	Ipv6SourceCidrIP    string `json:"Ipv6SourceCidrIp"`
	SourceGroupID       string `json:"SourceGroupId"`
	SourcePrefixListID  string `json:"SourcePrefixListId"`
	DestCidrIP          string `json:"DestCidrIp"`
	Ipv6DestCidrIP      string `json:"Ipv6DestCidrIp"`
}

// flexible is a text or a number.
type flexible string

// UnmarshalJSON implements json.Unmarshaler.
func (f *flexible) UnmarshalJSON(raw []byte) error {
	*f = flexible(strings.Trim(string(raw), `"`))
	return nil
}

func (w *wireRule) read() Rule {
	r := Rule{ID: w.SecurityGroupRuleID, Accept: !strings.EqualFold(w.Policy, Drop), Protocol: w.IPProtocol, Ports: w.PortRange,
		FromGroup: w.SourceGroupID, FromList: w.SourcePrefixListID}
	r.Priority, _ = strconv.Atoi(string(w.Priority))
	if r.Ports == "" && w.PortRangeListID != "" {
		r.Ports = w.PortRangeListID
	}
	add := func(to *[]netip.Prefix, text string) {
		if text == "" {
			return
		}
		prefix, ok := parsePrefix(text)
		if !ok {
			r.Unknown = true
			return
		}
		*to = append(*to, prefix)
	}
	add(&r.From, w.SourceCidrIP)
	add(&r.From, w.Ipv6SourceCidrIP)
	add(&r.To, w.DestCidrIP)
	add(&r.To, w.Ipv6DestCidrIP)
	if len(r.From) == 0 && r.FromGroup == "" && r.FromList == "" {
		r.Unknown = true
	}
	return r
}

// readRules takes the ingress rules out of an answer.
func readRules(all []wireRule) []Rule {
	var rules []Rule
	for i := range all {
		if all[i].Direction == "" || strings.EqualFold(all[i].Direction, "ingress") {
			rules = append(rules, all[i].read())
		}
	}
	return rules
}
