package ecssim

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	testRole     = "acs:ram::2000000000000002:role/sgp"
	testProvider = "acs:ram::2000000000000002:oidc-provider/ack-rrsa-c1"
)

func issuedKey(r reply) Key {
	return Key{
		ID: r.text("Credentials", "AccessKeyId"), Secret: r.text("Credentials", "AccessKeySecret"),
		Token: r.text("Credentials", "SecurityToken"),
	}
}

func TestAssumedRoleWorksUntilItExpires(t *testing.T) {
	for _, sdk := range allSDKs {
		t.Run(sdk.name, func(t *testing.T) {
			clock := &movableClock{}
			_, url := startServer(t, Options{
				Now: clock.Now, Roles: []Role{{ARN: testRole, ExternalID: "x-1", MaxDuration: 10 * time.Minute, Deny: []string{"DescribeRegions"}}},
				Groups: []Group{{Region: testRegion, ID: testGroup, Account: "2000000000000002"}},
			})
			assumed := sdk.do(t, url, testKey, "AssumeRole", map[string]string{
				"RoleArn": testRole, "RoleSessionName": "sgp-operator", "ExternalId": "x-1", "DurationSeconds": "600",
			})
			wantSuccess(t, assumed)
			wantEqual(t, "user", assumed.text("AssumedRoleUser", "Arn"), "acs:ram::2000000000000002:assumed-role/sgp/sgp-operator")
			if id := assumed.text("AssumedRoleUser", "AssumedRoleId"); !strings.HasSuffix(id, ":sgp-operator") {
				t.Errorf("AssumedRoleId %q", id)
			}
			expires, err := time.Parse(timeFormat, assumed.text("Credentials", "Expiration"))
			if left := expires.Sub(clock.Now()); err != nil || left > 10*time.Minute || left < 9*time.Minute {
				t.Errorf("expires in %v: %v", left, err)
			}
			key := issuedKey(assumed)
			wantSuccess(t, sdk.do(t, url, key, "ModifySecurityGroupPolicy", modifyParams("Drop", "")))
			wantRefusal(t, sdk.do(t, url, key, "DescribeRegions", nil), 403, "Forbidden.RAM")
			identity := sdk.do(t, url, key, "GetCallerIdentity", nil)
			wantSuccess(t, identity)
			wantEqual(t, "account", identity.text("AccountId"), "2000000000000002")
			wantEqual(t, "type", identity.text("IdentityType"), "AssumedRoleUser")
			if identity.text("RoleId") == "" || identity.text("PrincipalId") == "" {
				t.Errorf("incomplete: %v", identity.body)
			}
			clock.Advance(expires.Sub(clock.Now()))
			wantRefusal(t, sdk.do(t, url, key, "ModifySecurityGroupPolicy", modifyParams("Drop", "")), 400, "InvalidSecurityToken.Expired")
		})
	}
}

func TestIdentityOfAPermanentKey(t *testing.T) {
	_, url := startServer(t, Options{})
	r := headerSDK.do(t, url, testKey, "GetCallerIdentity", nil)
	wantSuccess(t, r)
	wantEqual(t, "account", r.text("AccountId"), DefaultAccount)
	wantEqual(t, "type", r.text("IdentityType"), "RAMUser")
	if r.text("UserId") == "" || r.text("Arn") == "" {
		t.Errorf("incomplete: %v", r.body)
	}
}

