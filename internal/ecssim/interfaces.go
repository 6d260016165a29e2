package ecssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Instance is an ECS instance. Its Region and ID identify it. It has a primary interface,
// eni-primary-ID, which has its groups and addresses.
type Instance struct {
	Region  string            `json:"region"`
	ID      string            `json:"id"`
	Account string            `json:"account,omitempty"`
	Name    string            `json:"name,omitempty"`
	VpcID   string            `json:"vpcId,omitempty"`
	Groups  []string          `json:"groups,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	// Addresses are the private ones of the primary interface.
	Addresses []string `json:"addresses,omitempty"`
}

// Interface is an elastic network interface. Its Region and ID identify it.
type Interface struct {
	Region  string `json:"region"`
	ID      string `json:"id"`
	Account string `json:"account,omitempty"`
	// Type is Secondary if empty; Primary, Trunk and Member are others.
	Type string `json:"type,omitempty"`
	// Status is InUse if empty.
	Status string `json:"status,omitempty"`
	// InstanceID is empty where another cloud product owns the interface.
	InstanceID  string            `json:"instanceId,omitempty"`
	VpcID       string            `json:"vpcId,omitempty"`
	Groups      []string          `json:"groups,omitempty"`
	Name        string            `json:"name,omitempty"`
	Description string            `json:"description,omitempty"`
	Managed     bool              `json:"managed,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	// Addresses are private ones, IPv4 or IPv6; Prefixes are delegated ones.
	Addresses []string `json:"addresses,omitempty"`
	Prefixes  []string `json:"prefixes,omitempty"`
}

// PrefixList is a list of CIDR blocks that rules may name.
type PrefixList struct {
	Region  string   `json:"region"`
	ID      string   `json:"id"`
	Account string   `json:"account,omitempty"`
	Entries []string `json:"entries,omitempty"`
}

// Validate tells what an instance would need to be one that ECS could have.
func (i Instance) Validate() error {
	return validateMember(i.Region, i.ID, i.Addresses, nil)
}

// Validate tells what an interface would need to be one that ECS could have.
func (i Interface) Validate() error {
	return validateMember(i.Region, i.ID, i.Addresses, i.Prefixes)
}

// Validate tells what a prefix list would need to be one that ECS could have.
func (l PrefixList) Validate() error {
	return validateMember(l.Region, l.ID, nil, l.Entries)
}

func validateMember(region, id string, addresses, prefixes []string) error {
	switch {
	case region == "":
		return errors.New("region is empty: name one, such as cn-hangzhou")
	case id == "":
		return errors.New("id is empty: name one")
	}
	for _, text := range addresses {
		if _, err := netip.ParseAddr(text); err != nil {
			return fmt.Errorf("address %q: use an IP address", text)
		}
	}
	for _, text := range prefixes {
		if _, err := netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("prefix %q: use a CIDR block", text)
		}
	}
	return nil
}

// members holds what security groups protect, and the lists that rules name.
type members struct {
	instances   map[groupKey]Instance
	interfaces  map[groupKey]Interface
	prefixLists map[groupKey]PrefixList
}

func newMembers() members {
	return members{map[groupKey]Instance{}, map[groupKey]Interface{}, map[groupKey]PrefixList{}}
}

// PutInstance creates an instance with its primary interface, or replaces both.
func (s *Server) PutInstance(i Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Account, i.Tags = orDefault(i.Account), maps.Clone(i.Tags)
	i.Groups, i.Addresses = slices.Clone(i.Groups), slices.Clone(i.Addresses)
	s.members.instances[groupKey{i.Region, i.ID}] = i
	s.members.interfaces[groupKey{i.Region, primaryID(i.ID)}] = Interface{
		Region: i.Region, ID: primaryID(i.ID), Account: i.Account, Type: "Primary", InstanceID: i.ID, VpcID: i.VpcID, Groups: i.Groups, Addresses: i.Addresses,
	}
	s.regions[i.Region] = true
}

// DeleteInstance removes an instance and its interfaces.
func (s *Server) DeleteInstance(region, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members.instances, groupKey{region, id})
	maps.DeleteFunc(s.members.interfaces, func(_ groupKey, i Interface) bool { return i.Region == region && i.InstanceID == id })
}

// PutInterface creates an interface or replaces the one with its region and ID.
func (s *Server) PutInterface(i Interface) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Account, i.Tags = orDefault(i.Account), maps.Clone(i.Tags)
	i.Groups, i.Addresses, i.Prefixes = slices.Clone(i.Groups), slices.Clone(i.Addresses), slices.Clone(i.Prefixes)
	if i.Type == "" {
		i.Type = "Secondary"
	}
	s.members.interfaces[groupKey{i.Region, i.ID}] = i
	s.regions[i.Region] = true
}

