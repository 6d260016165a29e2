package ecssim

import (
	"fmt"
	"maps"
	"strconv"
	"testing"
)

// memberWorld has a VPC with three instances, an interface of a load balancer, one that is
// not attached, and one of another account.
func memberWorld(t *testing.T) (*Server, string) {
	t.Helper()
	s, url := startServer(t, Options{})
	for n := range 3 {
		s.PutInstance(Instance{Region: testRegion, ID: "i-" + strconv.Itoa(n), VpcID: "vpc-1", Groups: []string{testGroup, "sg-other"},
			Addresses: []string{fmt.Sprintf("10.0.0.%d", n+1), fmt.Sprintf("2001:db8::%d", n+1)}, Tags: map[string]string{"team": "net"}})
	}
	s.PutInterface(Interface{Region: testRegion, ID: "eni-lb", VpcID: "vpc-1", Groups: []string{testGroup}, Name: "lb", Managed: true, Addresses: []string{"10.0.0.50"}})
	s.PutInterface(Interface{Region: testRegion, ID: "eni-pods", VpcID: "vpc-1", InstanceID: "i-0", Groups: []string{"sg-other"}, Type: "Trunk", Prefixes: []string{"10.1.0.0/28", "2001:db8:1::/80"}})
	s.PutInterface(Interface{Region: testRegion, ID: "eni-free", VpcID: "vpc-2", Status: "Available", Groups: []string{testGroup}})
	s.PutInterface(Interface{Region: testRegion, ID: "eni-foreign", VpcID: "vpc-1", Account: "2000000000000002", Groups: []string{testGroup}})
	s.PutPrefixList(PrefixList{Region: testRegion, ID: "pl-1", Entries: []string{"10.0.0.0/8", "192.168.0.0/16"}})
	return s, url
}

// idsIn are the ids in a listing, found by its path and the name of the id.
func idsIn(r reply, set, element, id string) (ids []string) {
	outer, _ := r.body[set].(map[string]any)
	list, _ := outer[element].([]any)
	for _, one := range list {
		fields, _ := one.(map[string]any)
		text, _ := fields[id].(string)
		ids = append(ids, text)
	}
	return ids
}

func TestInterfacesAreFoundByGroupVpcInstanceAndAddress(t *testing.T) {
	_, url := memberWorld(t)
	for name, c := range map[string]struct {
		params map[string]string
		want   []string
	}{
		// Primary interfaces are left out: the harder reading of what ECS documents.
		"a group":             {map[string]string{"SecurityGroupId": testGroup}, []string{"eni-free", "eni-lb"}},
		"a VPC":               {map[string]string{"VpcId": "vpc-1"}, []string{"eni-lb", "eni-pods", "eni-primary-i-0", "eni-primary-i-1", "eni-primary-i-2"}},
		"an instance":         {map[string]string{"InstanceId": "i-0"}, []string{"eni-pods", "eni-primary-i-0"}},
		"an instance, a type": {map[string]string{"InstanceId": "i-0", "Type": "Primary"}, []string{"eni-primary-i-0"}},
		"ids":                 {map[string]string{"NetworkInterfaceId.1": "eni-lb", "NetworkInterfaceId.2": "eni-foreign"}, []string{"eni-lb"}},
		"an address":          {map[string]string{"VpcId": "vpc-1", "PrivateIpAddress.1": "10.0.0.50"}, []string{"eni-lb"}},
		"an IPv6 address":     {map[string]string{"VpcId": "vpc-1", "Ipv6Address.1": "2001:db8::2"}, []string{"eni-primary-i-1"}},
		"nothing":             {map[string]string{"VpcId": "vpc-3"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			params := map[string]string{"RegionId": testRegion, "MaxResults": "500"}
			maps.Copy(params, c.params)
			r := headerSDK.do(t, url, testKey, "DescribeNetworkInterfaces", params)
			wantSuccess(t, r)
			wantEqual(t, "interfaces", idsIn(r, "NetworkInterfaceSets", "NetworkInterfaceSet", "NetworkInterfaceId"), c.want)
		})
	}
}

