package ecssim

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// seen is what a fault makes of one Modify, seen from the client.
type seen struct {
	Status    int
	Effect    bool
	Err       bool
	BodyStart string
	BodySize  int
}

func TestFaultsAsTheClientSeesThem(t *testing.T) {
	for _, test := range []struct {
		fault Fault
		want  seen
	}{
		{Fault{Kind: Throttle}, seen{Status: 400, BodyStart: `{"RequestId"`}},
		{Fault{Kind: Error}, seen{Status: 500, BodyStart: `{"RequestId"`}},
		{Fault{Kind: Error, Status: 503, Code: "ServiceUnavailable", Effect: true}, seen{Status: 503, Effect: true, BodyStart: `{"RequestId"`}},
		{Fault{Kind: HangBefore, Delay: time.Millisecond}, seen{Status: 200, Effect: true, BodyStart: `{"RequestId"`}},
		{Fault{Kind: HangInside, Delay: time.Millisecond}, seen{Status: 200, Effect: true, BodyStart: `{"RequestId"`}},
		{Fault{Kind: HangAfter, Delay: time.Millisecond}, seen{Status: 200, Effect: true, BodyStart: `{"RequestId"`}},
		{Fault{Kind: ResetBefore}, seen{Err: true}},
		{Fault{Kind: ResetAfter}, seen{Err: true, Effect: true}},
		{Fault{Kind: HTML}, seen{Status: 502, BodyStart: "<html><head>"}},
		{Fault{Kind: HTML, Status: 200, Effect: true}, seen{Status: 200, Effect: true, BodyStart: "<html><head>"}},
		{Fault{Kind: Truncated, Effect: true}, seen{Status: 200, Effect: true, Err: true, BodyStart: `{"RequestId"`}},
		{Fault{Kind: BrokenJSON}, seen{Status: 200, BodyStart: `{"RequestId"`}},
		{Fault{Kind: Giant, Size: 1 << 20}, seen{Status: 200, BodyStart: `{"RequestId"`, BodySize: 1 << 20}},
		{Fault{Kind: Empty}, seen{Status: 200}},
		{Fault{Kind: NoContent}, seen{Status: 204}},
		{Fault{Kind: WrongJSON}, seen{Status: 200, BodyStart: "{}"}},
	} {
		t.Run(string(test.fault.Kind), func(t *testing.T) {
			s, url := startServer(t, Options{})
			test.fault.Times = 1
			s.Inject(test.fault)
			var got seen
			size := 0
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			spy := roundTripper(func(r *http.Request) (*http.Response, error) {
				response, err := transport.RoundTrip(r)
				if err != nil {
					got.Err = true
					return nil, err
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				got.Status, got.Err, size = response.StatusCode, err != nil, len(body)
				got.BodyStart = string(body[:min(len(body), 12)])
				response.Body = io.NopCloser(strings.NewReader(string(body)))
				return response, err
			})
			_ = darabonba("", spy)(t.Context(), url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", ""))
			got.Effect = len(s.Effects(testRegion, testGroup)) == 1
			if test.want.BodySize > 0 {
				got.BodySize = size
			}
			wantEqual(t, "seen", got, test.want)
			wantEqual(t, "logged fault", s.Calls()[0].Fault, test.fault.Kind)
			s.SetPolicy(testRegion, testGroup, Accept)
			wantSuccess(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "")))
		})
	}
}

func TestResetIsSeenAsAReset(t *testing.T) {
	s, url := startServer(t, Options{})
	s.Inject(Fault{Kind: ResetBefore})
	r := headerSDK.do(t, url, testKey, "DescribeRegions", nil)
	if !errors.Is(r.err, syscall.ECONNRESET) && !errors.Is(r.err, io.EOF) {
		t.Errorf("got %v", r.err)
	}
}

