package ecs

import (
	"context"
	"encoding/json"
	"net/netip"
	"strconv"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// Actions that tell what security groups protect.
const (
	ActionInterfaces = "DescribeNetworkInterfaces"
	ActionInstances  = "DescribeInstances"
	ActionPrefixList = "DescribePrefixListAttributes"
)

// ClusterTag is what ACK tags with the id of a cluster: its instances, interfaces and newer
// groups.
const ClusterTag = "ack.aliyun.com"

// MaxInstances is how many instances ECS lists in one call, and takes ids of.
const MaxInstances = 100

const (
	interfacePage = 500 // the most that ECS lists in one call
	// maxMembers bounds what is read of a page of interfaces or instances: 500 of them with
	// 20 addresses and 20 tags each.
	maxMembers = 16 << 20
)

// Interface is an elastic network interface: what a security group protects.
type Interface struct {
	ID string
	// Type is Primary, Secondary, Trunk, Member, or whatever else ECS has.
	Type string
	// Status is InUse, Available, Attaching, Detaching or Deleting.
	Status string
	Name   string
	// InstanceID is empty where another cloud product owns the interface.
	InstanceID string
	VpcID      string
	GroupIDs   []string
	// Prefixes are its private addresses and delegated prefixes.
	Prefixes []netip.Prefix
	// Unknown says that there are others, in a form that is not known.
	Unknown bool
	// ACKCluster is the ACK cluster that it belongs to, as its tag says.
	ACKCluster string
}

// Instance is an ECS instance.
type Instance struct {
	ID    string
	VpcID string
	// GroupIDs are those of its primary interface.
	GroupIDs []string
	// ACKCluster is the ACK cluster that it belongs to, as its tag says.
	ACKCluster string
}

// Members chooses interfaces or instances. What is empty chooses all.
type Members struct {
	VpcID           string
	SecurityGroupID string
	// InstanceIDs are 100 at most, of instances only.
	InstanceIDs []string
}

// Page is a part of a listing. Next is the token of the part after it, empty for the last.
type Page[T any] struct {
	Items []T
	Next  string
}

// Interfaces reads a page of interfaces; the token of the first one is empty. Asked by
// group, ECS documents secondary interfaces only. A wait other than zero says that nothing
// was sent.
func (c *Client) Interfaces(ctx context.Context, region string, m Members, token string, p ratelimit.Priority) (page Page[Interface], wait time.Duration, err error) {
	var content struct {
		NextToken            string
		NetworkInterfaceSets *struct{ NetworkInterfaceSet []wireInterface }
	}
	wait, err = c.members(ctx, ActionInterfaces, region, m, token, interfacePage, p, &content)
	if err != nil || wait > 0 {
		return page, wait, err
	}
	if content.NetworkInterfaceSets == nil {
		return page, 0, unreadable(ActionInterfaces)
	}
	for _, i := range content.NetworkInterfaceSets.NetworkInterfaceSet {
		page.Items = append(page.Items, i.read())
	}
	page.Next = content.NextToken
	return page, 0, nil
}

// Instances reads a page of instances, likewise. Asked by group, ECS finds those whose
// primary interface is in it.
func (c *Client) Instances(ctx context.Context, region string, m Members, token string, p ratelimit.Priority) (page Page[Instance], wait time.Duration, err error) {
	var content struct {
		NextToken string
		Instances *struct{ Instance []wireInstance }
	}
	wait, err = c.members(ctx, ActionInstances, region, m, token, MaxInstances, p, &content)
	if err != nil || wait > 0 {
		return page, wait, err
	}
	if content.Instances == nil {
		return page, 0, unreadable(ActionInstances)
	}
	for _, i := range content.Instances.Instance {
		page.Items = append(page.Items, Instance{ID: i.InstanceID, VpcID: i.VpcAttributes.VpcID, GroupIDs: i.SecurityGroupIDs.SecurityGroupID, ACKCluster: i.Tags.read()[ClusterTag]})
	}
	page.Next = content.NextToken
	return page, 0, nil
}

// PrefixList reads the CIDR blocks of a prefix list that rules name.
func (c *Client) PrefixList(ctx context.Context, region, id string, p ratelimit.Priority) (entries []netip.Prefix, wait time.Duration, err error) {
	var content struct {
		Entries *struct{ Entry []struct{ Cidr string } }
	}
	wait, err = c.describe(ctx, ActionPrefixList, region, map[string]string{"RegionId": region, "PrefixListId": id}, p, &content)
	if err != nil || wait > 0 {
		return nil, wait, err
	}
	if content.Entries == nil {
		return nil, 0, unreadable(ActionPrefixList)
	}
	for _, e := range content.Entries.Entry {
		prefix, ok := parsePrefix(e.Cidr)
		if !ok {
			return nil, 0, unreadable(ActionPrefixList)
		}
		entries = append(entries, prefix)
	}
	return entries, 0, nil
}

func (c *Client) members(ctx context.Context, action, region string, m Members, token string, size int, p ratelimit.Priority, into any) (time.Duration, error) {
	query := map[string]string{"RegionId": region, "MaxResults": strconv.Itoa(size)}
	for name, value := range map[string]string{"VpcId": m.VpcID, "SecurityGroupId": m.SecurityGroupID, "NextToken": token} {
		if value != "" {
			query[name] = value
		}
	}
	if len(m.InstanceIDs) > 0 {
		ids, err := json.Marshal(m.InstanceIDs)
		if err != nil {
			return 0, err
		}
		query["InstanceIds"] = string(ids)
	}
	return c.describe(ctx, action, region, query, p, into)
}

// describe makes a call and reads its answer.
func (c *Client) describe(ctx context.Context, action, region string, query map[string]string, p ratelimit.Priority, into any) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout+MaxWait)
	defer cancel()
	answer, wait, err := c.callAs(ctx, action, Group{RegionID: region}, p, query)
	if err != nil || wait > 0 {
		return wait, err
	}
	if json.Unmarshal(answer.body, into) != nil {
		return 0, answer.invalid(action, "the answer is not that of the action")
	}
	return 0, nil
}