// DeleteInterface removes an interface.
func (s *Server) DeleteInterface(region, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members.interfaces, groupKey{region, id})
}

// Interfaces are the ids of a region's interfaces, in order.
func (s *Server) Interfaces(region string) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.members.interfaces {
		if key.region == region {
			ids = append(ids, key.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// PutPrefixList creates a prefix list or replaces the one with its region and ID.
func (s *Server) PutPrefixList(l PrefixList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.Account, l.Entries = orDefault(l.Account), slices.Clone(l.Entries)
	s.members.prefixLists[groupKey{l.Region, l.ID}] = l
	s.regions[l.Region] = true
}

func orDefault(account string) string {
	if account == "" {
		return DefaultAccount
	}
	return account
}

func primaryID(instance string) string { return "eni-primary-" + instance }

// memberFilter is what a listing of instances or interfaces asks for.
type memberFilter struct {
	region, account, group, vpc, instance, kind string
	ids, addresses                              []string
}

func (s *Server) describeNetworkInterfaces(c *call) (object, *apiError) {
	filter, refusal := newMemberFilter(c)
	if refusal != nil {
		return nil, refusal
	}
	if filter.ids, refusal = c.list("NetworkInterfaceId", 100, "InvalidParameter"); refusal != nil {
		return nil, refusal
	}
	addresses, refusal := c.list("PrivateIpAddress", 100, "InvalidParameter")
	if refusal != nil {
		return nil, refusal
	}
	more, refusal := c.list("Ipv6Address", 100, "InvalidParameter")
	if refusal != nil {
		return nil, refusal
	}
	filter.addresses = append(addresses, more...)
	if len(filter.addresses) > 0 && filter.vpc == "" {
		return nil, missing("VpcId")
	}
	return listed[Interface]{"interfaces", "NetworkInterfaceSets", "NetworkInterfaceSet", 10, 500, s.members.interfaces, filter.matchesInterface}.answer(s, c)
}

func (s *Server) describeInstances(c *call) (object, *apiError) {
	filter, refusal := newMemberFilter(c)
	if refusal != nil {
		return nil, refusal
	}
	if text := c.param("InstanceIds"); text != "" {
		if err := json.Unmarshal([]byte(text), &filter.ids); err != nil || len(filter.ids) == 0 || len(filter.ids) > 100 {
			return nil, refuse(400, "InvalidInstanceIds.Malformed", "The specified parameter InstanceIds is not valid.")
		}
	}
	return listed[Instance]{"instances", "Instances", "Instance", 1, 100, s.members.instances, filter.matchesInstance}.answer(s, c)
}

// listed is a listing, page by page.
type listed[T interface{ describe() object }] struct {
	kind, set, element string
	least, most        int // in a page
	all                map[groupKey]T
	matches            func(T) bool
}

func (l listed[T]) answer(s *Server, c *call) (object, *apiError) {
	size, refusal := c.number("MaxResults", 10, l.least, l.most)
	if refusal != nil {
		return nil, refusal
	}
	start, known := c.position(l.kind)
	if !known {
		return nil, invalidParamter("NextToken")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.regions[c.log.Region] {
		return nil, unknownRegion()
	}
	var found []string
	for key, one := range l.all {
		if l.matches(one) {
			found = append(found, key.id)
		}
	}
	slices.Sort(found)
	page := []object{}
	for _, id := range found[min(start, len(found)):min(start+size, len(found))] {
		page = append(page, l.all[groupKey{c.log.Region, id}].describe())
	}
	next := ""
	if start+size < len(found) {
		next = encodePosition(l.kind, start+size)
	}
	return object{{l.set, object{{l.element, page}}}, {"NextToken", next}}, nil
}

func (s *Server) describePrefixListAttributes(c *call) (object, *apiError) {
	id := c.param("PrefixListId")
	switch {
	case c.log.Region == "":
		return nil, missingRegion()
	case id == "":
		return nil, missing("PrefixListId")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, found := s.members.prefixLists[groupKey{c.log.Region, id}]
	switch {
	case !s.regions[c.log.Region]:
		return nil, unknownRegion()
	case !found || list.Account != c.key.Account:
		return nil, refuse(404, "InvalidPrefixListId.NotFound", "The specified prefix list does not exist.")
	}
	family := "IPv4"
	entries := []object{}
	for _, cidr := range list.Entries {
		if strings.Contains(cidr, ":") {
			family = "IPv6"
		}
		entries = append(entries, object{{"Cidr", cidr}, {"Description", ""}})
	}
	return object{
		{"PrefixListId", id}, {"PrefixListName", id}, {"AddressFamily", family}, {"MaxEntries", max(1, len(entries))},
		{"Entries", object{{"Entry", entries}}},
	}, nil
}

func newMemberFilter(c *call) (memberFilter, *apiError) {
	f := memberFilter{region: c.log.Region, account: c.key.Account, group: c.log.GroupID, vpc: c.param("VpcId"), instance: c.param("InstanceId"), kind: c.param("Type")}
	switch {
	case f.region == "":
		return f, missingRegion()
	case f.group != "" && !groupID.MatchString(f.group):
		return f, malformedGroupID()
	}
	return f, nil
}

// matchesInterface leaves out primary interfaces where a group is asked for: ECS documents
// that filter for secondary ones, and nobody has seen yet what it does with others.
func (f memberFilter) matchesInterface(i Interface) bool {
	return i.Region == f.region && i.Account == f.account &&
		(f.group == "" || i.Type != "Primary" && slices.Contains(i.Groups, f.group)) &&
		(f.vpc == "" || i.VpcID == f.vpc) &&
		(f.instance == "" || i.InstanceID == f.instance) &&
		(f.kind == "" || i.Type == f.kind) &&
		(f.ids == nil || slices.Contains(f.ids, i.ID)) &&
		(f.addresses == nil || slices.ContainsFunc(i.Addresses, func(a string) bool { return slices.Contains(f.addresses, a) }))
}

func (f memberFilter) matchesInstance(i Instance) bool {
	return i.Region == f.region && i.Account == f.account &&
		(f.group == "" || slices.Contains(i.Groups, f.group)) &&
		(f.vpc == "" || i.VpcID == f.vpc) &&
		(f.ids == nil || slices.Contains(f.ids, i.ID))
}

func (i Interface) describe() object {
	var v4, v6, prefixes4, prefixes6 []object
	first := ""
	for _, text := range i.Addresses {
		if strings.Contains(text, ":") {
			v6 = append(v6, object{{"Ipv6Address", text}})
			continue
		}
		v4 = append(v4, object{{"PrivateIpAddress", text}, {"Primary", first == ""}})
		if first == "" {
			first = text
		}
	}
	for _, text := range i.Prefixes {
		if strings.Contains(text, ":") {
			prefixes6 = append(prefixes6, object{{"Ipv6Prefix", text}})
		} else {
			prefixes4 = append(prefixes4, object{{"Ipv4Prefix", text}})
		}
	}
	status, serviceID := i.Status, 0
	if status == "" {
		status = "InUse"
	}
	if i.Managed {
		serviceID = 1
	}
	return object{
		{"NetworkInterfaceId", i.ID},
		{"NetworkInterfaceName", i.Name},
		{"Description", i.Description},
		{"Type", i.Type},
		{"Status", status},
		{"InstanceId", i.InstanceID},
		{"VpcId", i.VpcID},
		{"PrivateIpAddress", first},
		{"PrivateIpSets", object{{"PrivateIpSet", orEmpty(v4)}}},
		{"Ipv6Sets", object{{"Ipv6Set", orEmpty(v6)}}},
		{"Ipv4PrefixSets", object{{"Ipv4PrefixSet", orEmpty(prefixes4)}}},
		{"Ipv6PrefixSets", object{{"Ipv6PrefixSet", orEmpty(prefixes6)}}},
		{"SecurityGroupIds", object{{"SecurityGroupId", slices.Concat([]string{}, i.Groups)}}},
		{"ServiceManaged", i.Managed},
		{"ServiceID", serviceID},
		{"Tags", object{{"Tag", describeTags(i.Tags)}}},
	}
}

func (i Instance) describe() object {
	return object{
		{"InstanceId", i.ID},
		{"InstanceName", i.Name},
		{"RegionId", i.Region},
		{"Status", "Running"},
		{"VpcAttributes", object{{"VpcId", i.VpcID}}},
		{"SecurityGroupIds", object{{"SecurityGroupId", slices.Concat([]string{}, i.Groups)}}},
		{"Tags", object{{"Tag", describeTags(i.Tags)}}},
	}
}

func orEmpty(list []object) []object { return append([]object{}, list...) }

func describeTags(tags map[string]string) []object {
	list := []object{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, object{{"TagKey", key}, {"TagValue", tags[key]}})
	}
	return list
}
