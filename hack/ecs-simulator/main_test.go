package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// startCommand runs the command and returns its base URL and what ends it.
func startCommand(t *testing.T, args ...string) (baseURL string, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, args, in, io.Discard)
		_ = in.CloseWithError(err)
		result <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-result
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return strings.TrimSpace(line), end
}

func get(t *testing.T, transport http.RoundTripper, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestCommandServesWhatItsFlagsSay(t *testing.T) {
	url, end := startCommand(t, "--addr", "127.0.0.1:0", "--access-key", "AK:SECRET", "--access-key", "STS.A:SECRET:TOKEN",
		"--group", "cn-hangzhou/sg-1=accept,rules=3", "--group", "cn-beijing/sg-2=Drop,managed")
	if !strings.HasPrefix(url, "http://127.0.0.1:") || strings.HasSuffix(url, ":0") {
		t.Fatalf("first line %q", url)
	}
	groups := get(t, http.DefaultTransport, url+"/_sim/groups")
	for _, part := range []string{`"id":"sg-1","policy":"Accept"`, `"rules":3`, `"managed":true`} {
		if !strings.Contains(groups, part) {
			t.Errorf("%s is missing in %s", part, groups)
		}
	}
	if err := end(); err != nil {
		t.Errorf("the end was not graceful: %v", err)
	}
}

func TestCommandServesHTTPS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	url, _ := startCommand(t, "--addr", "127.0.0.1:0", "--tls-cert", file)
	certPEM, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	if body := get(t, transport, url+"/_sim/healthz"); !strings.HasPrefix(url, "https://") || !strings.Contains(body, "ok") {
		t.Errorf("%s answers %s", url, body)
	}
}

func TestFlagsBecomeOptions(t *testing.T) {
	c, err := parse([]string{
		"--access-key", "AK:SECRET:TO:KEN", "--latency", "20ms", "--qps", "2.5", "--window-limit", "100", "--control-from", "any",
		"--group", "cn-hangzhou/sg-1=DROP,type=enterprise,managed,rules=7,account=42,vpc=vpc-1,name=a b",
		"--role", "acs:ram::42:role/r,external-id=x,oidc-provider=acs:ram::42:oidc-provider/p",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct{ got, want any }{
		{c.addr, "127.0.0.1:18080"},
		{c.options.ControlFromAny, true},
		{c.options.Latency, 20 * time.Millisecond},
		{c.options.Keys[0].Secret, "SECRET"},
		{c.options.Keys[0].Token, "TO:KEN"},
		{c.options.Groups, []ecssim.Group{{Region: "cn-hangzhou", ID: "sg-1", Policy: "Drop", Enterprise: true, Managed: true,
			Rules: 7, Account: "42", VpcID: "vpc-1", Name: "a b"}}},
		{c.options.Roles, []ecssim.Role{{ARN: "acs:ram::42:role/r", ExternalID: "x", OIDCProviderARN: "acs:ram::42:oidc-provider/p"}}},
		{c.limits, []ecssim.Limit{{PerWindow: 100, Window: time.Minute, QPS: 2.5, Burst: 3,
			RetryAfter: true, AcsRetryAfter: true, RateLimitHeader: true}}},
	} {
		if diff := cmp.Diff(check.want, check.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestBadFlagsNameTheFlagAndTheRemedy(t *testing.T) {
	for _, test := range []struct {
		args []string
		says []string
	}{
		{[]string{"--access-key", "AKonly"}, []string{"--access-key", "AK:SECRET"}},
		{[]string{"--access-key", "A:B:"}, []string{"--access-key", "AK:SECRET"}},
		{[]string{"--access-key", "A:B", "--access-key", "A:C"}, []string{"--access-key", "twice"}},
		{[]string{"--group", "sg-1"}, []string{"-group", "REGION/ID=Accept"}},
		{[]string{"--group", "cn-hangzhou/sg-1"}, []string{"-group", "REGION/ID=Accept"}},
		{[]string{"--group", "cn-hangzhou/sg-1=Open"}, []string{"-group", "Open", "Accept"}},
		{[]string{"--group", "cn-hangzhou/sg.1=Drop"}, []string{"-group", "letters"}},
		{[]string{"--group", "cn-hangzhou/sg-1=Drop,rules=x"}, []string{"-group", "rules"}},
		{[]string{"--group", "cn-hangzhou/sg-1=Drop,colour=red"}, []string{"-group", "colour", "managed"}},
		{[]string{"--group", "cn-hangzhou/sg-1=Drop,type=big"}, []string{"-group", "enterprise"}},
		{[]string{"--group", "cn-hangzhou/sg-1=Drop,managed=no"}, []string{"-group", "managed"}},
		{[]string{"--role", "admin"}, []string{"-role", "acs:ram::ACCOUNT"}},
		{[]string{"--role", "acs:ram::1:role/r,x=y"}, []string{"-role", "external-id"}},
		{[]string{"--addr", "localhost"}, []string{"--addr", "host:port"}},
		{[]string{"--control-from", "10.0.0.0/8"}, []string{"--control-from", "loopback", "any"}},
		{[]string{"--latency", "-1s"}, []string{"--latency", "0 or more"}},
		{[]string{"--qps", "-1"}, []string{"--qps", "0 or more"}},
		{[]string{"--window-limit", "-1"}, []string{"--window-limit", "0 or more"}},
		{[]string{"--nonsense"}, []string{"nonsense", "--help"}},
		{[]string{"serve"}, []string{"serve", "flag"}},
	} {
		_, err := parse(test.args, io.Discard)
		if !errors.Is(err, errUsage) {
			t.Errorf("%v: %v is no error of usage", test.args, err)
			continue
		}
		for _, part := range test.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v: %q is missing in %q", test.args, part, err)
			}
		}
		if strings.Contains(err.Error(), "AKonly") {
			t.Errorf("a key is repeated: %v", err)
		}
	}
	var help strings.Builder
	if _, err := parse([]string{"--help"}, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-window-limit") {
		t.Errorf("%v, %s", err, help.String())
	}
}

func TestTakenAddressEndsTheCommand(t *testing.T) {
	url, _ := startCommand(t, "--addr", "127.0.0.1:0")
	address := strings.TrimPrefix(url, "http://")
	err := run(t.Context(), []string{"--addr", address}, io.Discard, io.Discard)
	if err == nil || errors.Is(err, errUsage) || !strings.Contains(err.Error(), "--addr "+address) {
		t.Errorf("got %v", err)
	}
}