func TestAnInterfaceShowsWhatItProtects(t *testing.T) {
	_, url := memberWorld(t)
	r := headerSDK.do(t, url, testKey, "DescribeNetworkInterfaces", map[string]string{"RegionId": testRegion, "NetworkInterfaceId.1": "eni-primary-i-0"})
	wantSuccess(t, r)
	list, _ := r.body["NetworkInterfaceSets"].(map[string]any)["NetworkInterfaceSet"].([]any)
	one := reply{body: list[0].(map[string]any)}
	wantEqual(t, "type", one.text("Type"), "Primary")
	wantEqual(t, "status", one.text("Status"), "InUse")
	wantEqual(t, "address", one.text("PrivateIpAddress"), "10.0.0.1")
	wantEqual(t, "groups", fmt.Sprint(one.body["SecurityGroupIds"]), "map[SecurityGroupId:["+testGroup+" sg-other]]")
	wantEqual(t, "IPv6", fmt.Sprint(one.body["Ipv6Sets"]), "map[Ipv6Set:[map[Ipv6Address:2001:db8::1]]]")
}

func TestInstancesAreFoundByTheGroupOfTheirPrimaryInterface(t *testing.T) {
	s, url := memberWorld(t)
	read := func(params map[string]string) []string {
		params["RegionId"], params["MaxResults"] = testRegion, "100"
		r := headerSDK.do(t, url, testKey, "DescribeInstances", params)
		wantSuccess(t, r)
		return idsIn(r, "Instances", "Instance", "InstanceId")
	}
	wantEqual(t, "by group", read(map[string]string{"SecurityGroupId": testGroup}), []string{"i-0", "i-1", "i-2"})
	wantEqual(t, "by id", read(map[string]string{"InstanceIds": `["i-2","i-none"]`}), []string{"i-2"})
	s.DeleteInstance(testRegion, "i-1")
	wantEqual(t, "after a deletion", read(map[string]string{"VpcId": "vpc-1"}), []string{"i-0", "i-2"})
	s.DeleteInterface(testRegion, "eni-lb")
	r := headerSDK.do(t, url, testKey, "DescribeNetworkInterfaces", map[string]string{"RegionId": testRegion, "VpcId": "vpc-1"})
	wantEqual(t, "interfaces", idsIn(r, "NetworkInterfaceSets", "NetworkInterfaceSet", "NetworkInterfaceId"), []string{"eni-pods", "eni-primary-i-0", "eni-primary-i-2"})
}

func TestMembersComeInPages(t *testing.T) {
	s, url := startServer(t, Options{})
	for n := range 23 {
		s.PutInterface(Interface{Region: testRegion, ID: fmt.Sprintf("eni-%02d", n), VpcID: "vpc-1"})
		s.PutInstance(Instance{Region: testRegion, ID: fmt.Sprintf("i-%02d", n), VpcID: "vpc-2"})
	}
	for action, names := range map[string][4]string{
		"DescribeNetworkInterfaces": {"NetworkInterfaceSets", "NetworkInterfaceSet", "NetworkInterfaceId", "vpc-1"},
		"DescribeInstances":         {"Instances", "Instance", "InstanceId", "vpc-2"},
	} {
		t.Run(action, func(t *testing.T) {
			seen, pages := map[string]bool{}, 0
			for token := ""; ; {
				r := headerSDK.do(t, url, testKey, action, map[string]string{"RegionId": testRegion, "VpcId": names[3], "MaxResults": "10", "NextToken": token})
				wantSuccess(t, r)
				for _, id := range idsIn(r, names[0], names[1], names[2]) {
					seen[id] = true
				}
				pages++
				if token = r.text("NextToken"); token == "" {
					break
				}
			}
			wantEqual(t, "pages", pages, 3)
			wantEqual(t, "found", len(seen), 23)
		})
	}
}

