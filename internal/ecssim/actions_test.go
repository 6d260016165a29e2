package ecssim

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
)

func TestRefusalsOfActions(t *testing.T) {
	groups := []Group{
		{Region: testRegion, ID: testGroup},
		{Region: testRegion, ID: "sg-enterprise", Enterprise: true},
		{Region: testRegion, ID: "sg-managed", Managed: true},
		{Region: testRegion, ID: "sg-foreign", Account: "2000000000000002"},
		{Region: "cn-far-away", ID: "sg-far"},
	}
	denied := Key{ID: "denied", Secret: "s", Deny: []string{"ecs:ModifySecurityGroupPolicy"}}
	_, url := startServer(t, Options{Groups: groups, Keys: []Key{testKey, denied}})
	const modify, read, list = "ModifySecurityGroupPolicy", "DescribeSecurityGroupAttribute", "DescribeSecurityGroups"
	for _, test := range []struct {
		situation string
		action    string
		change    map[string]string // of the parameters of a good call; "-" leaves one out
		status    int
		code      string
	}{
		{"modify without region", modify, map[string]string{"RegionId": "-"}, 400, "MissingParamter.RegionId"},
		{"read without region", read, map[string]string{"RegionId": "-"}, 400, "MissingParameter.RegionId"},
		{"list without region", list, map[string]string{"RegionId": "-"}, 400, "MissingParameter.RegionId"},
		{"modify in an unknown region", modify, map[string]string{"RegionId": "cn-nowhere"}, 404, "InvalidRegionId.NotFound"},
		{"read in an unknown region", read, map[string]string{"RegionId": "cn-nowhere"}, 404, "InvalidRegionId.NotFound"},
		{"list in an unknown region", list, map[string]string{"RegionId": "cn-nowhere"}, 404, "InvalidRegionId.NotFound"},
		{"group of another region", read, map[string]string{"RegionId": "cn-far-away"}, 404, "InvalidSecurityGroupId.NotFound"},
		{"modify a malformed id", modify, map[string]string{"SecurityGroupId": "sg/1"}, 400, "InvalidSecurityGroupId.Malformed"},
		{"read a malformed id", read, map[string]string{"SecurityGroupId": strings.Repeat("x", 101)}, 400, "InvalidSecurityGroupId.Malformed"},
		{"modify an unknown group", modify, map[string]string{"SecurityGroupId": "sg-unknown"}, 404, "InvalidSecurityGroupId.NotFound"},
		{"read an unknown group", read, map[string]string{"SecurityGroupId": "sg-unknown"}, 404, "InvalidSecurityGroupId.NotFound"},
		{"modify another account's group", modify, map[string]string{"SecurityGroupId": "sg-foreign"}, 404, "InvalidSecurityGroupId.NotFound"},
		{"read another account's group", read, map[string]string{"SecurityGroupId": "sg-foreign"}, 404, "InvalidSecurityGroupId.NotFound"},
		{"bad policy", modify, map[string]string{"InnerAccessPolicy": "Open"}, 400, "InvalidPolicy.Malformed"},
		{"no policy", modify, map[string]string{"InnerAccessPolicy": "-"}, 400, "InvalidPolicy.Malformed"},
		{"enterprise group", modify, map[string]string{"SecurityGroupId": "sg-enterprise"}, 404, "InvalidParameter.InnerAccessPolicy"},
		{"managed group", modify, map[string]string{"SecurityGroupId": "sg-managed"}, 403, "InvalidOperation.ResourceManagedByCloudProduct"},
		{"two owners", modify, map[string]string{"OwnerId": "1", "OwnerAccount": "a@b.c"}, 400, "InvalidOwner"},
		{"long client token", modify, map[string]string{"ClientToken": strings.Repeat("t", 65)}, 400, "InvalidClientToken.ValueNotSupported"},
		{"client token beyond ASCII", modify, map[string]string{"ClientToken": "törichte"}, 400, "InvalidClientToken.ValueNotSupported"},
		{"page of 9 rules", read, map[string]string{"MaxResults": "9"}, 400, "InvalidParamter"},
		{"page of 1001 rules", read, map[string]string{"MaxResults": "1001"}, 400, "InvalidParamter"},
		{"bad page token", read, map[string]string{"NextToken": "x"}, 400, "InvalidParamter"},
		{"bad direction", read, map[string]string{"Direction": "up"}, 400, "InvalidParamter"},
		{"bad network card", read, map[string]string{"NicType": "wifi"}, 400, "InvalidNicType.ValueNotSupported"},
		{"bad attribute", read, map[string]string{"Attribute": "all"}, 400, "InvalidParameter.AttributeNotSupported"},
		{"page of 101 groups", list, map[string]string{"MaxResults": "101"}, 400, "InvalidParamter"},
		{"bad list of ids", list, map[string]string{"SecurityGroupIds": "sg-1"}, 400, "InvalidParamter"},
		{"dry run of a listing", list, map[string]string{"DryRun": "true"}, 400, "DryRunOperation"},
		{"unknown action", "DeleteEverything", nil, 404, "InvalidAction.NotFound"},
		{"unknown format", list, map[string]string{"Format": "yaml"}, 400, "InvalidParameter.Format"},
	} {
		t.Run(test.situation, func(t *testing.T) {
			params := map[string]string{"RegionId": testRegion}
			if test.action != list {
				params["SecurityGroupId"] = testGroup
			}
			if test.action == modify {
				params["InnerAccessPolicy"] = "Drop"
			}
			maps.Copy(params, test.change)
			maps.DeleteFunc(params, func(_, value string) bool { return value == "-" })
			wantRefusal(t, headerSDK.do(t, url, testKey, test.action, params), test.status, test.code)
		})
	}
	t.Run("no permission", func(t *testing.T) {
		for _, sdk := range allSDKs {
			r := sdk.do(t, url, denied, modify, modifyParams("Drop", ""))
			wantRefusal(t, r, 403, "Forbidden.RAM")
			wantSuccess(t, sdk.do(t, url, denied, read, readParams()))
		}
	})
}

