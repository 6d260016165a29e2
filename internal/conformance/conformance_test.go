package conformance

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

var update = flag.Bool("update", false, "write the simulator's claims into docs/simulator.md")

const (
	region  = "cn-hangzhou"
	vpc     = "vpc-1"
	foreign = "sg-somebodys"
)

type key ecs.Credential

func (k key) Credential(context.Context, string) (ecs.Credential, error) {
	return ecs.Credential(k), nil
}
func (key) Unused(string)                            {}
func (key) Judge(string, ecs.Credential, *ecs.Error) {}

// world is a simulator with a group of somebody else's, and the options of a run on it.
func world(t *testing.T) (*ecssim.Server, Options) {
	t.Helper()
	sim := ecssim.New(ecssim.Options{
		Keys: []ecssim.Key{
			{ID: "LTAIown", Secret: "own-secret"},
			{ID: "LTAIsecond", Secret: "second-secret", Deny: []string{ecs.ActionModify}},
		},
		Groups: []ecssim.Group{{Region: region, ID: foreign, VpcID: vpc, Policy: "Drop", Tags: map[string]string{"owner": "somebody"}}},
	})
	url, stop, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	endpoint, err := ecs.ParseEndpoint(url, false)
	if err != nil {
		t.Fatal(err)
	}
	with := func(id, secret, token string) *ecs.Client {
		return ecs.New(ecs.Options{
			Credentials: key{AccessKeyID: id, AccessKeySecret: secret, SecurityToken: token}, Endpoint: endpoint, Timeout: 10 * time.Second, QPS: 10000, Burst: 10000,
		})
	}
	return sim, Options{
		Region: region, VPC: vpc, Version: "test", Now: time.Now, Patience: 200 * time.Millisecond,
		Clients: Clients{
			Own: with("LTAIown", "own-secret", ""), Second: with("LTAIsecond", "second-secret", ""),
			UnknownKey: with("LTAIunknown", "unknown-secret", ""), WrongSecret: with("LTAIown", "wrong-secret", ""),
			WrongToken: with("LTAIown", "own-secret", "no-token"),
		},
	}
}

func mustRun(t *testing.T, o Options) *Report {
	t.Helper()
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// finding is what became of one check.
func (r *Report) finding(t *testing.T, id string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.ID == id {
			return f
		}
	}
	t.Fatalf("there is no check %s", id)
	return Finding{}
}

// onlySomebodys fails if anything is left of a run, or of somebody else's group is not.
func onlySomebodys(t *testing.T, sim *ecssim.Server) {
	t.Helper()
	groups := sim.Groups()
	if len(groups) != 1 || groups[0].ID != foreign || groups[0].Policy != "Drop" || len(groups[0].Tags) != 1 {
		t.Errorf("there are %+v", groups)
	}
	if effects := sim.Effects(region, foreign); len(effects) > 0 {
		t.Errorf("somebody else's group was changed: %+v", effects)
	}
}

// The simulator does what it claims, all of which stands in docs/simulator.md.
func TestTheSimulatorsClaims(t *testing.T) {
	sim, o := world(t)
	// The other reads of a run are fewer than this burst, and the reads at once are more.
	sim.SetLimits([]ecssim.Limit{{Action: ecs.ActionObserve, QPS: 10, Burst: 300, AcsRetryAfter: true}})
	o.Clients.Fast, o.AboveRate = o.Clients.Own, 5000
	report := mustRun(t, o)
	for _, f := range report.Findings {
		if f.Verdict == Different || f.Verdict == Failed {
			t.Errorf("%s: %s: %s: %s", f.Verdict, f.ID, f.Assumed, f.Seen)
		}
		if f.Verdict == Same && len(f.RequestIDs) == 0 {
			t.Errorf("%s has no RequestId", f.ID)
		}
	}
	if len(report.Findings) != len(Checks()) || len(report.Left) > 0 {
		t.Errorf("%d of %d checks were made, and %d groups are left", len(report.Findings), len(Checks()), len(report.Left))
	}
	onlySomebodys(t, sim)
	compareClaims(t, report)
}

const (
	guide      = "../../docs/simulator.md"
	claimsFrom = "<!-- conformance: begin -->\n"
	claimsTo   = "<!-- conformance: end -->\n"
)

