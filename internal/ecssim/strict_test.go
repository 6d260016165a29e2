package ecssim

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const formType = "application/x-www-form-urlencoded"

// unsigned is a change of the test group, by headers or by parameters.
func unsigned(t *testing.T, base, query, contentType, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/?RegionId="+testRegion+"&SecurityGroupId="+testGroup+query, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// asRead is a request as the server reads it, with its body still to be sent.
func asRead(r *http.Request) *call {
	raw, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(raw)))
	c, _ := New(Options{}).read(r)
	r.Body = io.NopCloser(strings.NewReader(string(raw)))
	return c
}

// signV3 signs a request and its headers as they are.
func signV3(r *http.Request) {
	c := asRead(r)
	hash := sha256.Sum256(c.body)
	for name, value := range map[string]string{
		"x-acs-action": "ModifySecurityGroupPolicy", "x-acs-version": ecsVersion, "x-acs-signature-nonce": rand.Text(),
		"x-acs-date": time.Now().UTC().Format(timeFormat), "x-acs-content-sha256": hex.EncodeToString(hash[:]),
	} {
		if r.Header.Get(name) == "" {
			r.Header.Set(name, value)
		}
	}
	names := []string{"host"}
	for name := range r.Header {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(canonicalRequestV3(c, names)))
	mac := hmac.New(sha256.New, []byte(testKey.Secret))
	mac.Write([]byte(v3Algorithm + "\n" + hex.EncodeToString(sum[:])))
	r.Header.Set("Authorization", v3Algorithm+" Credential="+testKey.ID+",SignedHeaders="+strings.Join(names, ";")+",Signature="+hex.EncodeToString(mac.Sum(nil)))
}

// signV1 signs the parameters of a request as they are.
func signV1(r *http.Request) {
	r.URL.RawQuery += "&" + url.Values{
		"Action": {"ModifySecurityGroupPolicy"}, "Version": {ecsVersion}, "AccessKeyId": {testKey.ID}, "SignatureMethod": {"HMAC-SHA1"},
		"SignatureVersion": {"1.0"}, "SignatureNonce": {rand.Text()}, "Timestamp": {time.Now().UTC().Format(timeFormat)},
	}.Encode()
	mac := hmac.New(sha1.New, []byte(testKey.Secret+"&"))
	mac.Write([]byte(stringToSignV1(asRead(r))))
	r.URL.RawQuery += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// Whoever stands between a client and ECS can put parameters into another order, send
// a body as something else and add headers that nobody signed.
func TestARequestThatCouldBeReadInTwoWaysIsRefused(t *testing.T) {
	const drop = "&InnerAccessPolicy=Drop"
	for name, test := range map[string]struct {
		query, contentType, body string
		header                   map[string]string
		sign                     func(*http.Request)
		then                     func(*http.Request)
		code                     string // empty where it is accepted
	}{
		"V3, as it should be":             {query: drop, sign: signV3},
		"V3, by a form":                   {contentType: formType, body: drop[1:], sign: signV3},
		"V3, a form with its charset":     {contentType: formType + "; charset=utf-8", body: drop[1:], sign: signV3},
		"V1, as it should be":             {query: drop, sign: signV1},
		"V1, by a form":                   {contentType: formType, body: drop[1:], sign: signV1},
		"V1, in both places, alike":       {query: drop, contentType: formType, body: drop[1:], sign: signV1},
		"V3, a parameter twice":           {query: drop + "&InnerAccessPolicy=Accept", sign: signV3, code: "InvalidParameter"},
		"V3, twice and alike":             {query: drop + drop, sign: signV3, code: "InvalidParameter"},
		"V1, a parameter twice":           {query: drop + "&InnerAccessPolicy=Accept", sign: signV1, code: "InvalidParameter"},
		"V3, twice in the form":           {contentType: formType, body: drop[1:] + "&InnerAccessPolicy=Accept", sign: signV3, code: "InvalidParameter"},
		"V1, twice in the form":           {contentType: formType, body: drop[1:] + "&InnerAccessPolicy=Accept", sign: signV1, code: "InvalidParameter"},
		"V3, differently in both places":  {query: "&InnerAccessPolicy=Accept", contentType: formType, body: drop[1:], sign: signV3, code: "InvalidParameter"},
		"V1, differently in both places":  {query: "&InnerAccessPolicy=Accept", contentType: formType, body: drop[1:], sign: signV1, code: "InvalidParameter"},
		"V3, a text":                      {query: drop, contentType: "text/plain", body: "x=y", sign: signV3, code: "UnsupportedMediaType"},
		"V1, a text":                      {query: drop, contentType: "text/plain", body: "x=y", sign: signV1, code: "UnsupportedMediaType"},
		"V3, a body of no type":           {query: drop, body: "x=y", sign: signV3, code: "UnsupportedMediaType"},
		"V3, a text sent as a form":       {contentType: "", body: drop[1:], sign: signV3, then: func(r *http.Request) { r.Header.Set("Content-Type", formType) }, code: "SignatureDoesNotMatch"},
		"V3, a false content hash":        {query: drop, header: map[string]string{"x-acs-content-sha256": strings.Repeat("0", 64)}, sign: signV3, code: "SignatureDoesNotMatch"},
		"V3, no content hash":             {query: drop, header: map[string]string{"x-acs-content-sha256": " "}, sign: signV3, code: "SignatureDoesNotMatch"},
		"V1, a false content hash beside": {query: drop, header: map[string]string{"x-acs-content-sha256": strings.Repeat("0", 64)}, sign: signV1, code: "SignatureDoesNotMatch"},
	} {
		t.Run(name, func(t *testing.T) {
			s, base := startServer(t, Options{})
			r := unsigned(t, base, test.query, test.contentType, test.body)
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			test.sign(r)
			if test.then != nil {
				test.then(r)
			}
			status, body := sendRaw(t, r)
			if test.code == "" && status != http.StatusOK || !strings.Contains(body, test.code) {
				t.Errorf("%d %s, want %q", status, body, test.code)
			}
			wantEqual(t, "effects", len(s.Effects(testRegion, testGroup)), map[bool]int{true: 1, false: 0}[test.code == ""])
		})
	}
}