func TestPolicyIsTakenInAnyCaseAndAnsweredInOne(t *testing.T) {
	s, url := startServer(t, Options{})
	for _, policy := range []string{"drop", "ACCEPT", "Drop", "Drop", "aCCept"} {
		wantSuccess(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams(policy, "")))
		read := headerSDK.do(t, url, testKey, "DescribeSecurityGroupAttribute", readParams())
		wantEqual(t, "policy after "+policy, strings.ToLower(read.text("InnerAccessPolicy")), strings.ToLower(policy))
		if got := read.text("InnerAccessPolicy"); got != Accept && got != Drop {
			t.Errorf("%s is answered as %q", policy, got)
		}
	}
	var changes []string
	for _, effect := range s.Effects(testRegion, testGroup) {
		changes = append(changes, effect.From+">"+effect.To)
		if !effect.ByAPI || effect.RequestID == "" {
			t.Errorf("not told to be a call's: %+v", effect)
		}
	}
	wantEqual(t, "changes", changes, []string{"Accept>Drop", "Drop>Accept", "Accept>Drop", "Drop>Accept"})
}

func TestRulesArePaged(t *testing.T) {
	_, url := startServer(t, Options{Groups: []Group{{Region: testRegion, ID: testGroup, Rules: 1000}}})
	for direction, want := range map[string]int{"": 1000, "all": 1000, "ingress": 500, "egress": 500} {
		seen, pages, token := map[string]bool{}, 0, ""
		for more := true; more; more = token != "" {
			params := map[string]string{"RegionId": testRegion, "SecurityGroupId": testGroup, "MaxResults": "100"}
			if direction != "" {
				params["Direction"] = direction
			}
			if token != "" {
				params["NextToken"] = token
			}
			r := headerSDK.do(t, url, testKey, "DescribeSecurityGroupAttribute", params)
			wantSuccess(t, r)
			permissions, _ := r.body["Permissions"].(map[string]any)
			list, _ := permissions["Permission"].([]any)
			for _, rule := range list {
				seen[fmt.Sprint(rule.(map[string]any)["SecurityGroupRuleId"])] = true
			}
			token = r.text("NextToken")
			pages++
		}
		wantEqual(t, "rules "+direction, len(seen), want)
		wantEqual(t, "pages "+direction, pages, want/100)
	}
}

func TestGroupsAreListedFilteredAndPaged(t *testing.T) {
	groups := make([]Group, 0, 130)
	for i := range 125 {
		groups = append(groups, Group{Region: testRegion, ID: fmt.Sprintf("sg-%03d", i), VpcID: "vpc-1"})
	}
	groups = append(groups,
		Group{Region: testRegion, ID: "sg-e", Name: "corp", Enterprise: true, VpcID: "vpc-2", Tags: map[string]string{"team": "net"}},
		Group{Region: testRegion, ID: "sg-m", Managed: true},
		Group{Region: testRegion, ID: "sg-x", Account: "2000000000000002"},
		Group{Region: "cn-beijing", ID: "sg-b"})
	_, url := startServer(t, Options{Groups: groups})
	list := func(params map[string]string) (ids []string, r reply) {
		all := map[string]string{"RegionId": testRegion}
		maps.Copy(all, params)
		r = headerSDK.do(t, url, testKey, "DescribeSecurityGroups", all)
		wantSuccess(t, r)
		found := r.body["SecurityGroups"].(map[string]any)["SecurityGroup"].([]any)
		for _, group := range found {
			fields := group.(map[string]any)
			ids = append(ids, fields["SecurityGroupId"].(string))
			if _, ok := fields["InnerAccessPolicy"]; ok {
				t.Error("a listing never holds the policy")
			}
		}
		return ids, r
	}
	for filter, want := range map[[2]string][]string{
		{"SecurityGroupId", "sg-001"}:                            {"sg-001"},
		{"SecurityGroupId", "sg-gone"}:                           nil,
		{"SecurityGroupId", "sg-x"}:                              nil,
		{"SecurityGroupIds", `["sg-m","sg-e","sg-gone","sg-x"]`}: {"sg-e", "sg-m"},
		{"SecurityGroupName", "corp"}:                            {"sg-e"},
		{"VpcId", "vpc-2"}:                                       {"sg-e"},
		{"SecurityGroupType", "enterprise"}:                      {"sg-e"},
		{"ServiceManaged", "true"}:                               {"sg-m"},
		{"NetworkType", "classic"}:                               {"sg-m"},
	} {
		ids, _ := list(map[string]string{filter[0]: filter[1]})
		wantEqual(t, fmt.Sprint(filter), ids, want)
	}
	ids, _ := list(map[string]string{"Tag.1.Key": "team", "Tag.1.Value": "net"})
	wantEqual(t, "by tag", ids, []string{"sg-e"})

	ids, r := list(map[string]string{"PageSize": "50", "PageNumber": "3"})
	wantEqual(t, "last page", len(ids), 27)
	wantEqual(t, "total", fmt.Sprint(r.body["TotalCount"]), "127")
	ids, r = list(nil)
	wantEqual(t, "default page", len(ids), 10)

	seen, params := 0, map[string]string{"MaxResults": "100"}
	for more := true; more; more = params["NextToken"] != "" {
		ids, r = list(params)
		seen += len(ids)
		if _, ok := r.body["TotalCount"]; ok {
			t.Error("paging by token tells no total")
		}
		params["NextToken"] = r.text("NextToken")
	}
	wantEqual(t, "by token", seen, 127)
}

