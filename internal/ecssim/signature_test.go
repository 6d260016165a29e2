package ecssim

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The examples that Alibaba Cloud publishes for both generations of signatures.
func TestPublishedSignaturesAreAccepted(t *testing.T) {
	const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	v1 := func(action, format, nonce, timestamp, signature, region string) *http.Request {
		query := url.Values{
			"Action": {action}, "Format": {format}, "AccessKeyId": {"testid"}, "SignatureMethod": {"HMAC-SHA1"},
			"SignatureVersion": {"1.0"}, "SignatureNonce": {nonce}, "Timestamp": {timestamp},
			"Version": {"2014-05-26"}, "Signature": {signature},
		}
		if region != "" {
			query.Set("RegionId", region)
		}
		return httptest.NewRequest(http.MethodGet, "http://ecs.aliyuncs.com/?"+query.Encode(), nil)
	}
	v3 := httptest.NewRequest(http.MethodPost, "http://ecs.cn-shanghai.aliyuncs.com/?ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai", nil)
	for name, value := range map[string]string{
		"x-acs-action": "RunInstances", "x-acs-version": "2014-05-26", "x-acs-date": "2023-10-26T10:22:32Z",
		"x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d", "x-acs-content-sha256": emptyHash,
		"Authorization": "ACS3-HMAC-SHA256 Credential=YourAccessKeyId," +
			"SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version," +
			"Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
	} {
		v3.Header.Set(name, value)
	}
	for _, test := range []struct {
		name    string
		request *http.Request
		at      time.Time
	}{
		{"V1, XML", v1("DescribeRegions", "XML", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf", "2016-02-23T12:46:24Z", "OLeaidS1JvxuMvnyHOwuJ+uX5qY=", ""),
			time.Date(2016, 2, 23, 12, 46, 24, 0, time.UTC)},
		{"V1, JSON", v1("DescribeDedicatedHosts", "JSON", "edb2b34af0af9a6d14deaf7c1a5315eb", "2023-03-13T08:34:30Z", "9NaGiOspFP5UPcwX8Iwt2YJXXuk=", "cn-beijing"),
			time.Date(2023, 3, 13, 8, 34, 30, 0, time.UTC)},
		{"V3", v3, time.Date(2023, 10, 26, 10, 22, 32, 0, time.UTC)},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := New(Options{
				Now:  func() time.Time { return test.at },
				Keys: []Key{{ID: "testid", Secret: "testsecret"}, {ID: "YourAccessKeyId", Secret: "YourAccessKeySecret"}},
			})
			c, refusal := s.read(test.request)
			if refusal == nil {
				refusal = s.authenticate(c)
			}
			if refusal != nil {
				t.Fatalf("refused: %s %s", refusal.code, refusal.message)
			}
		})
	}
	c, _ := New(Options{}).read(v3)
	hash := sha256.Sum256([]byte(canonicalRequestV3(c, signatureOf(c).signedHeaders)))
	wantEqual(t, "published hash of the canonical request", hex.EncodeToString(hash[:]),
		"7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259")
}

func TestOfficialSDKsWithTheRightKeyAreAccepted(t *testing.T) {
	temporary := Key{ID: "STS.test", Secret: "s", Token: "to+k/en=", Expires: time.Now().Add(time.Hour)}
	for _, sdk := range allSDKs {
		t.Run(sdk.name, func(t *testing.T) {
			s, url := startServer(t, Options{Keys: []Key{testKey, temporary}})
			for _, key := range []Key{testKey, temporary} {
				params := modifyParams("drop", "a token of ~ * + %20 / & = spaces")
				params["OwnerAccount"] = "someone@example.com"
				wantSuccess(t, sdk.do(t, url, key, "ModifySecurityGroupPolicy", params))
				read := sdk.do(t, url, key, "DescribeSecurityGroupAttribute", readParams())
				wantSuccess(t, read)
				wantEqual(t, "policy", read.text("InnerAccessPolicy"), "Drop")
			}
			wantEqual(t, "effects", len(s.Effects(testRegion, testGroup)), 1)
			for _, call := range s.Calls() {
				wantEqual(t, "signature", call.Signature, map[bool]string{true: "V3", false: "V1"}[sdk.name == headerSDK.name])
				wantEqual(t, "status", call.Status, 200)
			}
		})
	}
}

