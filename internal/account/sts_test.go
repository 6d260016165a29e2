package account

import (
	"testing"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

func TestWhereTheTokenServiceIs(t *testing.T) {
	t.Parallel()
	const (
		endpoint = "ALIBABA_CLOUD_STS_ENDPOINT"
		at       = "ALIBABA_CLOUD_STS_REGION"
		vpc      = "ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"
	)
	for name, tt := range map[string]struct {
		option       string
		env          map[string]string
		endpoint, in string // the endpoint is empty for the public one
		words        []string
	}{
		"public":               {},
		"public in a region":   {env: map[string]string{at: region}, in: region},
		"in a VPC":             {env: map[string]string{at: region, vpc: "true"}, endpoint: "https://sts-vpc.{region}.aliyuncs.com", in: region},
		"in a VPC, as Go says": {env: map[string]string{at: region, vpc: "True"}, endpoint: "https://sts-vpc.{region}.aliyuncs.com", in: region},
		"not in a VPC":         {env: map[string]string{at: region, vpc: "false"}, in: region},
		// sts-vpc.aliyuncs.com does not exist.
		"in a VPC somewhere": {env: map[string]string{vpc: "true"}},
		"what the webhook of RRSA sets": {env: map[string]string{endpoint: "sts-vpc.cn-beijing.aliyuncs.com", at: "cn-beijing", vpc: "true"},
			endpoint: "https://sts-vpc.cn-beijing.aliyuncs.com", in: "cn-beijing"},
		"with a scheme":            {env: map[string]string{endpoint: "https://sts.example.com:8443"}, endpoint: "https://sts.example.com:8443"},
		"the flag before it all":   {option: "https://sts.example.com", env: map[string]string{endpoint: "sts.aliyuncs.com", at: region, vpc: "true"}, endpoint: "https://sts.example.com", in: region},
		"the flag before an error": {option: "https://sts.example.com", env: map[string]string{endpoint: "http://sts.aliyuncs.com"}, endpoint: "https://sts.example.com"},
		// The token of the cluster would go over the network for all to read.
		"not encrypted":   {env: map[string]string{endpoint: "http://sts.aliyuncs.com"}, words: []string{endpoint, "not encrypted"}},
		"with a path":     {env: map[string]string{endpoint: "sts.aliyuncs.com/path"}, words: []string{endpoint, "a scheme and a host only"}},
		"with a password": {env: map[string]string{endpoint: "https://user:" + keySecret + "@sts.aliyuncs.com"}, words: []string{endpoint, "credentials do not belong there"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flag, err := ecs.ParseEndpoint(tt.option, false)
			if err != nil {
				t.Fatal(err)
			}
			got, err := stsFromEnvironment(Options{STSEndpoint: flag, Env: func(name string) string { return tt.env[name] }})
			if tt.words != nil {
				wantWords(t, err, tt.words...)
				return
			}
			if err != nil || got.Endpoint.String() != tt.endpoint || got.Region != tt.in {
				t.Errorf("got %q in %q, %v; want %q in %q", got.Endpoint, got.Region, err, tt.endpoint, tt.in)
			}
		})
	}
}

func TestATokenServiceThatCannotBeUsedIsSaidAtTheStart(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Env: func(name string) string {
		return map[string]string{"ALIBABA_CLOUD_STS_ENDPOINT": "ftp://sts.aliyuncs.com"}[name]
	}})
	wantWords(t, err, "ALIBABA_CLOUD_STS_ENDPOINT")
}

func TestTheTokenServiceOfTheEnvironmentIsUsed(t *testing.T) {
	t.Parallel()
	env, _ := rrsa(t, oidcToken)
	w := newWorld(t, worldOptions{env: env, edit: func(o *Options) {
		env["ALIBABA_CLOUD_STS_ENDPOINT"] = o.STSEndpoint.String()
		env["ALIBABA_CLOUD_STS_REGION"] = region
		o.STSEndpoint = ecs.Endpoint{}
	}})
	if got, err := w.observe(t, policy("", "sg-2")); err != nil || got != ecs.Drop {
		t.Errorf("got %q, %v", got, err)
	}
}
