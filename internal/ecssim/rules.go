package ecssim

import (
	"fmt"
	"strconv"
)

// Rule is a rule of a group as DescribeSecurityGroupAttribute shows it. Ports and sources
// are texts, as ECS has them.
type Rule struct {
	ID string `json:"id,omitempty"`
	// Direction is ingress if empty, Policy Accept, Priority 1, Protocol ALL, Ports -1/-1.
	Direction    string `json:"direction,omitempty"`
	Policy       string `json:"policy,omitempty"`
	Priority     int    `json:"priority,omitempty"`
	Protocol     string `json:"protocol,omitempty"`
	Ports        string `json:"ports,omitempty"`
	CIDR         string `json:"cidr,omitempty"`
	IPv6CIDR     string `json:"ipv6Cidr,omitempty"`
	GroupID      string `json:"groupId,omitempty"`
	PrefixListID string `json:"prefixListId,omitempty"`
	// To is the target of an ingress rule that covers only some addresses.
	To string `json:"to,omitempty"`
}

// describe shows a rule of a group, the nth of those that were given.
func (r Rule) describe(group string, n int) object {
	or := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	peer, target := "Source", "Dest"
	if r.Direction == "egress" {
		peer, target = target, peer
	}
	return object{
		{"SecurityGroupRuleId", or(r.ID, fmt.Sprintf("sgr-%s-own-%d", group, n))},
		{"Direction", or(r.Direction, "ingress")},
		{"IpProtocol", or(r.Protocol, "ALL")},
		{"PortRange", or(r.Ports, "-1/-1")},
		{peer + "CidrIp", r.CIDR},
		{"Ipv6" + peer + "CidrIp", r.IPv6CIDR},
		{peer + "GroupId", r.GroupID},
		{peer + "PrefixListId", r.PrefixListID},
		{target + "CidrIp", r.To},
		{"Policy", or(r.Policy, Accept)},
		{"Priority", strconv.Itoa(max(1, r.Priority))},
		{"NicType", "intranet"},
		{"Description", ""},
	}
}
