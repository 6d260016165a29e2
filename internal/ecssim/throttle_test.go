package ecssim

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// A refused call tells its code and what it says of when to come back.
type denied struct {
	Code, RetryAfter, AcsRetryAfter, RateLimit string
}

func take(s *Server, account, region, action string) denied {
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal := s.quotas.take(s.now(), quotaKey{account, region, action})
	if refusal == nil {
		return denied{}
	}
	return denied{refusal.code, refusal.header["Retry-After"], refusal.header["x-acs-retry-after"], refusal.header["x-ratelimit-user-api"]}
}

func TestQuotaIsCountedInFixedMinutes(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 58, 500_000_000, time.UTC)
	s := New(Options{Now: func() time.Time { return now }})
	s.SetLimits([]Limit{{PerWindow: 2, RetryAfter: true, AcsRetryAfter: true, RateLimitHeader: true}})
	ok := denied{}
	throttled := denied{"Throttling.User", "2", "1500", "Limit:2,Remain:0,TimeLeft:1500,Reset:2"}
	wantEqual(t, "first", take(s, "a", "r", "x"), ok)
	wantEqual(t, "second", take(s, "a", "r", "x"), ok)
	wantEqual(t, "third", take(s, "a", "r", "x"), throttled)
	wantEqual(t, "other account", take(s, "b", "r", "x"), ok)
	wantEqual(t, "other region", take(s, "a", "q", "x"), ok)
	wantEqual(t, "other action", take(s, "a", "r", "y"), ok)
	now = now.Add(1500 * time.Millisecond)
	wantEqual(t, "next minute", take(s, "a", "r", "x"), ok)
	s.Consume("a", "r", "x", 1)
	wantEqual(t, "after another tool's call", take(s, "a", "r", "x").Code, "Throttling.User")
}

func TestQuotaPerSecond(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	s := New(Options{Now: func() time.Time { return now }})
	s.SetLimits([]Limit{{Action: "x", QPS: 10, Burst: 2, Code: "Throttling.Api", AcsRetryAfter: true}})
	for _, want := range []denied{{}, {}, {Code: "Throttling.Api", AcsRetryAfter: "100"}} {
		wantEqual(t, "burst", take(s, "a", "r", "x"), want)
	}
	wantEqual(t, "action without a limit", take(s, "a", "r", "y"), denied{})
	now = now.Add(100 * time.Millisecond)
	wantEqual(t, "a tenth of a second later", take(s, "a", "r", "x"), denied{})
	now = now.Add(time.Hour)
	s.Consume("a", "r", "x", 3)
	wantEqual(t, "another tool was faster", take(s, "a", "r", "x"), denied{"Throttling.Api", "", "200", ""})
}

func TestThrottledCallIsRefusedToEverySDK(t *testing.T) {
	s, url := startServer(t, Options{})
	s.SetLimits([]Limit{{Action: "ModifySecurityGroupPolicy", PerWindow: 1, RetryAfter: true, Window: time.Hour}})
	s.Consume("", testRegion, "ModifySecurityGroupPolicy", 1)
	for _, sdk := range allSDKs {
		wantRefusal(t, sdk.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "")), 400, "Throttling.User")
		wantSuccess(t, sdk.do(t, url, testKey, "DescribeSecurityGroupAttribute", readParams()))
	}
	wantEqual(t, "effects", len(s.Effects(testRegion, testGroup)), 0)
	header := http.Header{}
	spy := roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			header = response.Header
		}
		return response, err
	})
	_ = darabonba("", spy)(context.WithoutCancel(t.Context()), url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", ""))
	if header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After in %v", header)
	}
	s.SetLimits(nil)
	wantSuccess(t, headerSDK.do(t, url, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "")))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
