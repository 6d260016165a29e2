package ecssim

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
)

func TestAGroupIsMadeTaggedFoundAndDeleted(t *testing.T) {
	for _, sdk := range allSDKs {
		t.Run(sdk.name, func(t *testing.T) {
			s, url := startServer(t, Options{})
			made := sdk.do(t, url, testKey, "CreateSecurityGroup", map[string]string{
				"RegionId": testRegion, "SecurityGroupName": "web 前端", "VpcId": "vpc-1", "Description": "for a test",
				"Tag.1.Key": "env", "Tag.1.Value": "test", "ClientToken": "once",
			})
			wantSuccess(t, made)
			id := made.text("SecurityGroupId")
			group, exists := s.Group(testRegion, id)
			if !exists || group.Policy != Accept || group.Name != "web 前端" || group.VpcID != "vpc-1" || group.Tags["env"] != "test" {
				t.Fatalf("%q is %+v", id, group)
			}
			target := map[string]string{"RegionId": testRegion, "ResourceType": "securitygroup", "ResourceId.1": id}
			with := func(more map[string]string) map[string]string {
				all := maps.Clone(target)
				maps.Copy(all, more)
				return all
			}
			wantSuccess(t, sdk.do(t, url, testKey, "TagResources", with(map[string]string{
				"Tag.1.Key": "env", "Tag.1.Value": "prod", "Tag.2.Key": "owner",
			})))
			found := sdk.do(t, url, testKey, "DescribeSecurityGroups", map[string]string{
				"RegionId": testRegion, "MaxResults": "10", "Tag.1.Key": "env", "Tag.1.Value": "prod",
			})
			wantEqual(t, "found by tag", idsOf(found), []string{id})
			wantSuccess(t, sdk.do(t, url, testKey, "UntagResources", with(map[string]string{"TagKey.1": "env"})))
			group, _ = s.Group(testRegion, id)
			wantEqual(t, "tags", group.Tags, map[string]string{"owner": ""})
			wantSuccess(t, sdk.do(t, url, testKey, "UntagResources", with(map[string]string{"All": "true"})))
			if group, _ = s.Group(testRegion, id); len(group.Tags) > 0 {
				t.Errorf("tags that are left: %v", group.Tags)
			}
			gone := map[string]string{"RegionId": testRegion, "SecurityGroupId": id}
			wantSuccess(t, sdk.do(t, url, testKey, "DeleteSecurityGroup", gone))
			wantRefusal(t, sdk.do(t, url, testKey, "DeleteSecurityGroup", gone), 404, "InvalidSecurityGroupId.NotFound")
		})
	}
}

func TestARepeatedCreationMakesOneGroup(t *testing.T) {
	s, url := startServer(t, Options{})
	params := map[string]string{"RegionId": testRegion, "SecurityGroupName": "web", "ClientToken": "once"}
	first := headerSDK.do(t, url, testKey, "CreateSecurityGroup", params)
	again := headerSDK.do(t, url, testKey, "CreateSecurityGroup", params)
	wantSuccess(t, again)
	wantEqual(t, "group", again.text("SecurityGroupId"), first.text("SecurityGroupId"))
	wantEqual(t, "request", again.text("RequestId"), first.text("RequestId"))
	wantEqual(t, "groups", len(s.Groups()), 2)
	params["SecurityGroupName"] = "other"
	wantRefusal(t, headerSDK.do(t, url, testKey, "CreateSecurityGroup", params), 400, "IdempotentParameterMismatch")
}

