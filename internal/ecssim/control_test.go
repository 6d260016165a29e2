package ecssim

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func control(t testing.TB, base, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, base+"/_sim/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return sendRaw(t, request)
}

// A web page that somebody looks at on this machine can send requests to it, and a name
// of its own can lead here.
func TestControlAPIIsForThisMachineAndNotForItsBrowser(t *testing.T) {
	const isJSON = "application/json"
	for name, test := range map[string]struct {
		method, host, remote, contentType, origin, body string

		any  bool
		want int
	}{
		"a tool here":                         {method: "PUT", contentType: isJSON, want: 204},
		"JSON in UTF-8":                       {method: "PUT", contentType: isJSON + "; charset=utf-8", want: 204},
		"over IPv6":                           {method: "PUT", contentType: isJSON, host: "[::1]:18080", remote: "[::1]:5000", want: 204},
		"by name":                             {method: "PUT", contentType: isJSON, host: "localhost:18080", want: 204},
		"a question here":                     {method: "GET", want: 200},
		"a form of a page":                    {method: "POST", contentType: "application/x-www-form-urlencoded", want: 415},
		"a text of a page":                    {method: "POST", contentType: "text/plain", want: 415},
		"a body of no type":                   {method: "PUT", want: 415},
		"no body of no type":                  {method: "POST", body: "-", want: 204},
		"a page that may send JSON":           {method: "PUT", contentType: isJSON, origin: "https://evil.test", want: 403},
		"a page of another server here":       {method: "PUT", contentType: isJSON, origin: "http://127.0.0.1:3000", want: 403},
		"a page of nobody":                    {method: "PUT", contentType: isJSON, origin: "null", want: 403},
		"a page without a body":               {method: "POST", body: "-", origin: "https://evil.test", want: 403},
		"a page of its own":                   {method: "PUT", contentType: isJSON, origin: "http://127.0.0.1:18080", want: 204},
		"a foreign name that leads here":      {method: "GET", host: "evil.test:18080", want: 403},
		"a name like ours that leads here":    {method: "GET", host: "localhost.evil.test", want: 403},
		"another machine":                     {method: "PUT", contentType: isJSON, host: "10.0.0.7:18080", remote: "10.0.0.9:5000", want: 403},
		"another machine that says it is not": {method: "GET", remote: "10.0.0.9:5000", want: 403},
		"another machine, allowed":            {method: "PUT", contentType: isJSON, host: "simulator.test:18080", remote: "10.0.0.9:5000", any: true, want: 204},
		"a page, with any machine allowed":    {method: "PUT", contentType: isJSON, host: "simulator.test:18080", origin: "https://evil.test", any: true, want: 403},
		"a form, with any machine allowed":    {method: "PUT", contentType: "text/plain", any: true, want: 415},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Options{ControlFromAny: test.any, Groups: []Group{{Region: testRegion, ID: testGroup}}})
			path, body := "/_sim/groups/"+testRegion+"/"+testGroup, `{"policy":"Drop"}`
			switch {
			case test.body == "-":
				path, body = "/_sim/release", ""
			case test.method == "PUT":
				path += "/policy"
			case test.method == "POST":
				path, body = "/_sim/groups", `{"region":"`+testRegion+`","id":"`+testGroup+`","policy":"Drop"}`
			}
			r := httptest.NewRequest(test.method, path, strings.NewReader(body))
			r.Host, r.RemoteAddr = cmp.Or(test.host, "127.0.0.1:18080"), cmp.Or(test.remote, "127.0.0.1:5000")
			for name, value := range map[string]string{"Content-Type": test.contentType, "Origin": test.origin} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != test.want || w.Code >= 400 && !strings.Contains(w.Body.String(), "docs/simulator.md") {
				t.Errorf("%d %s, want %d", w.Code, w.Body, test.want)
			}
			if group, _ := s.Group(testRegion, testGroup); test.want >= 400 && group.Policy != Accept {
				t.Error("refused, and changed all the same")
			}
		})
	}
}