func TestClientThatLeavesAHangingCall(t *testing.T) {
	for _, test := range []struct {
		kind                   FaultKind
		effect, effectReleased bool
	}{
		{HangBefore, false, false}, {HangInside, false, true}, {HangAfter, true, true},
	} {
		t.Run(string(test.kind), func(t *testing.T) {
			s, url := startServer(t, Options{})
			s.Inject(Fault{Kind: test.kind, Times: 1})
			ctx, leave := context.WithCancel(t.Context())
			left := make(chan reply, 1)
			go func() {
				left <- headerSDK.call(ctx, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", ""))
			}()
			await(t, "the call hangs", func() bool {
				calls := s.Calls()
				return len(calls) == 1 && calls[0].Fault == test.kind &&
					(len(s.Effects(testRegion, testGroup)) == 1) == test.effect
			})
			leave()
			if r := <-left; !errors.Is(r.err, context.Canceled) {
				t.Fatalf("got %v", r.err)
			}
			wantSuccess(t, headerSDK.do(t, url, testKey, "DescribeSecurityGroupAttribute", readParams()))
			wantEqual(t, "effect before the release", len(s.Effects(testRegion, testGroup)) == 1, test.effect)
			s.Release()
			if test.effectReleased {
				await(t, "the late effect", func() bool { return len(s.Effects(testRegion, testGroup)) == 1 })
			}
		})
	}
}

func TestFaultsStrikeTheCallsThatTheyAreFor(t *testing.T) {
	s, url := startServer(t, Options{})
	s.Inject(Fault{Kind: Error, Action: "DescribeRegions"})
	s.Inject(Fault{Kind: Error, Region: "cn-beijing"})
	s.Inject(Fault{Kind: Error, GroupID: "sg-other"})
	s.Inject(Fault{Kind: Error, AccessKeyID: "other"})
	s.Inject(Fault{Kind: Throttle, Action: "DescribeSecurityGroupAttribute", Skip: 1, Times: 2})
	var codes []string
	for range 5 {
		codes = append(codes, headerSDK.do(t, url, testKey, "DescribeSecurityGroupAttribute", readParams()).code)
	}
	wantEqual(t, "codes", codes, []string{"", "Throttling.User", "Throttling.User", "", ""})
	wantRefusal(t, headerSDK.do(t, url, testKey, "DescribeRegions", nil), 500, "InternalError")
	s.ClearFaults()
	wantSuccess(t, headerSDK.do(t, url, testKey, "DescribeRegions", nil))
}

func TestImprobableFaultsAreRepeatable(t *testing.T) {
	strikes := func(seed uint64) (pattern string) {
		s := New(Options{})
		s.Inject(Fault{Kind: Error, Probability: 0.5, Seed: seed})
		for range 64 {
			if s.faults.next(&call{log: &Call{}}) != nil {
				pattern += "x"
			} else {
				pattern += "."
			}
		}
		return pattern
	}
	wantEqual(t, "same seed", strikes(1), strikes(1))
	if strikes(1) == strikes(2) || !strings.Contains(strikes(1), "x") || !strings.Contains(strikes(1), ".") {
		t.Errorf("seed 1 %s, seed 2 %s", strikes(1), strikes(2))
	}
}

func TestReadsLagBehindAChange(t *testing.T) {
	clock := &movableClock{}
	s, url := startServer(t, Options{Now: clock.Now})
	read := func() string {
		t.Helper()
		r := headerSDK.do(t, url, testKey, "DescribeSecurityGroupAttribute", readParams())
		wantSuccess(t, r)
		return r.text("InnerAccessPolicy")
	}
	modify := func(policy string) {
		t.Helper()
		wantSuccess(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams(policy, "")))
	}
	s.SetReadLag(ReadLag{Reads: 2})
	modify("Drop")
	wantEqual(t, "reads", []string{read(), read(), read()}, []string{Accept, Accept, Drop})

	s.SetReadLag(ReadLag{For: time.Minute})
	modify("Accept")
	wantEqual(t, "within the minute", read(), Drop)
	group, _ := s.Group(testRegion, testGroup)
	wantEqual(t, "in truth", group.Policy, Accept)
	clock.Advance(time.Minute)
	wantEqual(t, "after it", read(), Accept)

	modify("Drop")
	s.SetPolicy(testRegion, testGroup, Accept)
	wantEqual(t, "a change behind everyone's back shows at once", read(), Accept)

	s.SetReadLag(ReadLag{})
	modify("Drop")
	wantEqual(t, "without lag", read(), Drop)
	wantEqual(t, "not by API", s.Effects(testRegion, testGroup)[3].ByAPI, false)
}

func TestLatencyDelaysEveryCall(t *testing.T) {
	s, url := startServer(t, Options{Latency: 20 * time.Millisecond})
	start := time.Now()
	wantSuccess(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "")))
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
	s.SetLatency(0)
	wantSuccess(t, headerSDK.do(t, url, testKey, "DescribeRegions", nil))
}

func TestStopEndsHangingCalls(t *testing.T) {
	s := New(Options{Keys: []Key{testKey}, Groups: []Group{{Region: testRegion, ID: testGroup}}})
	url, stop, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	s.Inject(Fault{Kind: HangBefore})
	done := make(chan reply, 1)
	ctx := t.Context()
	go func() { done <- headerSDK.call(ctx, url, testKey, "DescribeRegions", nil) }()
	await(t, "the call hangs", func() bool { return s.CallCount("DescribeRegions") == 1 })
	stop()
	if r := <-done; r.err == nil {
		t.Error("answered by a server that has stopped")
	}
}