func TestWrongKeysAreRefusedWithTheirCode(t *testing.T) {
	keys := []Key{
		testKey,
		{ID: "inactive", Secret: "s", Inactive: true},
		{ID: "STS.valid", Secret: "s", Token: "token-1"},
		{ID: "STS.other", Secret: "s", Token: "token-2"},
		{ID: "STS.old", Secret: "s", Token: "token-3", Expires: time.Now().Add(-time.Second)},
	}
	for _, test := range []struct {
		situation string
		key       Key
		ahead     time.Duration
		status    int
		code      string
	}{
		{"unknown key", Key{ID: "nobody", Secret: "s"}, 0, 404, "InvalidAccessKeyId.NotFound"},
		{"inactive key", Key{ID: "inactive", Secret: "s"}, 0, 400, "InvalidAccessKeyId.Inactive"},
		{"wrong secret", Key{ID: testKey.ID, Secret: "guess"}, 0, 400, "SignatureDoesNotMatch"},
		{"missing token", Key{ID: "STS.valid", Secret: "s"}, 0, 400, "MissingSecurityToken"},
		{"token of another key", Key{ID: "STS.valid", Secret: "s", Token: "token-2"}, 0, 400, "InvalidSecurityToken.MismatchWithAccessKey"},
		{"token of nobody", Key{ID: "STS.valid", Secret: "s", Token: "nonsense"}, 0, 400, "InvalidSecurityToken.Malformed"},
		{"expired token", Key{ID: "STS.old", Secret: "s", Token: "token-3"}, 0, 400, "InvalidSecurityToken.Expired"},
		{"token beside a permanent key", Key{ID: testKey.ID, Secret: testKey.Secret, Token: "token-1"}, 0, 400, "InvalidSecurityToken.MismatchWithAccessKey"},
		{"client's clock 16 minutes slow", testKey, 16 * time.Minute, 400, "InvalidTimeStamp.Expired"},
		{"client's clock 16 minutes fast", testKey, -16 * time.Minute, 400, "InvalidTimeStamp.Expired"},
	} {
		t.Run(test.situation, func(t *testing.T) {
			clock := &movableClock{}
			s, url := startServer(t, Options{Keys: keys, Now: clock.Now})
			clock.Advance(test.ahead)
			for _, sdk := range allSDKs {
				t.Run(sdk.name, func(t *testing.T) {
					wantRefusal(t, sdk.do(t, url, test.key, "ModifySecurityGroupPolicy", modifyParams("Drop", "")), test.status, test.code)
				})
			}
			group, _ := s.Group(testRegion, testGroup)
			wantEqual(t, "policy", group.Policy, Accept)
		})
	}
}

// ECS repeats what it signed, with the key and the token: clients must not log it.
func TestWrongSignatureIsAnsweredWithTheStringToSign(t *testing.T) {
	key := Key{ID: "STS.valid", Secret: "s", Token: "token-1"}
	wrong := key
	wrong.Secret = "guess"
	for _, sdk := range allSDKs {
		t.Run(sdk.name, func(t *testing.T) {
			_, url := startServer(t, Options{Keys: []Key{key}})
			r := sdk.do(t, url, wrong, "DescribeSecurityGroupAttribute", readParams())
			wantRefusal(t, r, 400, "SignatureDoesNotMatch")
			for _, part := range []string{"server string to sign is:", key.Token} {
				if !strings.Contains(r.message, part) {
					t.Errorf("%q is missing in %q", part, r.message)
				}
			}
			if sdk.name != headerSDK.name && !strings.Contains(r.message, key.ID) {
				t.Errorf("the key id is missing in %q", r.message)
			}
			if sdk.name == oldSDK.name && !strings.HasPrefix(r.recommend, "InvalidAccessKeySecret") {
				t.Errorf("the SDK does not find its own string to sign in the answer: %q", r.recommend)
			}
		})
	}
}

func TestWrongSignatureMayBeAnsweredTheOldWay(t *testing.T) {
	_, url := startServer(t, Options{IncompleteSignature: true})
	for _, sdk := range allSDKs {
		r := sdk.do(t, url, Key{ID: testKey.ID, Secret: "guess"}, "DescribeRegions", nil)
		wantRefusal(t, r, 400, "IncompleteSignature")
	}
}

