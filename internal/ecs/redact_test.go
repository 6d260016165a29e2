package ecs

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
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

// TestRedactTakesOutWhatItHasNotBeenTold is about secrets of somebody else: a proxy's
// password, or what a token service handed to another caller.
func TestRedactTakesOutWhatItHasNotBeenTold(t *testing.T) {
	const value = "Zq7mForeign"
	for name, text := range map[string]string{
		"JSON in JSON":               `{\"AccessKeySecret\":\"` + value + `\",\"x\":1}`,
		"JSON in JSON in JSON":       `{\\\"SecurityToken\\\": \\\"` + value + `\\\"}`,
		"JSON in a query":            "%7B%22AccessKeySecret%22%3A%22" + value + "%22%7D",
		"JSON in HTML":               "{&quot;password&quot;:&quot;" + value + "&quot;}",
		"a short name":               "sk=" + value + "&ak=x",
		"a short name in JSON":       `{"sk": "` + value + `"}`,
		"a short name in upper case": "AK=1;SK=" + value,
		"a token by name":            "session_token=" + value,
		"a password":                 "pwd=" + value,
		"a proxy with a password":    "proxyconnect tcp: http://user:" + value + "@proxy.example:3128 refused",
		"a password without a URL":   "lookup user:" + value + "@proxy.example: no such host",
		"a token as a user":          "https://" + value + "@proxy.example/",
		"a token with hyphens":       value + "-a1B2c3D4e5-F6g7H8i9J0-k1L2m3N4o5-P6q7R8",
		"a key id with hyphens":      "no such key LTAI-5t" + value,
	} {
		t.Run(name, func(t *testing.T) {
			if got := redact(text); strings.Contains(got, value) {
				t.Errorf("it is left in %q", got)
			}
		})
	}
}

func TestRedactFindsASecretThatIsTakenApart(t *testing.T) {
	for name, text := range map[string]string{
		"by hyphens":           markedSecret[:9] + "-" + markedSecret[9:17] + "-" + markedSecret[17:],
		"over lines":           markedToken[:12] + "\r\n  " + markedToken[12:],
		"by invisible marks":   markedSecret[:9] + "\u200b" + markedSecret[9:],
		"by the order of text": markedSecret[:9] + "\u202e" + markedSecret[9:],
		"by control letters":   markedSecret[:9] + "\x00" + markedSecret[9:],
		"by escapes":           strings.ReplaceAll(markedToken, "/", `\/`),
		"by escapes in hex":    strings.NewReplacer("+", `\u002B`, "=", `\u003d`).Replace(markedToken),
		"by lower-case hex":    strings.ToLower(url.QueryEscape("+/=")) + strings.NewReplacer("+", "%2b", "/", "%2f", "=", "%3d").Replace(markedToken),
	} {
		t.Run(name, func(t *testing.T) {
			got := redact("odd: "+text+" is not known", markedSecret, markedToken)
			if strings.Contains(got, "Marked") || strings.Contains(got, "Value") || strings.Contains(got, "tail") || !strings.HasSuffix(got, " is not known") {
				t.Errorf("%q is left of %q", got, text)
			}
		})
	}
}

func TestRedactLeavesAPlainMessageAlone(t *testing.T) {
	for _, text := range []string{
		"The specified SecurityGroupId sg-bp1abcdefgh does not exist in this region. RequestId 473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E",
		"no answer: dial tcp: lookup ecs-vpc.cn-shanghai-finance-1.aliyuncs.com on 10.0.0.2:53: no such host",
		"The task=5 of token: none; risk=low, ask: later",
		"安全组不存在，请检查。",
	} {
		if got := redact(text, markedSecret); got != text {
			t.Errorf("got %q", got)
		}
	}
}

func TestNoMessageChangesWhatStandsBesideIt(t *testing.T) {
	if got, want := redact("a\u202eb\u2066c\u200bd\u2028e\u00a0f\x1b[31mg\ufeff\x7f"), "abcd e f [31mg"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("SignatureDoesNotMatch: server string to sign is:"+markedToken, "x", 0)
	f.Add(strings.Repeat("ü", 3000), "%", 1)
	f.Add("a\x00b\xff", markedSecret, 2)
	f.Add(`{\"AccessKeySecret\":\"`, `\"}`, 3)
	f.Add("sk=", "&", 4)
	f.Add("https://user:", "@host", 5)
	f.Add("\u202e\u2066", "\u2069-", 6)
	f.Add("-\\ ", "\\u002b", 7)
	separators := []string{"", "-", "\n", "\u200b", "\u202e", "\x00", `\`, " - "}
	f.Fuzz(func(t *testing.T, text, around string, separator int) {
		between := separators[uint(separator)%uint(len(separators))]
		apart := markedSecret[:11] + between + markedSecret[11:]
		got := redact(around+apart+text+markedToken+around, markedSecret, markedToken)
		if joined, _ := joined(got); strings.Contains(joined, markedSecret) || strings.Contains(joined, markedToken) {
			t.Errorf("a secret is left in %q", got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r != '…' && !unicode.IsPrint(r) }) {
			t.Errorf("letters that do not show are left in %q", got)
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
