package ecs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	openapiutil "github.com/alibabacloud-go/darabonba-openapi/v2/utils"
	"github.com/alibabacloud-go/tea/dara"

	"github.com/sgp-operator/sgp-operator/internal/metrics"
)

// request is one call. Without a credential it is sent unsigned.
type request struct {
	scheme, host    string
	region          string
	action, version string
	query           map[string]string
	form            map[string]string // sent in the body, never in the URL, and kept out of every message
	credential      *Credential
}

// answer is a successful answer.
type answer struct {
	status    int
	requestID string
	group     groupFields
	body      []byte
}

// groupFields are those of an answer about a group. They are read in one go with
// what every answer holds, since the rules beside them make most of the work.
type groupFields struct {
	SecurityGroupID   string `json:"SecurityGroupId"`
	SecurityGroupName string
	Description       string
	VpcID             string `json:"VpcId"`
	InnerAccessPolicy string
}

func (a *answer) invalid(action, message string) *Error {
	return &Error{Action: action, HTTPStatus: a.status, Code: CodeInvalidResponse, Message: message, RequestID: a.requestID, Class: Unavailable}
}

// maxBody bounds what is read of an answer: ten rules of a group take some ten
// kilobytes.
const maxBody = 1 << 20

// mostBody bounds what is read of an action's answer.
func mostBody(action string) int {
	switch action {
	case ActionList, ActionObserve: // with 1,000 rules
		return maxPage
	case ActionInterfaces, ActionInstances:
		return maxMembers
	}
	return maxBody
}

// maxHeader bounds what is read of an answer's headers.
const maxHeader = 64 << 10

const userAgent = "sgp-operator"