func TestRefusalsOfMembers(t *testing.T) {
	_, url := memberWorld(t)
	for name, c := range map[string]struct {
		action string
		params map[string]string
		status int
		code   string
	}{
		"no region":              {"DescribeNetworkInterfaces", map[string]string{}, 400, "MissingParameter.RegionId"},
		"a region that is none":  {"DescribeInstances", map[string]string{"RegionId": "cn-nowhere"}, 404, "InvalidRegionId.NotFound"},
		"too many at once":       {"DescribeNetworkInterfaces", map[string]string{"RegionId": testRegion, "MaxResults": "501"}, 400, "InvalidParamter"},
		"too many instances":     {"DescribeInstances", map[string]string{"RegionId": testRegion, "MaxResults": "101"}, 400, "InvalidParamter"},
		"an address without VPC": {"DescribeNetworkInterfaces", map[string]string{"RegionId": testRegion, "PrivateIpAddress.1": "10.0.0.1"}, 400, "MissingParameter"},
		"ids that are no list":   {"DescribeInstances", map[string]string{"RegionId": testRegion, "InstanceIds": "i-1"}, 400, "InvalidInstanceIds.Malformed"},
		"another's token":        {"DescribeInstances", map[string]string{"RegionId": testRegion, "NextToken": encodePosition("interfaces", 10)}, 400, "InvalidParamter"},
		"no list":                {"DescribePrefixListAttributes", map[string]string{"RegionId": testRegion}, 400, "MissingParameter"},
		"a list that is none":    {"DescribePrefixListAttributes", map[string]string{"RegionId": testRegion, "PrefixListId": "pl-2"}, 404, "InvalidPrefixListId.NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, headerSDK.do(t, url, testKey, c.action, c.params), c.status, c.code)
		})
	}
}

func TestRulesShowTheirDirectionSourcesAndPages(t *testing.T) {
	s, url := memberWorld(t)
	s.PutGroup(Group{Region: testRegion, ID: "sg-ruled", Policy: Drop, Rules: 30, OwnRules: []Rule{
		{ID: "sgr-a", Protocol: "TCP", Ports: "22/22", CIDR: "10.0.0.0/8", To: "10.0.0.1/32"}, {Direction: "egress", GroupID: "sg-x"},
		{GroupID: "sg-other"}, {PrefixListID: "pl-1", Policy: "Drop", Priority: 7}, {IPv6CIDR: "::/0"},
	}})
	r := headerSDK.do(t, url, testKey, "DescribeSecurityGroupAttribute", map[string]string{"RegionId": testRegion, "SecurityGroupId": "sg-ruled", "Direction": "ingress", "MaxResults": "10"})
	wantSuccess(t, r)
	rules, _ := r.body["Permissions"].(map[string]any)["Permission"].([]any)
	wantEqual(t, "rules in a page", len(rules), 10)
	if r.text("NextToken") == "" {
		t.Error("there is no next page")
	}
	rule := func(n int) reply { return reply{body: rules[n].(map[string]any)} }
	wantEqual(t, "id", rule(0).text("SecurityGroupRuleId"), "sgr-a")
	wantEqual(t, "source", rule(0).text("SourceCidrIp"), "10.0.0.0/8")
	wantEqual(t, "target", rule(0).text("DestCidrIp"), "10.0.0.1/32")
	wantEqual(t, "group", rule(1).text("SourceGroupId"), "sg-other")
	wantEqual(t, "all ports", rule(1).text("PortRange"), "-1/-1")
	wantEqual(t, "list", rule(2).text("SourcePrefixListId")+rule(2).text("Policy")+rule(2).text("Priority"), "pl-1Drop7")
	wantEqual(t, "IPv6", rule(3).text("Ipv6SourceCidrIp"), "::/0")
	list := headerSDK.do(t, url, testKey, "DescribePrefixListAttributes", map[string]string{"RegionId": testRegion, "PrefixListId": "pl-1"})
	wantEqual(t, "entries", idsIn(list, "Entries", "Entry", "Cidr"), []string{"10.0.0.0/8", "192.168.0.0/16"})
}

func TestMembersThatECSCouldNotHaveAreRefused(t *testing.T) {
	for want, err := range map[string]error{
		"region is empty: name one, such as cn-hangzhou": Instance{ID: "i-1"}.Validate(),
		"id is empty: name one":                          Interface{Region: testRegion}.Validate(),
		`address "10.0.0": use an IP address`:            Interface{Region: testRegion, ID: "eni-1", Addresses: []string{"10.0.0"}}.Validate(),
		`prefix "all": use a CIDR block`:                 PrefixList{Region: testRegion, ID: "pl-1", Entries: []string{"all"}}.Validate(),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
