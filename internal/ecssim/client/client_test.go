package client_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ecssim/client"
)

const region = "cn-hangzhou"

func start(t *testing.T) (*ecssim.Server, *client.Client) {
	t.Helper()
	server := ecssim.New(ecssim.Options{})
	url, stop, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return server, client.New(url + "/")
}

// succeed fails the test at the first call that does.
func succeed(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(ecssim.Key{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// call makes a call and returns its entry in the log: one of STS that needs no
// signature, or with a key, whose secret is taken to be "s", one of ECS.
func call(t *testing.T, c *client.Client, key string) ecssim.Call {
	t.Helper()
	before := time.Now().Add(-time.Millisecond)
	parameters := url.Values{"Action": {"AssumeRoleWithOIDC"}, "Version": {"2015-04-01"}, "RoleArn": {role.ARN}, "OIDCProviderArn": {role.OIDCProviderARN},
		"OIDCToken": {"token"}, "RoleSessionName": {"session"}, "DurationSeconds": {"7200"}}
	if key != "" {
		parameters = url.Values{"Action": {"DescribeRegions"}, "Version": {"2014-05-26"}, "AccessKeyId": {key}, "SignatureMethod": {"HMAC-SHA1"},
			"SignatureVersion": {"1.0"}, "SignatureNonce": {rand.Text()}, "Timestamp": {before.UTC().Format(time.RFC3339)}}
		mac := hmac.New(sha1.New, []byte("s&"))
		_, _ = mac.Write([]byte("GET&%2F&" + url.QueryEscape(parameters.Encode())))
		parameters.Set("Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+"/?"+parameters.Encode(), nil)
	succeed(t, err)
	if response, err := http.DefaultClient.Do(request); err == nil {
		succeed(t, response.Body.Close())
	}
	calls, err := c.Calls(t.Context(), parameters.Get("Action"), before)
	succeed(t, err)
	if len(calls) == 0 {
		t.Fatal("the call is not in the log")
	}
	return calls[len(calls)-1]
}

var role = ecssim.Role{ARN: "acs:ram::42:role/r", OIDCProviderARN: "acs:ram::42:oidc-provider/p", MaxDuration: 2 * time.Hour}

func TestGroupsAreMadeChangedAndRemoved(t *testing.T) {
	server, c := start(t)
	ctx := t.Context()
	group := ecssim.Group{Region: region, ID: "sg-1", Policy: ecssim.Drop, Account: "42", Name: "n", VpcID: "vpc-1",
		Enterprise: true, Managed: true, Rules: 3, Tags: map[string]string{"a": "b"}}
	succeed(t, c.Healthy(ctx), c.PutGroups(ctx, group, ecssim.Group{Region: region, ID: "sg-2"}))
	groups, err := c.Groups(ctx)
	succeed(t, err)
	equal(t, "groups", groups, server.Groups())
	got, err := c.Group(ctx, region, "sg-1")
	succeed(t, err, c.SetPolicy(ctx, region, "sg-2", ecssim.Drop))
	equal(t, "group", got, group)
	effects, err := c.Effects(ctx, region, "sg-2")
	succeed(t, err)
	equal(t, "effects", effects, server.Effects(region, "sg-2"))
	if len(effects) != 1 || effects[0].To != ecssim.Drop || effects[0].ByAPI {
		t.Errorf("effects %+v", effects)
	}
	succeed(t, c.DeleteGroup(ctx, region, "sg-2"))
	if _, there := server.Group(region, "sg-2"); there {
		t.Error("the group is still there")
	}
}

func TestInstancesInterfacesAndListsComeAndGo(t *testing.T) {
	server, c := start(t)
	ctx := t.Context()
	succeed(t, c.PutInstances(ctx, ecssim.Instance{Region: region, ID: "i-1", Groups: []string{"sg-1"}}, ecssim.Instance{Region: region, ID: "i-2"}),
		c.PutInterfaces(ctx, ecssim.Interface{Region: region, ID: "eni-1"}, ecssim.Interface{Region: region, ID: "eni-2", Groups: []string{"sg-1"}}),
		c.PutPrefixLists(ctx, ecssim.PrefixList{Region: region, ID: "pl-1", Entries: []string{"10.0.0.0/8"}}))
	equal(t, "interfaces", server.Interfaces(region), []string{"eni-1", "eni-2", "eni-primary-i-1", "eni-primary-i-2"})
	succeed(t, c.DeleteInstance(ctx, region, "i-2"), c.DeleteInterface(ctx, region, "eni-1"))
	equal(t, "interfaces that are left", server.Interfaces(region), []string{"eni-2", "eni-primary-i-1"})
	if err := c.PutPrefixLists(ctx, ecssim.PrefixList{Region: region, ID: "pl-2", Entries: []string{"all"}}); err == nil {
		t.Error("a list with an entry that is no CIDR block is taken")
	}
}

func TestKeysAndRolesComeAndGo(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	equal(t, "code without a role", call(t, c, "").Code, "EntityNotExist.Role")
	succeed(t, c.PutRoles(ctx, role), c.PutKeys(ctx, ecssim.Key{ID: "AK/1", Secret: "s", Account: "42"}, ecssim.Key{ID: "AK2", Secret: "s", Deny: []string{"*"}}))
	equal(t, "code with a role whose sessions may take two hours", call(t, c, "").Code, "")
	equal(t, "account of a known key", call(t, c, "AK/1").Account, "42")
	equal(t, "code of a key that RAM refuses", call(t, c, "AK2").Code, "Forbidden.RAM")
	succeed(t, c.DeleteKey(ctx, "AK/1"))
	equal(t, "code of a removed key", call(t, c, "AK/1").Code, "InvalidAccessKeyId.NotFound")
}

func TestCallsAreListedByActionAndTime(t *testing.T) {
	server, c := start(t)
	ctx := t.Context()
	call(t, c, "")
	call(t, c, "AK")
	all, err := c.Calls(ctx, "", time.Time{})
	succeed(t, err)
	equal(t, "calls", all, server.Calls())
	one, err := c.Calls(ctx, "DescribeRegions", time.Time{})
	succeed(t, err)
	none, err := c.Calls(ctx, "", time.Now().Add(time.Hour))
	succeed(t, err)
	equal(t, "calls of one action, and of the future", []int{len(one), len(none)}, []int{1, 0})
	succeed(t, c.ResetCalls(ctx))
	equal(t, "calls after the reset", len(server.Calls()), 0)
}

func TestWhatGoesWrongIsWhatWasAskedFor(t *testing.T) {
	server, c := start(t)
	ctx := t.Context()
	succeed(t, c.PutRoles(ctx, role))
	ids, err := c.Inject(ctx, ecssim.Fault{Kind: ecssim.Error, Code: "Mine", Times: 1}, ecssim.Fault{Kind: ecssim.HangBefore, Times: 1, Delay: time.Millisecond})
	succeed(t, err)
	equal(t, "numbers of the faults", ids, []int{1, 2})
	equal(t, "code of the first fault", call(t, c, "").Code, "Mine")
	equal(t, "fault of the second", call(t, c, "").Fault, ecssim.HangBefore)
	_, err = c.Inject(ctx, ecssim.Fault{Kind: ecssim.HTML})
	succeed(t, err, c.ClearFaults(ctx))
	equal(t, "code without faults", call(t, c, "").Code, "")

	succeed(t, c.PutKeys(ctx, ecssim.Key{ID: "AK", Secret: "s"}),
		c.SetLimits(ctx, ecssim.Limit{PerWindow: 5, Window: 24 * time.Hour, Code: "Throttling.Mine"}), c.Consume(ctx, "", "", "DescribeRegions", 4))
	equal(t, "code of the last call of a quota", call(t, c, "AK").Code, "")
	equal(t, "code of the next", call(t, c, "AK").Code, "Throttling.Mine")
	succeed(t, c.SetLimits(ctx, ecssim.Limit{QPS: 0.001}))
	equal(t, "code within the burst", call(t, c, "").Code, "")
	equal(t, "code beyond it", call(t, c, "").Code, "Throttling.User")
	succeed(t, c.SetLimits(ctx))
	equal(t, "code without limits", call(t, c, "").Code, "")

	succeed(t, c.SetLatency(ctx, 30*time.Millisecond))
	begun := time.Now()
	if call(t, c, ""); time.Since(begun) < 30*time.Millisecond {
		t.Error("the latency has no effect")
	}
	succeed(t, c.PutGroups(ctx, ecssim.Group{Region: region, ID: "sg-1"}), c.SetReadLag(ctx, ecssim.ReadLag{For: time.Hour, Reads: 2, Region: region}),
		c.SetLatency(ctx, 0))
	_, err = c.Inject(ctx, ecssim.Fault{Kind: ecssim.HangAfter, Times: 1})
	succeed(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		call(t, c, "")
	}()
	for calls := server.Calls(); calls[len(calls)-1].Fault != ecssim.HangAfter; calls = server.Calls() {
		succeed(t, ctx.Err())
	}
	for hangs := true; hangs; {
		succeed(t, c.Release(ctx))
		select {
		case <-done:
			hangs = false
		case <-time.After(time.Millisecond): // it may not have begun to hang
		}
	}
}

func TestErrorsNameWhatIsWrong(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	_, groupErr := c.Group(ctx, region, "sg/none")
	_, faultErr := c.Inject(ctx, ecssim.Fault{Kind: "Explode"})
	for _, test := range []struct {
		err    error
		status int
		says   []string
	}{
		{groupErr, 404, []string{"GET /_sim/groups/cn-hangzhou/sg%2Fnone", "sg/none", "create it"}},
		{c.SetPolicy(ctx, region, "sg-1", ecssim.Drop), 404, []string{"sg-1"}},
		{c.PutGroups(ctx, ecssim.Group{Region: region, ID: "sg-1"}, ecssim.Group{ID: "sg-2"}), 400, []string{"POST /_sim/groups", "element 1", "region"}},
		{c.SetPolicy(ctx, region, "sg-1", "Open"), 400, []string{"Open", "Accept or Drop"}},
		{c.PutKeys(ctx, ecssim.Key{ID: "AK"}), 400, []string{"secret"}},
		{c.PutRoles(ctx, ecssim.Role{ARN: "admin"}), 400, []string{"admin", "acs:ram::"}},
		{c.SetLimits(ctx, ecssim.Limit{}), 400, []string{"perWindow"}},
		{c.Consume(ctx, "", region, "DescribeRegions", 0), 400, []string{"n 0"}},
		{c.SetReadLag(ctx, ecssim.ReadLag{For: -time.Second}), 400, []string{"for", "-1s"}},
		{c.SetLatency(ctx, -time.Second), 400, []string{"latency"}},
		{faultErr, 400, []string{"Explode"}},
	} {
		refused, ok := errors.AsType[*client.Error](test.err)
		if !ok || refused.Status != test.status {
			t.Errorf("%v, want status %d", test.err, test.status)
			continue
		}
		for _, part := range test.says {
			if !strings.Contains(refused.Error(), part) {
				t.Errorf("%q is missing in %q", part, refused)
			}
		}
	}
}

func TestAnotherServerIsNotTakenForASimulator(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/_sim/healthz":
			_, _ = w.Write([]byte(`{}`))
		case "/_sim/groups":
			_, _ = w.Write([]byte(`<html>`))
		default:
			http.Error(w, "Bad Gateway", http.StatusBadGateway)
		}
	}))
	c := client.New(page.URL)
	_, groups := c.Groups(t.Context())
	for err, word := range map[error]string{c.Healthy(t.Context()): "is not one", groups: "not the control API's", c.Release(t.Context()): "502: Bad Gateway"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v, want a word of %q", err, word)
		}
	}
	page.Close()
	if err := c.Healthy(t.Context()); err == nil || !strings.Contains(err.Error(), page.URL) {
		t.Errorf("%v, want the address", err)
	}
}
