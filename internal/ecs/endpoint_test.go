package ecs

import (
	"strings"
	"testing"
)

func TestEndpoints(t *testing.T) {
	for _, c := range []struct{ text, product, region, want string }{
		{"", "ecs", "cn-hangzhou", "https://ecs.cn-hangzhou.aliyuncs.com"},
		{"", "ecs", "cn-shanghai-finance-1", "https://ecs-cn-hangzhou.aliyuncs.com"},
		{"", "ecs", "cn-north-2-gov-1", "https://ecs.aliyuncs.com"},
		{"", "sts", "cn-north-2-gov-1", "https://sts.cn-north-2-gov-1.aliyuncs.com"},
		{"https://ecs-vpc.{region}.aliyuncs.com", "ecs", "eu-central-1", "https://ecs-vpc.eu-central-1.aliyuncs.com"},
		{"https://proxy.example:8443/", "ecs", "eu-central-1", "https://proxy.example:8443"},
		{"http://127.0.0.1:18080", "ecs", "eu-central-1", "http://127.0.0.1:18080"},
		{"http://localhost:1", "ecs", "eu-central-1", "http://localhost:1"},
		{"https://ecs.{region}.example.internal:8443", "ecs", "eu-central-1", "https://ecs.eu-central-1.example.internal:8443"},
		{"https://ecs-{region}.aliyuncs.com", "ecs", "eu-central-1", "https://ecs-eu-central-1.aliyuncs.com"},
		{"https://{region}.ecs.{region}.aliyuncs.com", "ecs", "eu-central-1", "https://eu-central-1.ecs.eu-central-1.aliyuncs.com"},
	} {
		e, err := ParseEndpoint(c.text, false)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if scheme, host, err := e.resolve(c.product, c.region); err != nil || scheme+"://"+host != c.want {
			t.Errorf("%q, %s in %s: got %s://%s, %v, want %s", c.text, c.product, c.region, scheme, host, err, c.want)
		}
	}
}

func TestUnusableEndpointsAreRefusedWithTheRemedy(t *testing.T) {
	for text, remedy := range map[string]string{
		"ecs.aliyuncs.com":                       "https://",
		"ftp://ecs.aliyuncs.com":                 "https://",
		"https://key:secret@host":                "scheme and a host only",
		"https://host/path":                      "scheme and a host only",
		"https://host?query":                     "scheme and a host only",
		"https://":                               "host name",
		"https://a b":                            "",
		"http://ecs.aliyuncs.com":                "--allow-insecure-endpoints",
		"http://127.0.0.1.evil.test/":            "--allow-insecure-endpoints",
		"https://{region}":                       "fixed domain",
		"https://x.{region}":                     "fixed domain",
		"https://ecs.{region}:443":               "fixed domain",
		"https://ecs.com.{region}":               "fixed domain",
		"https://ecs.{region}.com":               "fixed domain",
		"https://ecs.{region}..com":              "fixed domain",
		"https://aliyuncs.com.{region}/":         "fixed domain",
		"https://ecs.{region}.aliyuncs.{region}": "such as https://ecs.{region}.aliyuncs.com",
	} {
		if _, err := ParseEndpoint(text, false); err == nil || !strings.Contains(err.Error(), remedy) {
			t.Errorf("%q: %v, want a word of %q", text, err, remedy)
		}
	}
	if _, err := ParseEndpoint("http://ecs.example", true); err != nil {
		t.Errorf("http, allowed: %v", err)
	}
}

func TestARegionCannotChooseTheHost(t *testing.T) {
	for _, region := range []string{"", "evil.test/", "cn-hangzhou.evil.test", "CN-HANGZHOU", "cn", "cn-hangzhou#", "a@b-c", "cn-hang zhou"} {
		if _, host, err := (Endpoint{}).resolve("ecs", region); err == nil {
			t.Errorf("%q gives the host %q", region, host)
		}
	}
}