func compareClaims(t *testing.T, report *Report) {
	t.Helper()
	var table strings.Builder
	row(&table, "check", "assumed of ECS", "the simulator", "source")
	row(&table, "---", "---", "---", "---")
	for _, f := range report.Findings {
		does := f.Seen
		if f.Verdict == NotChecked {
			does = "not checked: " + does
		}
		row(&table, "`"+f.ID+"`", f.Assumed, does, string(f.Source))
	}
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), claimsFrom)
	claims, after, ended := strings.Cut(rest, claimsTo)
	if !begun || !ended {
		t.Fatalf("%s has no lines %q and %q", guide, claimsFrom, claimsTo)
	}
	if *update {
		if err := os.WriteFile(guide, []byte(before+claimsFrom+table.String()+claimsTo+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if claims != table.String() {
		t.Errorf("the table of %s is not current: go test ./internal/conformance -run TestTheSimulatorsClaims -update", guide)
	}
}

func TestEveryCheckHasANameOfItsOwn(t *testing.T) {
	named := map[string]bool{}
	for _, c := range Checks() {
		if c.ID == "" || named[c.ID] || c.Assumed == "" || c.Source != Documented && c.Source != Assumed {
			t.Errorf("%+v", c)
		}
		named[c.ID] = true
	}
}

// Alibaba Cloud's pages list these codes for the calls that the operator and its commands
// make. What a call with a valid signature can provoke is provoked.
func TestEveryDocumentedCodeIsProvoked(t *testing.T) {
	var assumed strings.Builder
	for _, c := range Checks() {
		assumed.WriteString(c.Assumed + "\n")
	}
	for of, codes := range map[string][]string{
		ecs.ActionModify: {
			"MissingParamter.RegionId", "InvalidSecurityGroupId.Malformed", "InvalidPolicy.Malformed", "InvalidOperation.ResourceManagedByCloudProduct",
			"InvalidSecurityGroupId.NotFound", "InvalidParameter.InnerAccessPolicy", "InvalidOwner",
		},
		ecs.ActionObserve: {
			"InvalidNicType.ValueNotSupported", "InvalidParamter", "MissingParameter.RegionId", "InvalidParameter.AttributeNotSupported", "InvalidRegionId.NotFound",
		},
		ecs.ActionList: {"InValidParameter.NextToken", "InvalidParameter.SecurityGroupType", "DryRunOperation"},
		actionTag:      {"NumberExceed.ResourceIds", "NumberExceed.Tags", "Duplicate.TagKey", "InvalidTagKey.Malformed", "OperationDenied.QuotaExceed", "InvalidResourceId.NotFound"},
		"ClientToken":  {"IdempotentParameterMismatch", "InvalidClientToken.ValueNotSupported"},
		"every call":   {"InvalidAction.NotFound", "InvalidAccessKeyId.NotFound", "SignatureDoesNotMatch", "InvalidSecurityToken.Malformed", "Forbidden.RAM"},
	} {
		for _, code := range codes {
			if !strings.Contains(assumed.String(), "`"+code+"`") {
				t.Errorf("%s: no check expects %s", of, code)
			}
		}
	}
}

// Nothing is written to a group that the run has not made, whatever a check asks for.
func TestNoGroupOfSomebodyElseIsEverWrittenTo(t *testing.T) {
	sim, o := world(t)
	r := newRun(o)
	for name, c := range map[string]struct {
		action string
		p      params
	}{
		"a change":           {ecs.ActionModify, r.with("SecurityGroupId", foreign, "InnerAccessPolicy", "Accept")},
		"a deletion":         {actionDelete, r.with("SecurityGroupId", foreign)},
		"a tag":              {actionTag, r.with("ResourceType", "securitygroup", "ResourceId.1", foreign, "Tag.1.Key", "x")},
		"a tag taken away":   {actionUntag, r.with("ResourceType", "securitygroup", "ResourceId.7", foreign, "TagKey.1", "owner")},
		"a group of no name": {actionCreate, r.group("x", "SecurityGroupName", "web")},
		"a group of no tag":  {actionCreate, r.group("x", "Tag.1.Key", "other")},
		"another action":     {"AuthorizeSecurityGroup", r.with("SecurityGroupId", foreign)},
	} {
		if _, err := r.call(t.Context(), c.action, c.p); !errors.Is(err, errNotOwn) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if calls := sim.Calls(); len(calls) > 0 {
		t.Errorf("calls were made: %+v", calls)
	}
	onlySomebodys(t, sim)
}

// A service that does other things than assumed.
func TestWhatDiffersIsSaid(t *testing.T) {
	sim, o := world(t)
	sim.SetReadLag(ecssim.ReadLag{Reads: 2})
	sim.Inject(ecssim.Fault{Kind: ecssim.Error, Action: "UntagResources", Status: 400, Code: "Another.Code", Message: "LTAIown own-secret"})
	sim.Inject(ecssim.Fault{Kind: ecssim.Error, Action: "TagResources", Status: 403, Code: "Forbidden.RAM"})
	report := mustRun(t, o)
	for id, want := range map[string]struct {
		verdict Verdict
		seen    string
	}{
		"lag-drop": {Different, "read 3 shows it"},
		"untag":    {Different, "UntagResources: `Another.Code` (HTTP 400)"},
		"tag":      {Failed, "TagResources: `Forbidden.RAM` (HTTP 403): allow ecs:TagResources to the key in RAM"},
		// Late reads are not taken for a change that should not have come.
		"token-other-policy": {Same, "`IdempotentParameterMismatch` (HTTP 400); the group is Accept"},
		"token-late":         {Same, "success; the group is Accept"},
		"modify-gone":        {Same, "`InvalidSecurityGroupId.NotFound` (HTTP 404)"},
		"event-fields":       {NotChecked, "needs EventBridge"},
	} {
		if f := report.finding(t, id); f.Verdict != want.verdict || f.Seen != want.seen {
			t.Errorf("%s: %s: %s", id, f.Verdict, f.Seen)
		}
	}
	text := report.Markdown()
	for _, line := range []string{"**different**", "**could not be checked**", "3 made, 0 left behind"} {
		if !strings.Contains(text, line) {
			t.Errorf("the report has no %q:\n%s", line, text)
		}
	}
	if strings.Contains(text, "LTAI") || strings.Contains(text, "own-secret") {
		t.Error("a key shows")
	}
	onlySomebodys(t, sim)
}

// A second key whose permission has a condition, as RAM has them and the simulator has not.
func TestAPermissionUnderATagIsTriedWithoutAndWithIt(t *testing.T) {
	sim, o := world(t)
	o.SecondKeyTag, o.Patience = Tag{"team", "a"}, 10*time.Second
	go func() {
		for t.Context().Err() == nil {
			for _, call := range sim.Calls() {
				if call.Action == actionTag && call.Params["Tag.1.Key"] == "team" && call.Params["Tag.1.Value"] == "a" {
					sim.PutKey(ecssim.Key{ID: "LTAIsecond", Secret: "second-secret"})
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	}()
	report := mustRun(t, o)
	if f := report.finding(t, "ram-tag"); f.Verdict != Same || f.Seen != "without: `Forbidden.RAM` (HTTP 403), with: success" {
		t.Errorf("%s: %s", f.Verdict, f.Seen)
	}
	onlySomebodys(t, sim)
}

// A change that takes longer to show than anybody waits for.
func TestAChangeThatDoesNotShowIsGivenUp(t *testing.T) {
	sim, o := world(t)
	o.Patience = 5 * time.Millisecond
	sim.SetReadLag(ecssim.ReadLag{For: time.Hour})
	report := mustRun(t, o)
	if f := report.finding(t, "lag-drop"); f.Verdict != Different || f.Seen != "no read shows it within 5ms" {
		t.Errorf("%s: %s", f.Verdict, f.Seen)
	}
	onlySomebodys(t, sim)
}

// What fails for a moment says nothing, and is asked again.
func TestWhatPassesIsTriedAgain(t *testing.T) {
	t.Parallel()
	sim, o := world(t)
	for _, action := range []string{actionCreate, ecs.ActionModify, actionDelete} {
		sim.Inject(ecssim.Fault{Kind: ecssim.ResetAfter, Action: action, Times: 1})
	}
	sim.Inject(ecssim.Fault{Kind: ecssim.Throttle, Action: ecs.ActionList, Times: 2})
	report := mustRun(t, o)
	if report.Count(Different)+report.Count(Failed) > 0 {
		t.Error(report.Markdown())
	}
	onlySomebodys(t, sim)
}

func TestAStoppedRunDeletesWhatItMade(t *testing.T) {
	for name, stop := range map[string]ecssim.Fault{
		"in a check":                        {Kind: ecssim.HangBefore, Action: ecs.ActionModify},
		"before the first group is known":   {Kind: ecssim.HangAfter, Action: actionCreate, Delay: 50 * time.Millisecond},
		"while the third group is made":     {Kind: ecssim.HangInside, Action: actionCreate, Skip: 8, Delay: 50 * time.Millisecond},
		"in the deletion that it checks":    {Kind: ecssim.HangBefore, Action: actionDelete, Times: 1},
		"after the deletion that it checks": {Kind: ecssim.HangAfter, Action: actionDelete, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			sim, o := world(t)
			sim.Inject(stop)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for !struck(sim) && t.Context().Err() == nil {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			report, _ := Run(ctx, o)
			for end := time.Now().Add(2 * time.Second); making(sim) && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if len(report.Findings) == len(Checks()) || len(report.Left) > 0 {
				t.Errorf("%d checks were made, left is %v", len(report.Findings), report.Left)
			}
			onlySomebodys(t, sim)
		})
	}
}

// making tells whether a group may come yet.
func making(sim *ecssim.Server) bool {
	for _, call := range sim.Calls() {
		if call.Action == actionCreate && call.Status == 0 {
			return true
		}
	}
	return false
}

// struck tells whether a fault has struck a call.
func struck(sim *ecssim.Server) bool {
	for _, call := range sim.Calls() {
		if call.Fault != "" {
			return true
		}
	}
	return false
}

// A group whose creation was never answered is found by its tag.
func TestAGroupThatNobodyWasToldOfIsDeletedToo(t *testing.T) {
	t.Parallel()
	sim, o := world(t)
	sim.Inject(ecssim.Fault{Kind: ecssim.ResetAfter, Action: actionCreate})
	report, err := Run(t.Context(), o)
	if err == nil || len(report.Left) > 0 {
		t.Errorf("got %v, left is %v", err, report.Left)
	}
	onlySomebodys(t, sim)
}

func TestWhatCannotBeDeletedIsNamed(t *testing.T) {
	sim, o := world(t)
	sim.Inject(ecssim.Fault{Kind: ecssim.Error, Action: actionDelete, Status: 403, Code: "DependencyViolation"})
	report := mustRun(t, o)
	if len(report.Left) != 3 || report.Made != 3 {
		t.Fatalf("made %d, left %v", report.Made, report.Left)
	}
	for _, left := range report.Left {
		if _, there := sim.Group(region, left.ID); !there {
			t.Errorf("%s is not there", left.ID)
		}
	}
	sim.ClearFaults()
	if deleted, left, err := CleanUp(t.Context(), o, report.RunID); deleted != 3 || len(left) > 0 || err != nil {
		t.Errorf("deleted %d, left %v: %v", deleted, left, err)
	}
	onlySomebodys(t, sim)
}

// Only what bears both the name and the tag of a run that has ended is deleted.
func TestCleaningUpKeepsWhatNoRunHasLeft(t *testing.T) {
	sim, o := world(t)
	now := time.Now().UTC()
	old, young := now.Add(-2*time.Hour).Format(timeForm)+"-old", now.Add(-time.Minute).Format(timeForm)+"-young"
	for id, g := range map[string]ecssim.Group{
		"sg-old":      {Name: namePrefix + old + "-basic", Tags: map[string]string{TagKey: old}},
		"sg-young":    {Name: namePrefix + young + "-basic", Tags: map[string]string{TagKey: young}},
		"sg-renamed":  {Name: "web", Tags: map[string]string{TagKey: old}},
		"sg-untagged": {Name: namePrefix + old + "-basic"},
		"sg-odd":      {Name: namePrefix + "-", Tags: map[string]string{TagKey: ""}},
	} {
		g.Region, g.ID = region, id
		sim.PutGroup(g)
	}
	if deleted, left, err := CleanUp(t.Context(), o, ""); deleted != 1 || len(left) > 0 || err != nil {
		t.Errorf("deleted %d, left %v: %v", deleted, left, err)
	}
	if _, there := sim.Group(region, "sg-old"); there || len(sim.Groups()) != 5 {
		t.Errorf("there are %+v", sim.Groups())
	}
}