func TestRefusedRoles(t *testing.T) {
	_, url := startServer(t, Options{
		Keys: []Key{testKey, {ID: "denied", Secret: "s", Deny: []string{"sts:AssumeRole"}}},
		Roles: []Role{
			{ARN: testRole, ExternalID: "x-1", OIDCProviderARN: testProvider, OIDCTokens: []string{"good.oidc.token"}},
			{ARN: testRole + "-closed", TrustedKeys: []string{"somebody"}},
		},
	})
	for _, test := range []struct {
		situation string
		key       Key
		action    string
		change    map[string]string
		status    int
		code      string
	}{
		{"wrong external id", testKey, "AssumeRole", map[string]string{"ExternalId": "x-2"}, 403, "NoPermission"},
		{"no external id", testKey, "AssumeRole", map[string]string{"ExternalId": ""}, 403, "NoPermission"},
		{"untrusted key", testKey, "AssumeRole", map[string]string{"RoleArn": testRole + "-closed"}, 403, "NoPermission"},
		{"key without permission", Key{ID: "denied", Secret: "s"}, "AssumeRole", nil, 403, "NoPermission"},
		{"unknown key", Key{ID: "nobody", Secret: "s"}, "AssumeRole", nil, 404, "InvalidAccessKeyId.NotFound"},
		{"unknown role", testKey, "AssumeRole", map[string]string{"RoleArn": testRole + "-gone"}, 404, "EntityNotExist.Role"},
		{"malformed role", testKey, "AssumeRole", map[string]string{"RoleArn": "sgp"}, 400, "InvalidParameter.RoleArn"},
		{"no role", testKey, "AssumeRole", map[string]string{"RoleArn": ""}, 400, "MissingParameter.RoleArn"},
		{"session too long", testKey, "AssumeRole", map[string]string{"DurationSeconds": "3601"}, 400, "InvalidParameter.DurationSeconds"},
		{"session too short", testKey, "AssumeRole", map[string]string{"DurationSeconds": "899"}, 400, "InvalidParameter.DurationSeconds"},
		{"malformed session name", testKey, "AssumeRole", map[string]string{"RoleSessionName": "a b"}, 400, "InvalidParameter.RoleSessionName"},
		{"wrong OIDC token", testKey, "AssumeRoleWithOIDC", map[string]string{"OIDCToken": "bad"}, 401, "AuthenticationFail.OIDCToken.Invalid"},
		{"wrong OIDC provider", testKey, "AssumeRoleWithOIDC", map[string]string{"OIDCProviderArn": testProvider + "2"}, 401, "AuthenticationFail.NoPermission"},
		{"no OIDC token", testKey, "AssumeRoleWithOIDC", map[string]string{"OIDCToken": ""}, 400, "MissingParameter.OIDCToken"},
	} {
		t.Run(test.situation, func(t *testing.T) {
			params := map[string]string{"RoleArn": testRole, "RoleSessionName": "sgp-operator", "ExternalId": "x-1"}
			if test.action == "AssumeRoleWithOIDC" {
				params["OIDCProviderArn"], params["OIDCToken"] = testProvider, "good.oidc.token"
			}
			maps.Copy(params, test.change)
			wantRefusal(t, headerSDK.do(t, url, test.key, test.action, params), test.status, test.code)
		})
	}
}

// RRSA calls without a signature; credentials-go puts the token into the form.
func TestRoleIsAssumedWithAnOIDCToken(t *testing.T) {
	const token = "good.oidc.token"
	s, base := startServer(t, Options{
		Roles:  []Role{{ARN: testRole, OIDCProviderARN: testProvider, OIDCTokens: []string{token}}},
		Groups: []Group{{Region: testRegion, ID: testGroup, Account: "2000000000000002"}},
	})
	assumed := headerSDK.do(t, base, Key{}, "AssumeRoleWithOIDC", map[string]string{
		"RoleArn": testRole, "OIDCProviderArn": testProvider, "OIDCToken": token, "RoleSessionName": "sgp-operator",
	})
	wantSuccess(t, assumed)
	wantSuccess(t, headerSDK.do(t, base, issuedKey(assumed), "DescribeSecurityGroupAttribute", readParams()))

	form := "RoleArn=" + testRole + "&OIDCProviderArn=" + testProvider + "&OIDCToken=" + token + "&RoleSessionName=sgp-operator"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		base+"/?Action=AssumeRoleWithOIDC&Format=JSON&Version=2015-04-01", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body := sendRaw(t, request)
	if status != 200 || !strings.Contains(body, `"SecurityToken":"`) {
		t.Errorf("%d %s", status, body)
	}
	for _, call := range s.Calls() {
		for name, value := range call.Params {
			if value == token {
				t.Errorf("the OIDC token is in the log as %s", name)
			}
		}
	}
}

func TestServerSpeaksHTTPS(t *testing.T) {
	s := New(Options{})
	url, certPEM, stop, err := s.StartTLS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/_sim/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	wantEqual(t, "health", string(body), `{"status":"ok"}`+"\n")
}
