package ecssim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	openapiutil "github.com/alibabacloud-go/darabonba-openapi/v2/utils"
	"github.com/alibabacloud-go/tea/dara"
	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth"
	v1credentials "github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	v1errors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/google/go-cmp/cmp"
)

const (
	testRegion = "cn-hangzhou"
	testGroup  = "sg-bp1abcdefghijklmnop0"
)

var testKey = Key{ID: "LTAItest", Secret: "very-secret"}

// movableClock is the real time and a distance from it: the SDKs sign with the
// real one.
type movableClock struct{ ahead atomic.Int64 }

func (c *movableClock) Now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *movableClock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }

// startServer starts a server with the test key and an open test group, unless
// the options name others.
func startServer(t testing.TB, o Options) (*Server, string) {
	t.Helper()
	if o.Keys == nil {
		o.Keys = []Key{testKey}
	}
	if o.Groups == nil {
		o.Groups = []Group{{Region: testRegion, ID: testGroup}}
	}
	s := New(o)
	url, stop, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return s, url
}

// reply is what an SDK makes of an answer.
type reply struct {
	body      map[string]any
	code      string
	status    int
	message   string
	recommend string
	err       error
}

// text returns a value inside the answer, found by its path.
func (r reply) text(path ...string) string {
	var value any = r.body
	for _, name := range path {
		fields, _ := value.(map[string]any)
		value = fields[name]
	}
	text, _ := value.(string)
	return text
}

// caller is an official SDK with a way to sign.
type caller struct {
	name string
	call func(ctx context.Context, baseURL string, key Key, action string, params map[string]string) reply
}

func (c caller) do(t testing.TB, baseURL string, key Key, action string, params map[string]string) reply {
	t.Helper()
	return c.call(t.Context(), baseURL, key, action, params)
}

var (
	headerSDK = caller{"darabonba-openapi, V3 headers", darabonba("", http.DefaultTransport)}
	querySDK  = caller{"darabonba-openapi, V1 parameters", darabonba("v2", http.DefaultTransport)}
	oldSDK    = caller{"alibaba-cloud-sdk-go, V1 parameters", alibabaV1(http.DefaultTransport)}
	allSDKs   = []caller{headerSDK, querySDK, oldSDK}
)

func versionOf(action string) string {
	if strings.HasPrefix(action, "Assume") || action == "GetCallerIdentity" {
		return stsVersion
	}
	return ecsVersion
}

// transportClient gives an SDK a transport that the test can see.
type transportClient struct{ http.RoundTripper }

func (c transportClient) Call(r *http.Request, _ *http.Transport) (*http.Response, error) {
	return c.RoundTrip(r)
}

func darabonba(algorithm string, transport http.RoundTripper) func(context.Context, string, Key, string, map[string]string) reply {
	return func(ctx context.Context, baseURL string, key Key, action string, params map[string]string) reply {
		config := &openapiutil.Config{
			AccessKeyId: dara.String(key.ID), AccessKeySecret: dara.String(key.Secret),
			Protocol: dara.String("HTTP"), Endpoint: dara.String(strings.TrimPrefix(baseURL, "http://")),
			HttpClient: transportClient{transport},
		}
		if key.Token != "" {
			config.SecurityToken = dara.String(key.Token)
		}
		if algorithm != "" {
			config.SignatureAlgorithm = dara.String(algorithm)
		}
		client, err := openapi.NewClient(config)
		if err != nil {
			return reply{err: err}
		}
		authType := "AK"
		if action == "AssumeRoleWithOIDC" {
			authType = "Anonymous"
		}
		query := map[string]*string{}
		for name, value := range params {
			query[name] = dara.String(value)
		}
		result, err := client.CallApiWithCtx(ctx, &openapiutil.Params{
			Action: dara.String(action), Version: dara.String(versionOf(action)), Protocol: dara.String("HTTP"),
			Pathname: dara.String("/"), Method: dara.String("POST"), AuthType: dara.String(authType),
			Style: dara.String("RPC"), ReqBodyType: dara.String("formData"), BodyType: dara.String("json"),
		}, &openapiutil.OpenApiRequest{Query: query}, &dara.RuntimeOptions{})
		if refused, ok := errors.AsType[*tea.SDKError](err); ok {
			return reply{code: tea.StringValue(refused.Code), status: tea.IntValue(refused.StatusCode),
				message: tea.StringValue(refused.Message), err: err}
		}
		body, _ := result["body"].(map[string]any)
		return reply{body: body, err: err}
	}
}

func alibabaV1(transport http.RoundTripper) func(context.Context, string, Key, string, map[string]string) reply {
	return func(_ context.Context, baseURL string, key Key, action string, params map[string]string) reply {
		var credential auth.Credential = v1credentials.NewAccessKeyCredential(key.ID, key.Secret)
		if key.Token != "" {
			credential = v1credentials.NewStsTokenCredential(key.ID, key.Secret, key.Token)
		}
		client, err := sdk.NewClientWithOptions(testRegion, sdk.NewConfig(), credential)
		if err != nil {
			return reply{err: err}
		}
		client.SetTransport(transport)
		request := requests.NewCommonRequest()
		request.Scheme, request.Domain = "HTTP", strings.TrimPrefix(baseURL, "http://")
		request.Method, request.ApiName, request.Version = "POST", action, versionOf(action)
		// The old SDK adds RegionId by itself, and the form is where it is tested.
		for name, value := range params {
			request.FormParams[name] = value
		}
		response, err := client.ProcessCommonRequest(request)
		if refused, ok := errors.AsType[*v1errors.ServerError](err); ok {
			return reply{code: refused.ErrorCode(), status: refused.HttpStatus(), message: refused.Message(),
				recommend: refused.Recommend(), err: err}
		}
		if err != nil {
			return reply{err: err}
		}
		var body map[string]any
		err = json.Unmarshal(response.GetHttpContentBytes(), &body)
		return reply{body: body, err: err}
	}
}

// recorder keeps the last request that goes through it, ready to be sent again.
type recorder struct {
	request *http.Request
	body    []byte
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.body = nil
	if request.Body != nil {
		r.body, _ = io.ReadAll(request.Body)
	}
	r.request = request.Clone(context.WithoutCancel(request.Context()))
	request = request.Clone(request.Context())
	request.Body = io.NopCloser(strings.NewReader(string(r.body)))
	return http.DefaultTransport.RoundTrip(request)
}

// sendRaw sends a request as it is and returns the status and the body.
func sendRaw(t testing.TB, request *http.Request) (int, string) {
	t.Helper()
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func wantRefusal(t testing.TB, r reply, status int, code string) {
	t.Helper()
	if r.code != code || r.status != status {
		t.Errorf("got %d %q (%v), want %d %q", r.status, r.code, r.err, status, code)
	}
}

func wantSuccess(t testing.TB, r reply) {
	t.Helper()
	if r.err != nil {
		t.Fatalf("refused: %v", r.err)
	}
	if r.text("RequestId") == "" {
		t.Fatalf("no RequestId in %v", r.body)
	}
}

func wantEqual[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// await returns when the condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func modifyParams(policy, token string) map[string]string {
	params := map[string]string{"RegionId": testRegion, "SecurityGroupId": testGroup, "InnerAccessPolicy": policy}
	if token != "" {
		params["ClientToken"] = token
	}
	return params
}

func readParams() map[string]string {
	return map[string]string{"RegionId": testRegion, "SecurityGroupId": testGroup, "MaxResults": "10", "Direction": "egress"}
}