func unreadable(action string) *Error {
	return &Error{Action: action, HTTPStatus: 200, Code: CodeInvalidResponse, Class: Unavailable, Message: "the answer does not hold what was asked for"}
}

type wireTags struct {
	Tag []struct{ TagKey, TagValue string }
}

func (t wireTags) read() map[string]string {
	if len(t.Tag) == 0 {
		return nil
	}
	tags := make(map[string]string, len(t.Tag))
	for _, tag := range t.Tag {
		tags[tag.TagKey] = tag.TagValue
	}
	return tags
}

type wireGroups struct {
	SecurityGroupID []string `json:"SecurityGroupId"`
}

type wireInstance struct {
	InstanceID       string     `json:"InstanceId"`
	SecurityGroupIDs wireGroups `json:"SecurityGroupIds"`
	VpcAttributes    struct {
		VpcID string `json:"VpcId"`
	}
	Tags wireTags
}

type wireInterface struct {
	NetworkInterfaceID   string `json:"NetworkInterfaceId"`
	NetworkInterfaceName string
	Type, Status         string
	InstanceID           string     `json:"InstanceId"`
	VpcID                string     `json:"VpcId"`
	SecurityGroupIDs     wireGroups `json:"SecurityGroupIds"`
	PrivateIPAddress     string     `json:"PrivateIpAddress"`
	PrivateIPSets        struct {
		PrivateIPSet []struct {
			PrivateIPAddress string `json:"PrivateIpAddress"`
		} `json:"PrivateIpSet"`
	} `json:"PrivateIpSets"`
	Ipv6Sets struct {
		Ipv6Set []struct{ Ipv6Address string }
	}
	Ipv4PrefixSets struct{ Ipv4PrefixSet []struct{ Ipv4Prefix string } }
	Ipv6PrefixSets struct{ Ipv6PrefixSet []struct{ Ipv6Prefix string } }
	Tags           wireTags
}

func (w *wireInterface) read() Interface {
	i := Interface{ID: w.NetworkInterfaceID, Type: w.Type, Status: w.Status, Name: w.NetworkInterfaceName, InstanceID: w.InstanceID,
		VpcID: w.VpcID, GroupIDs: w.SecurityGroupIDs.SecurityGroupID, ACKCluster: w.Tags.read()[ClusterTag]}
	seen := map[netip.Prefix]bool{}
	add := func(text string) {
		prefix, ok := parsePrefix(text)
		switch {
		case !ok:
			i.Unknown = i.Unknown || text != ""
		case !seen[prefix]:
			seen[prefix] = true
			i.Prefixes = append(i.Prefixes, prefix)
		}
	}
	add(w.PrivateIPAddress)
	for _, s := range w.PrivateIPSets.PrivateIPSet {
		add(s.PrivateIPAddress)
	}
	for _, s := range w.Ipv6Sets.Ipv6Set {
		add(s.Ipv6Address)
	}
	for _, s := range w.Ipv4PrefixSets.Ipv4PrefixSet {
		add(s.Ipv4Prefix)
	}
	for _, s := range w.Ipv6PrefixSets.Ipv6PrefixSet {
		add(s.Ipv6Prefix)
	}
	return i
}

// parsePrefix reads a CIDR block, or an address as a block of its own.
func parsePrefix(text string) (netip.Prefix, bool) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Masked(), true
	}
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address, address.BitLen()), true
	}
	return netip.Prefix{}, false
}
