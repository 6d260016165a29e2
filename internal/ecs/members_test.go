package ecs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestAnInterfaceIsReadWithAllItsAddresses(t *testing.T) {
	client, sim := newClient(t)
	sim.PutInterface(ecssim.Interface{Region: "cn-hangzhou", ID: "eni-1", VpcID: "vpc-1", InstanceID: "i-1", Type: "Trunk", Status: "Attaching", Name: "pods", Groups: []string{"sg-1", "sg-2"},
		Addresses: []string{"10.0.0.1", "10.0.0.2", "2001:db8::1"}, Prefixes: []string{"10.1.0.0/28", "2001:db8:1::/80"}, Tags: map[string]string{"k": "v", "ack.aliyun.com": "c1"}})
	page, wait, err := client.Interfaces(t.Context(), "cn-hangzhou", ecs.Members{SecurityGroupID: "sg-1"}, "", ratelimit.Edit)
	if err != nil || wait > 0 || page.Next != "" {
		t.Fatalf("%v, %v, %q", err, wait, page.Next)
	}
	want := []ecs.Interface{{ID: "eni-1", Type: "Trunk", Status: "Attaching", Name: "pods", InstanceID: "i-1", VpcID: "vpc-1", GroupIDs: []string{"sg-1", "sg-2"},
		Prefixes: prefixes("10.0.0.1/32", "10.0.0.2/32", "2001:db8::1/128", "10.1.0.0/28", "2001:db8:1::/80"), ACKCluster: "c1"}}
	if diff := cmp.Diff(want, page.Items, comparePrefixes); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestMembersAreReadPageByPage(t *testing.T) {
	client, sim := newClient(t)
	var ids []string
	for n := range 620 {
		sim.PutInterface(ecssim.Interface{Region: "cn-hangzhou", ID: fmt.Sprintf("eni-%03d", n), VpcID: "vpc-1"})
		if n < 90 {
			ids = append(ids, fmt.Sprintf("i-%02d", n))
		}
	}
	first, _, err := client.Interfaces(t.Context(), "cn-hangzhou", ecs.Members{VpcID: "vpc-1"}, "", ratelimit.Edit)
	if err != nil || len(first.Items) != 500 || first.Next == "" {
		t.Fatalf("%d, %q, %v", len(first.Items), first.Next, err)
	}
	second, _, err := client.Interfaces(t.Context(), "cn-hangzhou", ecs.Members{VpcID: "vpc-1"}, first.Next, ratelimit.Edit)
	if err != nil || len(second.Items) != 120 || second.Next != "" {
		t.Fatalf("%d, %q, %v", len(second.Items), second.Next, err)
	}
	sim.PutInstance(ecssim.Instance{Region: "cn-hangzhou", ID: "i-07", VpcID: "vpc-1", Groups: []string{"sg-1"}, Tags: map[string]string{"ack.aliyun.com": "c1"}})
	found, _, err := client.Instances(t.Context(), "cn-hangzhou", ecs.Members{InstanceIDs: ids}, "", ratelimit.Edit)
	want := []ecs.Instance{{ID: "i-07", VpcID: "vpc-1", GroupIDs: []string{"sg-1"}, ACKCluster: "c1"}}
	if diff := cmp.Diff(want, found.Items); err != nil || diff != "" {
		t.Errorf("%v -want +got\n%s", err, diff)
	}
}

func TestAPrefixListIsRead(t *testing.T) {
	client, sim := newClient(t)
	sim.PutPrefixList(ecssim.PrefixList{Region: "cn-hangzhou", ID: "pl-1", Entries: []string{"10.0.0.0/8", "2001:db8::/32"}})
	entries, _, err := client.PrefixList(t.Context(), "cn-hangzhou", "pl-1", ratelimit.Edit)
	if err != nil || !slices.Equal(entries, prefixes("10.0.0.0/8", "2001:db8::/32")) {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestTheRulesOfAGroupComeWithItsPolicy(t *testing.T) {
	client, sim := newClient(t)
	sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: "sg-1", Policy: "Drop", Name: "web", Description: "front", VpcID: "vpc-1", OwnRules: []ecssim.Rule{
		{ID: "sgr-1", Protocol: "TCP", Ports: "22/22", Priority: 7, CIDR: "10.0.0.0/8", To: "10.0.0.1/32"}, {Direction: "egress", CIDR: "0.0.0.0/0"},
		{ID: "sgr-2", Policy: "Drop", GroupID: "sg-2"}, {ID: "sgr-3", PrefixListID: "pl-1"}, {ID: "sgr-4", CIDR: "not one"}, {ID: "sgr-5"},
	}})
	asked := group
	asked.Rules = true
	got, _, err := client.Observe(t.Context(), asked, ratelimit.Edit)
	want := ecs.Observation{Policy: ecs.Drop, Name: "web", Description: "front", VpcID: "vpc-1", Rules: []ecs.Rule{
		{ID: "sgr-1", Accept: true, Priority: 7, Protocol: "TCP", Ports: "22/22", From: prefixes("10.0.0.0/8"), To: prefixes("10.0.0.1/32")},
		{ID: "sgr-2", Priority: 1, Protocol: "ALL", Ports: "-1/-1", FromGroup: "sg-2"},
		{ID: "sgr-3", Accept: true, Priority: 1, Protocol: "ALL", Ports: "-1/-1", FromList: "pl-1"},
		{ID: "sgr-4", Accept: true, Priority: 1, Protocol: "ALL", Ports: "-1/-1", Unknown: true},
		{ID: "sgr-5", Accept: true, Priority: 1, Protocol: "ALL", Ports: "-1/-1", Unknown: true},
	}}
	if diff := cmp.Diff(want, got, comparePrefixes); err != nil || diff != "" {
		t.Errorf("%v -want +got\n%s", err, diff)
	}
	if calls := sim.Calls(); len(calls) != 1 || calls[0].Params["MaxResults"] != "1000" {
		t.Errorf("%d calls: %+v", len(calls), calls)
	}
	sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: "sg-1", Policy: "Drop", Rules: 4002})
	if got, _, err = client.Observe(t.Context(), asked, ratelimit.Edit); err != nil || len(got.Rules) != 1000 || !got.MoreRules {
		t.Errorf("of 2,001 rules %d were read, more: %v, %v", len(got.Rules), got.MoreRules, err)
	}
}

