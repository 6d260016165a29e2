package ecs

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	markedKey    = "LTAI5tMarkedKeyId000000"
	markedSecret = "MarkedSecretValue0123456789ab"
	markedToken  = "CAISMarkedToken+with/base64==tail"
)

func TestRedactTakesOutWhatECSEchoes(t *testing.T) {
	for name, text := range map[string]string{
		"the string to sign of HMAC-SHA1": "Specified signature is not matched with our calculation. server string to sign is:POST&%2F&AccessKeyId%3D" + markedKey +
			"%26SecurityToken%3D" + url.QueryEscape(url.QueryEscape(markedToken)),
		"the canonical request of V3": "The signature does not match. server StringToSign is [ACS3-HMAC-SHA256\nabc] CanonicalRequest is [POST\nx-acs-security-token:" + markedToken + "]",
		"a key by name":               "AccessKeyId=" + markedKey + "&Format=JSON",
		"a key in JSON":               `{"AccessKeyId":"` + markedKey + `","SecurityToken": "` + markedToken + `"}`,
		"a key in XML":                "<AccessKeyId>" + markedKey + "</AccessKeyId><SecurityToken>" + markedToken + "</SecurityToken>",
		"a header":                    "Authorization: ACS3-HMAC-SHA256 Credential=" + markedKey + ",SignedHeaders=host,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
		"a key by its looks alone":    "no such key " + markedKey,
		"the secret by its value":     "odd: " + markedSecret,
	} {
		t.Run(name, func(t *testing.T) {
			got := redact(text, markedSecret, markedToken, markedKey)
			for _, secret := range []string{markedKey, markedSecret, markedToken, url.QueryEscape(markedToken), "06563a9e"} {
				if strings.Contains(got, secret) {
					t.Errorf("%q is left in %q", secret, got)
				}
			}
			if bare := redact(text); strings.Contains(bare, markedKey) {
				t.Errorf("without knowing the key, it is left in %q", bare)
			}
		})
	}
}

func TestRedactLeavesAPlainMessageAlone(t *testing.T) {
	const text = "The specified SecurityGroupId sg-bp1abcdefgh does not exist in this region. RequestId 473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E"
	if got := redact(text, markedSecret); got != text {
		t.Errorf("got %q", got)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("SignatureDoesNotMatch: server string to sign is:"+markedToken, "x")
	f.Add(strings.Repeat("ü", 3000), "%")
	f.Add("a\x00b\xff", markedSecret)
	f.Fuzz(func(t *testing.T, text, around string) {
		got := redact(around+markedSecret+text+markedToken+around, markedSecret, markedToken)
		if strings.Contains(got, markedSecret) || strings.Contains(got, markedToken) {
			t.Errorf("a secret is left in %q", got)
		}
		if n := utf8.RuneCountInString(got); n > maxMessage || !utf8.ValidString(got) {
			t.Errorf("%d characters, valid %v", n, utf8.ValidString(got))
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add(200, []byte(`{"RequestId":"R","SecurityGroupId":"sg-1","InnerAccessPolicy":"Drop"}`))
	f.Add(404, []byte(`{"Code":"InvalidSecurityGroupId.NotFound","Message":"m","RequestId":"R"}`))
	f.Add(400, []byte(`<Error><Code>Throttling</Code><Message>m</Message><RequestId>R</RequestId></Error>`))
	f.Add(502, []byte(`<html><body>Bad gateway</body></html>`))
	f.Add(503, []byte(``))
	f.Add(200, []byte(`[1,2`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		x := &exchange{status: status, body: body}
		a, e := x.read("Action", []string{markedSecret})
		switch {
		case (a == nil) == (e == nil):
			t.Fatal("neither an answer nor a failure, or both")
		case e != nil && e.Code == "":
			t.Error("a failure without a code")
		case e != nil && (utf8.RuneCountInString(e.Message) > maxMessage || strings.Contains(e.Error(), markedSecret)):
			t.Errorf("not fit to be shown: %q", e.Error())
		case a != nil && status != 200:
			t.Errorf("a success with status %d", status)
		}
	})
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"https://ecs.{region}.aliyuncs.com", "http://127.0.0.1:18080", "http://[::1]:8", "https://u:p@h/x?y#z", "https://{region}", "://"} {
		f.Add(s, "cn-hangzhou")
	}
	f.Fuzz(func(t *testing.T, text, region string) {
		e, err := ParseEndpoint(text, false)
		if err != nil || text == "" {
			return
		}
		scheme, host, err := e.resolve("ecs", region)
		if err != nil {
			return
		}
		u, err := url.Parse(scheme + "://" + host + "/")
		if err != nil || u.User != nil || u.Path != "/" || u.RawQuery != "" {
			t.Errorf("%q in %q gives %q: %v", text, region, host, err)
		}
		if scheme == "http" && !loopback(u.Hostname()) {
			t.Errorf("%q gives plain http to %q", text, u.Hostname())
		}
	})
}