// client keeps the connections for all accounts and regions. It follows no
// redirect: a signed request is for the host that it was signed for.
var client = &http.Client{
	Transport:     newTransport(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          512,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		// An answer of ECS has less than 2 KiB of headers; Go's own bound is 10 MiB.
		MaxResponseHeaderBytes: maxHeader,
		// All calls to a host share one connection of HTTP/2, which the end of a call's
		// time does not close: without pings they would all run into one that is dead
		// until TCP gives it up, in a quarter of an hour.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// exchange is what came back.
type exchange struct {
	most      int // of the body, in bytes
	status    int
	header    http.Header
	body      []byte
	truncated bool
	err       error
}

// do sends a request and keeps the answer.
func (x *exchange) do(r *http.Request) {
	response, err := client.Do(r)
	if err != nil {
		x.err = err
		return
	}
	defer func() { _ = response.Body.Close() }()
	x.status, x.header = response.StatusCode, response.Header
	body := bytes.NewBuffer(make([]byte, 0, min(max(response.ContentLength, 0), int64(x.most))+bytes.MinRead))
	_, x.err = body.ReadFrom(io.LimitReader(response.Body, int64(x.most)+1))
	x.body = body.Bytes()
	x.truncated = len(x.body) > x.most
}

// send makes one call and counts it.
func send(ctx context.Context, r request) (*answer, *Error) {
	started := time.Now() //nolint:forbidigo // the duration of a real call
	answer, failure := exchangeOnce(ctx, r)
	observe(r.action, r.region, failure, time.Since(started)) //nolint:forbidigo // likewise
	return answer, failure
}

// exchangeOnce makes one call.
func exchangeOnce(ctx context.Context, r request) (*answer, *Error) {
	x := &exchange{most: mostBody(r.action)}
	var secrets []string
	for _, value := range r.form {
		secrets = append(secrets, value)
	}
	if c := r.credential; c != nil {
		secrets = append(secrets, c.AccessKeySecret, c.SecurityToken, c.AccessKeyID)
	}
	signed, err := r.sign(ctx)
	if err != nil {
		return nil, lost(r.action, errors.New("the request could not be built"))
	}
	x.do(signed)

	switch {
	case ctx.Err() != nil && (x.status == 0 || x.err != nil):
		return nil, lost(r.action, ctx.Err())
	case x.status == 0:
		err := x.err
		if withURL, ok := errors.AsType[*url.Error](err); ok {
			err = withURL.Err
		}
		return nil, lost(r.action, errors.New(redact(err.Error(), secrets...)))
	}
	return x.read(r.action, secrets)
}

const signatureAlgorithm = "ACS3-HMAC-SHA256"

// sign builds the request. The SDK computes the signature; what it does around it
// for each call (an argument list for a log that is off, the stack of the goroutine
// for a nonce, a map for each map) took two fifths of what a call allocated.
func (r request) sign(ctx context.Context) (*http.Request, error) {
	body := ""
	if r.form != nil {
		values := url.Values{}
		for name, value := range r.form {
			values.Set(name, value)
		}
		body = values.Encode()
	}
	sum := sha256.Sum256([]byte(body))
	payload := hex.EncodeToString(sum[:])
	headers := map[string]*string{
		"host":                  &r.host,
		"x-acs-action":          &r.action,
		"x-acs-version":         &r.version,
		"x-acs-date":            openapiutil.GetTimestamp(),
		"x-acs-signature-nonce": new(rand.Text()),
		"x-acs-content-sha256":  &payload,
	}
	if r.form != nil {
		headers["content-type"] = new("application/x-www-form-urlencoded")
	}
	query, values := make(map[string]*string, len(r.query)), make(url.Values, len(r.query)+1)
	for name, value := range r.query {
		query[name] = &value
		values.Set(name, value)
	}
	method, path := http.MethodPost, "/"
	if c := r.credential; c != nil {
		if c.SecurityToken != "" {
			headers["x-acs-accesskey-id"], headers["x-acs-security-token"] = &c.AccessKeyID, &c.SecurityToken
		}
		headers["Authorization"] = openapiutil.GetAuthorization(
			&dara.Request{Method: &method, Pathname: &path, Query: query, Headers: headers},
			new(signatureAlgorithm), &payload, &c.AccessKeyID, &c.AccessKeySecret)
	} else {
		values.Set("Format", "json")
	}
	target := url.URL{Scheme: r.scheme, Host: r.host, Path: path, RawQuery: values.Encode()}
	signed, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		if name != "host" {
			signed.Header.Set(name, *value)
		}
	}
	signed.Header.Set("Accept", "application/json")
	signed.Header.Set("User-Agent", userAgent)
	return signed, nil
}

// fault is the body of a refusal, in JSON or XML.
type fault struct {
	XMLName   xml.Name `xml:"Error" json:"-"`
	Code      string
	Message   string
	RequestID string `xml:"RequestId" json:"RequestId"`
}

// read turns what came back into an answer or a failure.
func (x *exchange) read(action string, secrets []string) (*answer, *Error) {
	var content struct {
		fault
		groupFields
	}
	f, readable := &content.fault, false
	if !x.truncated && x.err == nil {
		body := bytes.TrimSpace(x.body)
		if bytes.HasPrefix(body, []byte("<")) {
			readable = xml.Unmarshal(body, f) == nil
		} else {
			readable = json.Unmarshal(body, &content) == nil
		}
	}
	f.RequestID = requestID(f.RequestID)
	if x.status == http.StatusOK && readable && f.Code == "" {
		return &answer{status: x.status, requestID: f.RequestID, group: content.groupFields, body: x.body}, nil
	}

	e := &Error{Action: action, HTTPStatus: x.status, RetryAfter: retryAfter(x.header)}
	if readable {
		e.Code, e.RequestID = code(f.Code), f.RequestID
		e.Message = redact(f.Message, secrets...)
	}
	e.Class = classify(e.Code, f.Message, x.status)
	if e.Code == "" {
		e.Code = CodeInvalidResponse
		switch {
		case x.truncated:
			e.Message = "the answer is larger than an answer of ECS can be"
		case x.err != nil:
			e.Message = "the answer broke off"
		case !readable:
			e.Message = "the answer is not one of ECS: " + strings.TrimSpace(http.StatusText(x.status))
		}
	}
	return nil, e
}

// retryAfter reads how long the other side asks to wait, from whichever header
// says so, and takes the longest.
func retryAfter(h http.Header) time.Duration {
	var longest time.Duration
	note := func(text string, unit time.Duration) {
		if n, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil && n > 0 && n < 1e9 {
			longest = max(longest, time.Duration(n*float64(unit)))
		}
	}
	note(h.Get("Retry-After"), time.Second)
	note(h.Get("x-acs-retry-after"), time.Millisecond)
	for _, name := range []string{"x-ratelimit-user-api", "x-ratelimit-user"} {
		for field := range strings.SplitSeq(h.Get(name), ",") {
			if left, ok := strings.CutPrefix(strings.TrimSpace(field), "TimeLeft:"); ok {
				note(left, time.Millisecond)
			}
		}
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		if served, err := http.ParseTime(h.Get("Date")); err == nil {
			longest = max(longest, at.Sub(served))
		}
	}
	return longest
}

// answered are the regions that ECS has answered for: only they may become a label.
// A pattern of an administrator lets users make up any number of others, and an endpoint
// could answer for all of them.
var answered struct {
	mu      sync.RWMutex
	regions map[string]bool
}

const maxRegionLabels = 100

func observe(action, region string, failure *Error, took time.Duration) {
	label := "OK"
	if failure != nil {
		label = failure.label()
	} else {
		noteAnswer(region)
	}
	answered.mu.RLock()
	known := answered.regions[region]
	answered.mu.RUnlock()
	if !known {
		region = "unknown"
	}
	metrics.Requests.WithLabelValues(action, region, label).Inc()
	metrics.Duration.WithLabelValues(action, region).Observe(took.Seconds())
}

func noteAnswer(region string) {
	answered.mu.RLock()
	noted := answered.regions[region] || len(answered.regions) >= maxRegionLabels
	answered.mu.RUnlock()
	if noted {
		return
	}
	answered.mu.Lock()
	defer answered.mu.Unlock()
	if answered.regions == nil {
		answered.regions = map[string]bool{}
	}
	if len(answered.regions) < maxRegionLabels {
		answered.regions[region] = true
	}
}

// label is how metrics name a failure.
func (e *Error) label() string {
	_, listed := classes[e.Code]
	switch {
	case listed, e.HTTPStatus == 0, e.Code == CodeInvalidResponse:
		return e.Code
	case e.Class == Throttled:
		return "Throttling"
	}
	return "other"
}
