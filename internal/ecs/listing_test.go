package ecs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// fleet adds groups to the one that a client of a simulator has.
func fleet(sim *ecssim.Server, n int) {
	for i := range n {
		sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: fmt.Sprintf("sg-%04d", i)})
	}
}

// rest reads a listing to its end, and calls between before each further page.
func rest(t *testing.T, l *ecs.Listing, between func(page int)) (ids []string, err error) {
	t.Helper()
	for page := 0; !l.Done(); {
		if between != nil {
			between(page)
		}
		groups, wait, err := l.Next(t.Context(), ratelimit.Edit)
		if err != nil {
			return ids, err
		}
		if wait > 0 {
			time.Sleep(wait)
			continue
		}
		page++
		for _, g := range groups {
			ids = append(ids, g.SecurityGroupID)
		}
	}
	return ids, nil
}

func TestAListingHasEveryGroupOnce(t *testing.T) {
	client, sim := newClient(t)
	fleet(sim, 250)
	sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: "sg-all", Name: "web 前端", VpcID: "vpc-1", Enterprise: true, Managed: true, Tags: map[string]string{"env": "生产"}})
	sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: "sg-foreign", Account: "2000000000000002"})
	ids, err := rest(t, client.List("cn-hangzhou", ""), nil)
	if err != nil || len(ids) != 252 || slices.Contains(ids, "sg-foreign") {
		t.Fatalf("%d groups, %v", len(ids), err)
	}
	if calls := sim.Calls(); len(calls) != 3 || calls[0].Params["MaxResults"] != "100" {
		t.Errorf("%d calls: %+v", len(calls), calls)
	}

	one := client.List("cn-hangzhou", "vpc-1")
	groups, _, err := one.Next(t.Context(), ratelimit.Edit)
	if err != nil || len(groups) != 1 || !one.Done() {
		t.Fatalf("%+v, %v", groups, err)
	}
	if g := groups[0]; g.Name != "web 前端" || g.VpcID != "vpc-1" || !g.Enterprise || !g.Managed || g.Tags["env"] != "生产" {
		t.Errorf("%+v", g)
	}
}

func TestAPageThatRepeatsAGroupListsItOnce(t *testing.T) {
	client, sim := newClient(t)
	fleet(sim, 150)
	ids, err := rest(t, client.List("cn-hangzhou", ""), func(page int) {
		if page == 1 { // what comes before the first page's end moves that to the second
			sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: "sg-0000-new"})
		}
	})
	slices.Sort(ids)
	if err != nil || len(ids) != 151 || len(slices.Compact(ids)) != 151 {
		t.Errorf("%d groups, %v", len(ids), err)
	}
}

func TestAPageTokenThatExpiresBeginsTheListingAnew(t *testing.T) {
	client, sim := newClient(t)
	fleet(sim, 250)
	expired := ecssim.Fault{Kind: ecssim.Error, Action: ecs.ActionList, Status: 400, Code: "InValidParameter.NextToken", Times: 1, Skip: 1}
	sim.Inject(expired)
	ids, err := rest(t, client.List("cn-hangzhou", ""), nil)
	slices.Sort(ids)
	if err != nil || len(ids) != 251 || len(slices.Compact(ids)) != 251 {
		t.Errorf("%d groups, %v", len(ids), err)
	}

	expired.Times, expired.Skip = 0, 0
	sim.ClearFaults()
	l := client.List("cn-hangzhou", "")
	_, err = rest(t, l, func(page int) {
		if page == 1 && l.Seen() == 100 {
			sim.Inject(ecssim.Fault{Kind: ecssim.Error, Action: ecs.ActionList, Status: 400, Code: "InValidParameter.NextToken"})
		}
	})
	_ = wantError(t, err, ecs.Invalid, "InValidParameter.NextToken")
}

func TestAListingIsLimitedLikeEveryAction(t *testing.T) {
	client, sim := newClient(t, func(o *ecs.Options) { o.QPS, o.Burst = 20, 1 })
	fleet(sim, 450)
	begun := time.Now()
	ids, err := rest(t, client.List("cn-hangzhou", ""), nil)
	if took := time.Since(begun); err != nil || len(ids) != 451 || took < 150*time.Millisecond {
		t.Errorf("%d groups in %v, %v", len(ids), took, err)
	}
}