func TestControlAPIDoesWhatTheMethodsDo(t *testing.T) {
	s, base := startServer(t, Options{Groups: []Group{}, Keys: []Key{}})
	do := func(method, path, body string) string {
		t.Helper()
		status, answer := control(t, base, method, path, body)
		if status/100 != 2 {
			t.Fatalf("%s %s: %d %s", method, path, status, answer)
		}
		return answer
	}
	do("POST", "keys", `{"id":"LTAItest","secret":"very-secret"}`)
	do("POST", "groups", `{"region":"cn-hangzhou","id":"`+testGroup+`","policy":"drop","rules":3,"tags":{"a":"b"}}`)
	do("POST", "groups", `[{"region":"cn-beijing","id":"sg-1"},{"region":"cn-beijing","id":"sg-2","managed":true}]`)
	var groups []Group
	if err := json.Unmarshal([]byte(do("GET", "groups", "")), &groups); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "groups", groups, []Group{
		{Region: "cn-beijing", ID: "sg-1", Policy: Accept, Account: DefaultAccount},
		{Region: "cn-beijing", ID: "sg-2", Policy: Accept, Account: DefaultAccount, Managed: true},
		{Region: testRegion, ID: testGroup, Policy: Drop, Account: DefaultAccount, Rules: 3, Tags: map[string]string{"a": "b"}},
	})
	do("DELETE", "groups/cn-beijing/sg-2", "")
	do("PUT", "groups/"+testRegion+"/"+testGroup+"/policy", `{"policy":"Accept"}`)
	do("PUT", "readlag", `{"reads":1,"for":"2s"}`)
	do("PUT", "latency", `{"latency":"1ms"}`)
	wantSuccess(t, headerSDK.do(t, base, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "")))
	var effects []Effect
	if err := json.Unmarshal([]byte(do("GET", "effects/"+testRegion+"/"+testGroup, "")), &effects); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "effects", len(effects), 2)
	read := headerSDK.do(t, base, testKey, "DescribeSecurityGroupAttribute", readParams())
	wantEqual(t, "lagging read", read.text("InnerAccessPolicy"), Accept)

	var calls []Call
	since := url.QueryEscape(time.Now().Add(-time.Minute).Format(time.RFC3339Nano))
	if err := json.Unmarshal([]byte(do("GET", "calls?action=ModifySecurityGroupPolicy&since="+since, "")), &calls); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "calls", len(calls), 1)
	wantEqual(t, "effect", calls[0].Effect, true)

	if ids := do("POST", "faults", `{"kind":"Error","times":1,"delay":"1s","header":{"x-a":"b"}}`); !strings.Contains(ids, `"ids":[1]`) {
		t.Errorf("numbers of the faults: %s", ids)
	}
	wantRefusal(t, headerSDK.do(t, base, testKey, "DescribeRegions", nil), 500, "InternalError")
	do("POST", "faults", `[{"kind":"HTML"},{"kind":"Empty"}]`)
	do("DELETE", "faults", "")
	do("POST", "release", "")
	do("PUT", "limits", `[{"perWindow":10,"window":"24h","action":"DescribeRegions"}]`)
	do("POST", "consume", `{"action":"DescribeRegions","n":10}`)
	wantRefusal(t, headerSDK.do(t, base, testKey, "DescribeRegions", nil), 400, "Throttling.User")
	do("PUT", "limits", `[]`)
	do("POST", "roles", `{"arn":"`+testRole+`","maxDuration":"2h"}`)
	wantSuccess(t, headerSDK.do(t, base, testKey, "AssumeRole", map[string]string{
		"RoleArn": testRole, "RoleSessionName": "session", "DurationSeconds": "7200"}))
	do("DELETE", "calls", "")
	wantEqual(t, "calls after the reset", len(s.Calls()), 0)
	do("DELETE", "keys/LTAItest", "")
	wantRefusal(t, headerSDK.do(t, base, testKey, "DescribeRegions", nil), 404, "InvalidAccessKeyId.NotFound")
}

func TestControlAPISaysWhatIsWrong(t *testing.T) {
	_, base := startServer(t, Options{})
	for _, test := range []struct {
		method, path, body string
		status             int
		says               []string
	}{
		{"POST", "groups", `{"region":"cn-hangzhou","id":"sg-1","polcy":"Drop"}`, 400, []string{"polcy", "docs/simulator.md"}},
		{"POST", "groups", `{"region":"cn-hangzhou"}`, 400, []string{"id", "letters"}},
		{"POST", "groups", `{"id":"sg-1"}`, 400, []string{"region", "cn-hangzhou"}},
		{"POST", "groups", `[{"region":"cn-hangzhou","id":"sg-1","policy":"Open"}]`, 400, []string{"element 0", "policy", "Accept or Drop"}},
		{"POST", "groups", `{"region":1}`, 400, []string{"region", "string"}},
		{"POST", "groups", ``, 400, []string{"body"}},
		{"POST", "groups", `{} {}`, 400, []string{"one JSON value"}},
		{"PUT", "groups/cn-hangzhou/sg-none/policy", `{"policy":"Drop"}`, 404, []string{"sg-none", "POST /_sim/groups"}},
		{"PUT", "groups/cn-hangzhou/" + testGroup + "/policy", `{"policy":"x"}`, 400, []string{"policy", "Accept or Drop"}},
		{"GET", "groups/cn-hangzhou/sg-none", ``, 404, []string{"sg-none"}},
		{"POST", "keys", `{"id":"x"}`, 400, []string{"secret"}},
		{"POST", "roles", `{"arn":"x"}`, 400, []string{"arn", "acs:ram::"}},
		{"POST", "roles", `{"arn":"` + testRole + `","maxDuration":"long"}`, 400, []string{"maxDuration", "2s"}},
		{"GET", "calls?since=yesterday", ``, 400, []string{"since", "2026"}},
		{"POST", "faults", `{"kind":"Explode"}`, 400, []string{"kind", "Explode"}},
		{"POST", "faults", `{"kind":"Error","status":99}`, 400, []string{"status", "200"}},
		{"POST", "faults", `{"kind":"Error","probability":2}`, 400, []string{"probability"}},
		{"POST", "faults", `{"kind":"HangBefore","delay":5}`, 400, []string{"delay", "string"}},
		{"PUT", "limits", `[{}]`, 400, []string{"perWindow", "qps"}},
		{"PUT", "readlag", `{"for":"-1s"}`, 400, []string{"for", "2s"}},
		{"PUT", "latency", `{"latency":"1 s"}`, 400, []string{"latency"}},
		{"POST", "consume", `{"n":0}`, 400, []string{"n ", "1 or more"}},
		{"PATCH", "groups", ``, 404, []string{"PATCH", "docs/simulator.md"}},
	} {
		t.Run(test.method+" "+test.path+" "+test.body, func(t *testing.T) {
			status, answer := control(t, base, test.method, test.path, test.body)
			wantEqual(t, "status", status, test.status)
			for _, part := range test.says {
				if !strings.Contains(answer, part) {
					t.Errorf("%q is missing in %s", part, answer)
				}
			}
		})
	}
}
