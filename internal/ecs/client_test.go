package ecs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

const (
	keyID  = "LTAImarkedkeyid00000001"
	secret = "markedsecret0123456789abcdef"
	token  = "CAISmarkedtoken0123456789abcdef"
)

var group = ecs.Group{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1"}

type static ecs.Credential

func (s static) Credential(context.Context, string) (ecs.Credential, error) {
	return ecs.Credential(s), nil
}

func (static) Unused(string) {}

func (static) Judge(string, ecs.Credential, *ecs.Error) {}

// newClient returns a client of a simulator with one group.
func newClient(t *testing.T, edits ...func(*ecs.Options)) (*ecs.Client, *ecssim.Server) {
	t.Helper()
	sim := ecssim.New(ecssim.Options{
		Keys:   []ecssim.Key{{ID: keyID, Secret: secret}, {ID: keyID + "STS", Secret: secret, Token: token}},
		Groups: []ecssim.Group{{Region: "cn-hangzhou", ID: "sg-1", Policy: "Accept", Rules: 40}},
	})
	endpoint, stop, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return clientOf(t, endpoint, edits...), sim
}

func clientOf(t *testing.T, endpoint string, edits ...func(*ecs.Options)) *ecs.Client {
	t.Helper()
	e, err := ecs.ParseEndpoint(endpoint, false)
	if err != nil {
		t.Fatal(err)
	}
	o := ecs.Options{Credentials: static{AccessKeyID: keyID, AccessKeySecret: secret}, Endpoint: e, Timeout: 10 * time.Second, QPS: 10000, Burst: 10000}
	for _, edit := range edits {
		edit(&o)
	}
	return ecs.New(o)
}

// wantError checks class and code, and that nothing secret is said.
func wantError(t *testing.T, err error, class ecs.Class, code string) *ecs.Error {
	t.Helper()
	e, ok := errors.AsType[*ecs.Error](err)
	if !ok {
		t.Fatalf("got %v, want an *ecs.Error", err)
	}
	if e.Class != class || e.Code != code {
		t.Errorf("class %d, code %q; want %d, %q: %v", e.Class, e.Code, class, code, e)
	}
	for _, mark := range []string{keyID, secret, token} {
		if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, *e), mark) {
			t.Errorf("a secret shows: %v", e)
		}
	}
	return e
}

func TestObserveAndModify(t *testing.T) {
	for name, credential := range map[string]static{
		"with a key":   {AccessKeyID: keyID, AccessKeySecret: secret},
		"with a token": {AccessKeyID: keyID + "STS", AccessKeySecret: secret, SecurityToken: token},
	} {
		t.Run(name, func(t *testing.T) {
			c, sim := newClient(t, func(o *ecs.Options) { o.Credentials = credential })
			if got, _, err := c.Observe(t.Context(), group, ratelimit.Edit); err != nil || got.Policy != ecs.Accept {
				t.Fatalf("%q, %v", got.Policy, err)
			}
			owned := group
			owned.OwnerAccount = "owner@example.com"
			clientToken := ecs.NewClientToken()
			id, _, err := c.Modify(t.Context(), owned, ecs.Drop, clientToken)
			if err != nil || id == "" {
				t.Fatalf("%q, %v", id, err)
			}
			if again, _, err := c.Modify(t.Context(), owned, ecs.Drop, clientToken); err != nil || again != id {
				t.Errorf("repeated: %q, %v, want %q", again, err, id)
			}
			if got, _, err := c.Observe(t.Context(), group, ratelimit.Edit); err != nil || got.Policy != ecs.Drop {
				t.Errorf("afterwards %q, %v", got.Policy, err)
			}
			call := sim.Calls()[1]
			if call.Signature != "V3" || call.OwnerAccount != owned.OwnerAccount || call.Policy != ecs.Drop || call.ClientToken != clientToken || call.Region != "cn-hangzhou" {
				t.Errorf("the call was %+v", call)
			}
			if n := len(sim.Effects("cn-hangzhou", "sg-1")); n != 1 {
				t.Errorf("%d effects", n)
			}
		})
	}
}