// TestAPolicyIsReadThoughItsRulesAreNot: what is kept as declared does not depend on a verdict.
func TestAPolicyIsReadThoughItsRulesAreNot(t *testing.T) {
	for name, rules := range map[string]string{"none": "", "no list": `,"Permissions":{"Permission":"none"}`, "a rule of another form": `,"Permissions":{"Permission":[{"SourceCidrIp":10}]}`} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(`{"RequestId":"R","SecurityGroupId":"sg-1","InnerAccessPolicy":"Drop"` + rules + `}`))
			}))
			t.Cleanup(server.Close)
			asked := group
			asked.Rules = true
			got, _, err := clientOf(t, server.URL).Observe(t.Context(), asked, ratelimit.Edit)
			if err != nil || got.Policy != ecs.Drop || !got.MoreRules {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestGroupsAreFoundByATagOfAnyValue(t *testing.T) {
	client, sim := newClient(t)
	sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: "sg-ack", Tags: map[string]string{"ack.aliyun.com": "c1"}})
	ids, err := rest(t, client.ListTagged("cn-hangzhou", "ack.aliyun.com"), nil)
	if err != nil || !slices.Equal(ids, []string{"sg-ack"}) {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestAnAnswerThatIsNotTheActionsIsNoEmptyList(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"RequestId":"R"}`)) }))
	t.Cleanup(server.Close)
	client := clientOf(t, server.URL)
	_, _, err := client.Interfaces(t.Context(), "cn-hangzhou", ecs.Members{VpcID: "vpc-1"}, "", ratelimit.Edit)
	_ = wantError(t, err, ecs.Unavailable, ecs.CodeInvalidResponse)
	_, _, err = client.Instances(t.Context(), "cn-hangzhou", ecs.Members{VpcID: "vpc-1"}, "", ratelimit.Edit)
	_ = wantError(t, err, ecs.Unavailable, ecs.CodeInvalidResponse)
	_, _, err = client.PrefixList(t.Context(), "cn-hangzhou", "pl-1", ratelimit.Edit)
	_ = wantError(t, err, ecs.Unavailable, ecs.CodeInvalidResponse)
}