func TestRefusalsOfMembership(t *testing.T) {
	full := map[string]string{}
	for n := range maxTags {
		full["key"+strconv.Itoa(n)] = ""
	}
	many := map[string]string{}
	for n := range maxTagTarget + 1 {
		many["ResourceId."+strconv.Itoa(n+1)] = testGroup
	}
	tooManyTags := map[string]string{}
	for n := range maxTags + 1 {
		tooManyTags[fmt.Sprintf("Tag.%d.Key", n+1)] = "k" + strconv.Itoa(n)
	}
	s, url := startServer(t, Options{Groups: []Group{
		{Region: testRegion, ID: testGroup}, {Region: testRegion, ID: "sg-managed", Managed: true},
		{Region: testRegion, ID: "sg-foreign", Account: "2000000000000002"}, {Region: testRegion, ID: "sg-full", Tags: full},
	}})
	const create, remove, tag, untag = "CreateSecurityGroup", "DeleteSecurityGroup", "TagResources", "UntagResources"
	good := map[string]map[string]string{
		create: {"RegionId": testRegion, "SecurityGroupName": "web"},
		remove: {"RegionId": testRegion, "SecurityGroupId": testGroup},
		tag:    {"RegionId": testRegion, "ResourceType": "securitygroup", "ResourceId.1": testGroup, "Tag.1.Key": "k", "Tag.1.Value": "v"},
		untag:  {"RegionId": testRegion, "ResourceType": "securitygroup", "ResourceId.1": testGroup, "TagKey.1": "k"},
	}
	for _, test := range []struct {
		situation, action string
		change            map[string]string // "-" leaves one out
		status            int
		code              string
	}{
		{"made without region", create, map[string]string{"RegionId": "-"}, 400, "MissingParameter.RegionId"},
		{"made in an unknown region", create, map[string]string{"RegionId": "cn-nowhere"}, 404, "InvalidRegionId.NotFound"},
		{"name of one letter", create, map[string]string{"SecurityGroupName": "x"}, 400, "InvalidSecurityGroupName.Malformed"},
		{"name that is a URL", create, map[string]string{"SecurityGroupName": "http://x"}, 400, "InvalidSecurityGroupName.Malformed"},
		{"long description", create, map[string]string{"Description": strings.Repeat("x", 257)}, 400, "InvalidDescription.Malformed"},
		{"unknown type", create, map[string]string{"SecurityGroupType": "huge"}, 400, "InvalidParameter.SecurityGroupType"},
		{"reserved tag", create, map[string]string{"Tag.1.Key": "acs:x"}, 400, "InvalidTagKey.Malformed"},
		{"deleted without region", remove, map[string]string{"RegionId": "-"}, 400, "MissingParameter.RegionId"},
		{"a product's group deleted", remove, map[string]string{"SecurityGroupId": "sg-managed"}, 403, "InvalidOperation.ResourceManagedByCloudProduct"},
		{"another account's group deleted", remove, map[string]string{"SecurityGroupId": "sg-foreign"}, 404, "InvalidSecurityGroupId.NotFound"},
		{"malformed id deleted", remove, map[string]string{"SecurityGroupId": "sg/1"}, 400, "InvalidSecurityGroupId.Malformed"},
		{"tagged without type", tag, map[string]string{"ResourceType": "-"}, 400, "MissingParameter"},
		{"tagged as another type", tag, map[string]string{"ResourceType": "instance"}, 404, "InvalidResourceType.NotFound"},
		{"nothing tagged", tag, map[string]string{"ResourceId.1": "-"}, 400, "MissingParameter"},
		{"tagged with nothing", tag, map[string]string{"Tag.1.Key": "-", "Tag.1.Value": "-"}, 400, "MissingParameter"},
		{"a key twice", tag, map[string]string{"Tag.2.Key": "k"}, 400, "Duplicate.TagKey"},
		{"a long value", tag, map[string]string{"Tag.1.Value": strings.Repeat("值", 129)}, 400, "InvalidTagValue.Malformed"},
		{"more than 20 tags", tag, tooManyTags, 400, "NumberExceed.Tags"},
		{"more than 50 groups", tag, many, 400, "NumberExceed.ResourceIds"},
		{"a 21st tag", tag, map[string]string{"ResourceId.2": "sg-full"}, 403, "OperationDenied.QuotaExceed"},
		{"an unknown group among others", tag, map[string]string{"ResourceId.2": "sg-unknown"}, 404, "InvalidResourceId.NotFound"},
		{"untagged without keys", untag, map[string]string{"TagKey.1": "-"}, 400, "MissingParameter"},
		{"another account's group untagged", untag, map[string]string{"ResourceId.1": "sg-foreign"}, 404, "InvalidResourceId.NotFound"},
		{"bad token of a listing", "DescribeSecurityGroups", map[string]string{"RegionId": testRegion, "NextToken": "x"}, 400, "InValidParameter.NextToken"},
		{"bad type of a listing", "DescribeSecurityGroups", map[string]string{"RegionId": testRegion, "SecurityGroupType": "x"}, 400, "InvalidParameter.SecurityGroupType"},
		{"bad id of a listing", "DescribeSecurityGroups", map[string]string{"RegionId": testRegion, "SecurityGroupId": "sg/1"}, 400, "InvalidSecurityGroupId.Malformed"},
	} {
		t.Run(test.situation, func(t *testing.T) {
			params := maps.Clone(good[test.action])
			if params == nil {
				params = map[string]string{}
			}
			maps.Copy(params, test.change)
			maps.DeleteFunc(params, func(_, value string) bool { return value == "-" })
			wantRefusal(t, headerSDK.do(t, url, testKey, test.action, params), test.status, test.code)
		})
	}
	if group, _ := s.Group(testRegion, testGroup); len(group.Tags) > 0 {
		t.Errorf("a refused call has set %v", group.Tags)
	}
}

func TestAFilterByTagReachesAThousandGroups(t *testing.T) {
	var groups []Group
	for n := range reachOfTags + 50 {
		groups = append(groups, Group{Region: testRegion, ID: fmt.Sprintf("sg-%04d", n), Tags: map[string]string{"env": "prod"}})
	}
	_, url := startServer(t, Options{Groups: groups})
	for filter, want := range map[string]int{"": reachOfTags + 50, "env": reachOfTags} {
		found, token := 0, ""
		for page := 0; page == 0 || token != ""; page++ {
			params := map[string]string{"RegionId": testRegion, "MaxResults": "100", "NextToken": token}
			if filter != "" {
				params["Tag.1.Key"] = filter
			}
			r := headerSDK.do(t, url, testKey, "DescribeSecurityGroups", params)
			wantSuccess(t, r)
			found, token = found+len(idsOf(r)), r.text("NextToken")
		}
		if found != want {
			t.Errorf("filter %q finds %d groups, want %d", filter, found, want)
		}
	}
}

func TestAGroupThatComesBetweenTwoPagesRepeatsAnother(t *testing.T) {
	s, url := startServer(t, Options{Groups: []Group{{Region: testRegion, ID: "sg-b"}, {Region: testRegion, ID: "sg-c"}}})
	first := headerSDK.do(t, url, testKey, "DescribeSecurityGroups", map[string]string{"RegionId": testRegion, "MaxResults": "1"})
	s.PutGroup(Group{Region: testRegion, ID: "sg-a"})
	second := headerSDK.do(t, url, testKey, "DescribeSecurityGroups", map[string]string{
		"RegionId": testRegion, "MaxResults": "1", "NextToken": first.text("NextToken"),
	})
	wantEqual(t, "second page", idsOf(second), []string{"sg-b"})
}

// idsOf are the groups of a listing.
func idsOf(r reply) (ids []string) {
	groups, _ := r.body["SecurityGroups"].(map[string]any)
	list, _ := groups["SecurityGroup"].([]any)
	for _, group := range list {
		fields, _ := group.(map[string]any)
		id, _ := fields["SecurityGroupId"].(string)
		ids = append(ids, id)
	}
	return ids
}