func TestReplayedAndAlteredRequestsAreRefused(t *testing.T) {
	record := &recorder{}
	for _, sdk := range []caller{
		{"V3", darabonba("", record)}, {"V1", darabonba("v2", record)}, {"V1, old SDK", alibabaV1(record)},
	} {
		t.Run(sdk.name, func(t *testing.T) {
			s, base := startServer(t, Options{})
			wantSuccess(t, sdk.do(t, base, testKey, "ModifySecurityGroupPolicy", modifyParams("Drop", "")))
			again := func(alter func(r *http.Request)) string {
				r := record.request.Clone(t.Context())
				r.Body = io.NopCloser(strings.NewReader(string(record.body)))
				alter(r)
				_, body := sendRaw(t, r)
				return body
			}
			for situation, test := range map[string]struct {
				alter func(r *http.Request)
				code  string
			}{
				"same nonce":    {func(*http.Request) {}, "SignatureNonceUsed"},
				"other query":   {func(r *http.Request) { r.URL.RawQuery += "&OwnerAccount=mallory" }, "SignatureDoesNotMatch"},
				"other method":  {func(r *http.Request) { r.Method = http.MethodGet }, "SignatureDoesNotMatch"},
				"bad date":      {func(r *http.Request) { setTime(r, "yesterday") }, "InvalidTimeStamp.Format"},
				"no date":       {func(r *http.Request) { setTime(r, "") }, "IllegalTimestamp"},
				"no signature":  {dropSignature, "MissingParameter"},
				"wrong version": {func(r *http.Request) { setVersion(r, "2012-01-01") }, "InvalidVersion"},
			} {
				if body := again(test.alter); !strings.Contains(body, test.code) {
					t.Errorf("%s: want %s, got %s", situation, test.code, body)
				}
			}
			wantEqual(t, "effects", len(s.Effects(testRegion, testGroup)), 1)
		})
	}
}

func isV3(r *http.Request) bool { return r.Header.Get("Authorization") != "" }

func setTime(r *http.Request, text string) {
	if isV3(r) {
		r.Header.Set("x-acs-date", text)
		return
	}
	query := r.URL.Query()
	query.Set("Timestamp", text)
	r.URL.RawQuery = query.Encode()
}

func setVersion(r *http.Request, version string) {
	if isV3(r) {
		r.Header.Set("x-acs-version", version)
		return
	}
	query := r.URL.Query()
	query.Set("Version", version)
	r.URL.RawQuery = query.Encode()
}

func dropSignature(r *http.Request) {
	r.Header.Del("Authorization")
	query := r.URL.Query()
	query.Del("Signature")
	r.URL.RawQuery = query.Encode()
}

func TestHeadersOutsideAV3SignatureAreRefused(t *testing.T) {
	record := &recorder{}
	_, base := startServer(t, Options{})
	wantSuccess(t, caller{"", darabonba("", record)}.do(t, base, testKey, "DescribeRegions", nil))
	record.request.Header.Set("x-acs-extra", "not signed")
	record.request.Body = io.NopCloser(strings.NewReader(""))
	if _, body := sendRaw(t, record.request); !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("accepted or refused otherwise: %s", body)
	}
}

func TestNoncesAreForgottenOnceTheirTimeIsOver(t *testing.T) {
	var n nonces
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for minute := range 120 {
		now := start.Add(time.Duration(minute) * time.Minute)
		if !n.use(now, now, "key", now.String()) {
			t.Fatalf("fresh nonce of minute %d refused", minute)
		}
	}
	if len(n.minutes) > 18 {
		t.Errorf("%d minutes are remembered, want what clocks may differ by", len(n.minutes))
	}
	if now := start.Add(119 * time.Minute); n.use(now, now, "key", now.String()) {
		t.Error("a nonce was accepted twice")
	}
}

func FuzzAuthorizationHeader(f *testing.F) {
	f.Add("ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host;x-acs-date,Signature=00")
	f.Add("ACS3-HMAC-SHA256 Credential=,,,=;")
	f.Add("Bearer x")
	f.Fuzz(func(t *testing.T, header string) {
		a := parseAuthorization(header)
		if len(a.credential)+len(a.signature)+len(a.algorithm) > len(header) {
			t.Errorf("more was found than there is: %+v", a)
		}
		s := New(Options{Keys: []Key{testKey}})
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header = http.Header{"Authorization": {header}, "X-Acs-Date": {time.Now().UTC().Format(timeFormat)}, "X-Acs-Signature-Nonce": {"n"}}
		c, refusal := s.read(r)
		if refusal == nil && s.authenticate(c) == nil {
			t.Errorf("accepted %q", header)
		}
	})
}

func FuzzParameters(f *testing.F) {
	f.Add("Action=DescribeRegions&Version=2014-05-26&AccessKeyId=x", "a=b&%zz")
	f.Add("RegionId=%00&Format=json", "NextToken=%ff")
	f.Fuzz(func(t *testing.T, query, form string) {
		s := New(Options{Keys: []Key{testKey}})
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code < 400 {
			t.Errorf("an unsigned call was answered with %d", w.Code)
		}
	})
}