func TestNothingIsSentToARegionThatNobodyKnows(t *testing.T) {
	for _, region := range []string{"oss-cn-hangzhou", "cn-hangzhou.evil.test", "cn-invented-7", ""} {
		t.Run(region, func(t *testing.T) {
			c, sim := newClient(t)
			g := ecs.Group{RegionID: region, SecurityGroupID: "sg-1"}
			_, _, err := c.Observe(t.Context(), g, ratelimit.Edit)
			_ = wantError(t, err, ecs.Invalid, "UnknownRegion")
			_, _, err = c.Modify(t.Context(), g, ecs.Drop, ecs.NewClientToken())
			_ = wantError(t, err, ecs.Invalid, "UnknownRegion")
			if calls := sim.Calls(); len(calls) != 0 {
				t.Errorf("%d calls, the first to %q", len(calls), calls[0].Region)
			}
		})
	}
}

func TestEveryKindOfWrongKeyIsDenied(t *testing.T) {
	for code, credential := range map[string]static{
		"InvalidAccessKeyId.NotFound":                {AccessKeyID: "LTAImarkedunknown000000", AccessKeySecret: secret},
		"SignatureDoesNotMatch":                      {AccessKeyID: keyID, AccessKeySecret: secret + "x"},
		"MissingSecurityToken":                       {AccessKeyID: keyID + "STS", AccessKeySecret: secret},
		"InvalidSecurityToken.Malformed":             {AccessKeyID: keyID + "STS", AccessKeySecret: secret, SecurityToken: "CAISother0123456789"},
		"InvalidSecurityToken.MismatchWithAccessKey": {AccessKeyID: keyID, AccessKeySecret: secret, SecurityToken: token},
	} {
		t.Run(code, func(t *testing.T) {
			c, _ := newClient(t, func(o *ecs.Options) { o.Credentials = credential })
			_, _, err := c.Observe(t.Context(), group, ratelimit.Edit)
			if e := wantError(t, err, ecs.Denied, code); e.RequestID == "" || e.HTTPStatus < 400 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestNoAnswerAtAll(t *testing.T) {
	t.Run("the caller gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		}))
		defer server.Close()
		_, _, err := clientOf(t, server.URL).Observe(ctx, group, ratelimit.Edit)
		if e := wantError(t, err, ecs.Unavailable, ecs.CodeCanceled); !errors.Is(e, context.Canceled) {
			t.Errorf("%v is not context.Canceled", err)
		}
	})
	t.Run("the time limit", func(t *testing.T) {
		c, sim := newClient(t, func(o *ecs.Options) { o.Timeout = 50 * time.Millisecond })
		sim.Inject(ecssim.Fault{Kind: ecssim.HangAfter})
		_, _, err := c.Modify(t.Context(), group, ecs.Drop, ecs.NewClientToken())
		if e := wantError(t, err, ecs.Unavailable, ecs.CodeTimeout); !errors.Is(e, context.DeadlineExceeded) {
			t.Errorf("%v is not context.DeadlineExceeded", err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		c := clientOf(t, "http://127.0.0.1:1")
		_, _, err := c.Observe(t.Context(), group, ratelimit.Edit)
		if e := wantError(t, err, ecs.Unavailable, ecs.CodeConnectionFailed); strings.Contains(e.Message, "RegionId") {
			t.Errorf("the query is in the message: %q", e.Message)
		}
	})
}

func TestAnswersThatAreNotECSs(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		class  ecs.Class
		code   string
		status int
	}{
		"an empty success": {func(http.ResponseWriter) {}, ecs.Unavailable, ecs.CodeInvalidResponse, 200},
		"another JSON":     {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"RequestId":"R"}`)) }, ecs.Unavailable, ecs.CodeInvalidResponse, 200},
		"another group": {func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"SecurityGroupId":"sg-2","InnerAccessPolicy":"Drop"}`))
		}, ecs.Unavailable, ecs.CodeInvalidResponse, 200},
		"another policy": {func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"SecurityGroupId":"sg-1","InnerAccessPolicy":"Deny"}`))
		}, ecs.Unavailable, ecs.CodeInvalidResponse, 200},
		"an error in a 200": {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"Code":"InternalError","Message":"m"}`)) }, ecs.Unavailable, "InternalError", 200},
		"an empty 503":      {func(w http.ResponseWriter) { w.WriteHeader(503) }, ecs.Unavailable, ecs.CodeInvalidResponse, 503},
		"an HTML 404": {func(w http.ResponseWriter) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte("<html><body>404</body></html>"))
		}, ecs.Unavailable, ecs.CodeInvalidResponse, 404},
		"a bare 429": {func(w http.ResponseWriter) { w.WriteHeader(429) }, ecs.Throttled, ecs.CodeInvalidResponse, 429},
		"a redirect": {func(w http.ResponseWriter) { w.Header().Set("Location", "https://127.0.0.1:1/"); w.WriteHeader(302) }, ecs.Unavailable, ecs.CodeInvalidResponse, 302},
		"an error in XML": {func(w http.ResponseWriter) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><RequestId>R</RequestId><Code>InvalidSecurityGroupId.NotFound</Code><Message>m</Message></Error>`))
		}, ecs.NotFound, "InvalidSecurityGroupId.NotFound", 404},
		"a code with markup": {func(w http.ResponseWriter) {
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"Code":"<script>","Message":"m"}`))
		}, ecs.Unavailable, ecs.CodeInvalidResponse, 400},
		"Throttling elsewhere in the code": {func(w http.ResponseWriter) {
			w.WriteHeader(503)
			_, _ = w.Write([]byte(`{"Code":"Rejected.Throttling","Message":"m"}`))
		},
			ecs.Throttled, "Rejected.Throttling", 503},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.answer(w) }))
			defer server.Close()
			_, _, err := clientOf(t, server.URL).Observe(t.Context(), group, ratelimit.Edit)
			if e := wantError(t, err, c.class, c.code); e.HTTPStatus != c.status {
				t.Errorf("status %d, want %d", e.HTTPStatus, c.status)
			}
		})
	}
}