func TestRegionsOfGroupsAreKnown(t *testing.T) {
	_, url := startServer(t, Options{Regions: []string{"cn-one"}, Groups: []Group{{Region: "cn-two", ID: "sg-2"}}})
	r := headerSDK.do(t, url, testKey, "DescribeRegions", nil)
	wantSuccess(t, r)
	var regions []string
	for _, region := range r.body["Regions"].(map[string]any)["Region"].([]any) {
		regions = append(regions, region.(map[string]any)["RegionId"].(string))
	}
	wantEqual(t, "regions", regions, []string{"cn-one", "cn-two"})
}

// Without Format the protocol's answers, and its errors, are XML.
func TestAnswersAreXMLUnlessJSONIsAskedFor(t *testing.T) {
	record := &recorder{}
	s, url := startServer(t, Options{Groups: []Group{{Region: testRegion, ID: testGroup, Rules: 2, Name: "a & b"}}})
	params := readParams()
	params["Format"] = "XML"
	params["Direction"] = "all"
	_ = darabonba("", record)(t.Context(), url, testKey, "DescribeSecurityGroupAttribute", params)
	request := record.request.Clone(t.Context())
	request.Body = io.NopCloser(strings.NewReader(string(record.body)))
	s.nonces = nonces{}
	status, body := sendRaw(t, request)
	wantEqual(t, "status", status, 200)
	var answer struct {
		XMLName           xml.Name `xml:"DescribeSecurityGroupAttributeResponse"`
		SecurityGroupName string
		InnerAccessPolicy string
		Permissions       struct{ Permission []struct{ Direction string } }
	}
	if err := xml.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	wantEqual(t, "name", answer.SecurityGroupName, "a & b")
	wantEqual(t, "policy", answer.InnerAccessPolicy, Accept)
	wantEqual(t, "rules", len(answer.Permissions.Permission), 2)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/?Action=DescribeRegions&Version="+ecsVersion, nil)
	if err != nil {
		t.Fatal(err)
	}
	status, body = sendRaw(t, request)
	var refusal struct {
		XMLName                          xml.Name `xml:"Error"`
		RequestId, HostId, Code, Message string
		Recommend                        string
	}
	if err := xml.Unmarshal([]byte(body), &refusal); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	wantEqual(t, "status", status, 400)
	wantEqual(t, "code", refusal.Code, "MissingParameter")
	if refusal.RequestId == "" || refusal.HostId == "" || refusal.Message == "" || refusal.Recommend == "" {
		t.Errorf("incomplete: %+v", refusal)
	}
}

func TestCallLogHoldsNoSecrets(t *testing.T) {
	key := Key{ID: "STS.k", Secret: "the-secret", Token: "the-token"}
	s, url := startServer(t, Options{Keys: []Key{key}, CallLog: 2})
	for _, sdk := range allSDKs {
		params := modifyParams("Drop", "ct-1")
		params["AccessKeySecret"] = key.Secret
		wantSuccess(t, sdk.do(t, url, key, "ModifySecurityGroupPolicy", params))
	}
	text := fmt.Sprintf("%+v", s.Calls())
	for _, secret := range []string{key.Secret, key.Token, "Signature="} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the log: %s", secret, text)
		}
	}
	wantEqual(t, "bounded log", len(s.Calls()), 2)
	wantEqual(t, "count", s.CallCount("ModifySecurityGroupPolicy"), 3)
	call := s.Calls()[1]
	wantEqual(t, "client token", call.ClientToken, "ct-1")
	wantEqual(t, "key", call.AccessKeyID, key.ID)
	wantEqual(t, "account", call.Account, DefaultAccount)
	s.ResetCalls()
	wantEqual(t, "count after reset", s.CallCount(""), 0)
}