func TestAFailedPageIsTypedAndCanBeReadAgain(t *testing.T) {
	client, sim := newClient(t)
	fleet(sim, 150)
	l := client.List("cn-hangzhou", "")
	for _, c := range []struct {
		fault ecssim.Fault
		class ecs.Class
		code  string
	}{
		{ecssim.Fault{Kind: ecssim.Throttle}, ecs.Throttled, "Throttling.User"},
		{ecssim.Fault{Kind: ecssim.Error, Status: 403, Code: "Forbidden.RAM"}, ecs.Denied, "Forbidden.RAM"},
		{ecssim.Fault{Kind: ecssim.WrongJSON}, ecs.Unavailable, ecs.CodeInvalidResponse},
		{ecssim.Fault{Kind: ecssim.BrokenJSON}, ecs.Unavailable, ecs.CodeInvalidResponse},
		{ecssim.Fault{Kind: ecssim.Giant}, ecs.Unavailable, ecs.CodeInvalidResponse},
		{ecssim.Fault{Kind: ecssim.Error, Message: "echo " + secret + " " + keyID}, ecs.Unavailable, "InternalError"},
	} {
		c.fault.Times = 1
		sim.Inject(c.fault)
		for { // a refusal for rate makes the next call wait
			_, wait, err := l.Next(t.Context(), ratelimit.Finish)
			if wait > 0 {
				time.Sleep(wait)
				continue
			}
			_ = wantError(t, err, c.class, c.code)
			break
		}
	}
	if ids, err := rest(t, l, nil); err != nil || len(ids) != 151 {
		t.Errorf("%d groups, %v", len(ids), err)
	}
	_, _, err := client.List("cn-nowhere", "").Next(t.Context(), ratelimit.Edit)
	_ = wantError(t, err, ecs.Invalid, ecs.CodeUnknownRegion)
}

func TestAListIsNotTakenFromAnAnswerThatIsNone(t *testing.T) {
	for _, body := range []string{
		`{"RegionId":"cn-beijing","SecurityGroups":{"SecurityGroup":[]}}`,
		`{"SecurityGroups":{"SecurityGroup":[{"SecurityGroupId":"../../etc/passwd"}]}}`,
		`{"SecurityGroups":{"SecurityGroup":[{"SecurityGroupName":"no id"}]}}`,
		`{"SecurityGroups":[]}`,
		`{"NextToken":"x"}`,
		`[]`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		_, _, err := clientOf(t, server.URL).List("cn-hangzhou", "").Next(t.Context(), ratelimit.Edit)
		_ = wantError(t, err, ecs.Unavailable, ecs.CodeInvalidResponse)
		server.Close()
	}
}

func TestPagesThatLeadInACircleEnd(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = fmt.Fprintf(w, `{"NextToken":"page-%d","SecurityGroups":{"SecurityGroup":[]}}`, calls%3)
	}))
	defer server.Close()
	_, err := rest(t, clientOf(t, server.URL).List("cn-hangzhou", ""), nil)
	if e := wantError(t, err, ecs.Unavailable, ecs.CodeInvalidResponse); !strings.Contains(e.Message, "do not end") || calls > 4 {
		t.Errorf("%d calls: %v", calls, e)
	}
}

// A page of ECS may be larger than any other answer.
func TestAPageMayHoldManyLongTags(t *testing.T) {
	client, sim := newClient(t)
	for i := range 99 {
		tags := map[string]string{}
		for n := range 20 {
			tags[fmt.Sprint(strings.Repeat("键", 100), n)] = strings.Repeat("值", 128)
		}
		sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: fmt.Sprintf("sg-%02d", i), Tags: tags})
	}
	if ids, err := rest(t, client.List("cn-hangzhou", ""), nil); err != nil || len(ids) != 100 {
		t.Errorf("%d groups, %v", len(ids), err)
	}
}