func TestWaitsThatECSAnnouncesAreRead(t *testing.T) {
	for name, header := range map[string][2]string{
		"Retry-After":          {"Retry-After", "3"},
		"x-acs-retry-after":    {"x-acs-retry-after", "3000"},
		"x-ratelimit-user-api": {"x-ratelimit-user-api", "Limit:1,Remain:0,TimeLeft:3000,Reset:1234"},
		"x-ratelimit-user":     {"x-ratelimit-user", "Limit:1, Remain:0, TimeLeft:3000"},
	} {
		t.Run(name, func(t *testing.T) {
			c, sim := newClient(t)
			sim.Inject(ecssim.Fault{Kind: ecssim.Throttle, Header: map[string]string{header[0]: header[1]}})
			_, _, err := c.Observe(t.Context(), group, ratelimit.Edit)
			e, _ := errors.AsType[*ecs.Error](err)
			if e == nil || e.Class != ecs.Throttled || e.RetryAfter != 3*time.Second {
				t.Fatalf("%+v, want to wait 3 s", e)
			}
			if _, wait, err := c.Observe(t.Context(), group, ratelimit.Edit); err != nil || wait < 2*time.Second || sim.CallCount("") != 1 {
				t.Errorf("called again before the time: wait %v, %v, %d calls", wait, err, sim.CallCount(""))
			}
		})
	}
}

func TestManyCallsAtOnceShareConnections(t *testing.T) {
	c, sim := newClient(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				if _, _, err := c.Observe(t.Context(), group, ratelimit.Edit); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	remotes := map[string]bool{}
	for _, call := range sim.Calls() {
		remotes[call.Remote] = true
	}
	// A connection may be dialled for one who then takes another that has come free.
	if len(remotes) > 2*8 {
		t.Errorf("%d connections for 320 calls, 8 at a time", len(remotes))
	}
}

func TestCredentialsAreNeverPrinted(t *testing.T) {
	c := ecs.Credential{AccessKeyID: keyID, AccessKeySecret: secret, SecurityToken: token}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%v", ecs.Temporary{Credential: c})} {
		for _, mark := range []string{keyID, secret, token} {
			if strings.Contains(text, mark) {
				t.Errorf("printed: %s", text)
			}
		}
	}
}

func TestClientTokens(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		token := ecs.NewClientToken()
		if seen[token] || len(token) > 64 || strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			t.Fatalf("token %q", token)
		}
		seen[token] = true
	}
}
