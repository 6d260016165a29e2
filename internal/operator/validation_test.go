package operator_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/manifests"
)

func TestBadInputIsRefusedByTheAPIServer(t *testing.T) {
	namespace := "validation"
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set    map[string]any
		remove string
		want   string // a part of the message; empty if it is accepted
	}{
		"everything set": {set: map[string]any{"managementPolicy": "Observe", "deletionPolicy": "Restore", "suspend": true, "resyncInterval": "1h30m",
			"accountRef": map[string]any{"name": "prod"}, "ownerAccount": "ECSforCloud@Alibaba.com"}},
		"policy in lower case":         {set: map[string]any{"innerAccessPolicy": "drop"}},
		"policy in mixed case":         {set: map[string]any{"innerAccessPolicy": "aCCEPT"}},
		"a policy that does not exist": {set: map[string]any{"innerAccessPolicy": "Deny"}, want: "innerAccessPolicy must be Accept or Drop, in any letter case"},
		"an empty policy":              {set: map[string]any{"innerAccessPolicy": ""}, want: "spec.innerAccessPolicy"},
		"no policy":                    {remove: "innerAccessPolicy", want: "spec.innerAccessPolicy: Required value"},
		"an id of 100 characters":      {set: map[string]any{"securityGroupId": strings.Repeat("a", 100)}},
		"an id of 101 characters":      {set: map[string]any{"securityGroupId": strings.Repeat("a", 101)}, want: "securityGroupId must be 1 to 100 letters"},
		"an id of 300 characters":      {set: map[string]any{"securityGroupId": strings.Repeat("a", 300)}, want: "spec.securityGroupId: Too long"},
		"an id with a blank":           {set: map[string]any{"securityGroupId": "sg 1"}, want: "securityGroupId must be 1 to 100 letters"},
		"an id with a line break":      {set: map[string]any{"securityGroupId": "sg-1\n"}, want: "securityGroupId must be 1 to 100 letters"},
		"no id":                        {remove: "securityGroupId", want: "spec.securityGroupId: Required value"},
		"a region in upper case":       {set: map[string]any{"regionId": "CN-Hangzhou"}, want: "regionId must be the id of an Alibaba Cloud region"},
		"a region that is a host":      {set: map[string]any{"regionId": "cn-hangzhou.evil.test"}, want: "regionId must be the id of an Alibaba Cloud region"},
		"a region with many parts":     {set: map[string]any{"regionId": "cn-wulanchabu-gic-1"}},
		"no region":                    {remove: "regionId", want: "spec.regionId: Required value"},
		"an interval of 30s":           {set: map[string]any{"resyncInterval": "30s"}},
		"an interval under 30s":        {set: map[string]any{"resyncInterval": "29s"}, want: "resyncInterval must be a duration of at least 30s"},
		"an interval in words":         {set: map[string]any{"resyncInterval": "1 day"}, want: "resyncInterval must be a duration of at least 30s"},
		"a negative interval":          {set: map[string]any{"resyncInterval": "-10m"}, want: "resyncInterval must be a duration of at least 30s"},
		"an endless interval":          {set: map[string]any{"resyncInterval": "99999999999h"}, want: "resyncInterval must be a duration of at least 30s"},
		"an unknown managementPolicy":  {set: map[string]any{"managementPolicy": "Watch"}, want: "spec.managementPolicy: Unsupported value: \"Watch\": supported values: \"Enforce\", \"Observe\""},
		"an unknown deletionPolicy":    {set: map[string]any{"deletionPolicy": "Delete"}, want: "spec.deletionPolicy: Unsupported value: \"Delete\": supported values: \"Retain\", \"Restore\""},
		"an account without a name":    {set: map[string]any{"accountRef": map[string]any{}}, want: "spec.accountRef.name: Required value"},
		"an account with a bad name":   {set: map[string]any{"accountRef": map[string]any{"name": "Prod/1"}}, want: "accountRef.name must be the name of an ECSAccount"},
		"an owner with a blank":        {set: map[string]any{"ownerAccount": "a b"}, want: "ownerAccount must be 1 to 128 printable ASCII characters"},
		"a field that does not exist":  {set: map[string]any{"inneraccesspolicy": "Drop"}, want: "unknown field \"spec.inneraccesspolicy\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := map[string]any{"regionId": "cn-hangzhou", "securityGroupId": "sg-bp1abcdefgh", "innerAccessPolicy": "Drop"}
			for k, v := range c.set {
				spec[k] = v
			}
			delete(spec, c.remove)
			u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
			u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityGroupPolicy"))
			u.SetName("p-" + strings.ToLower(rand.Text()))
			u.SetNamespace(namespace)
			if problems := checked(t, u); (len(problems) > 0) != (c.want != "") {
				t.Errorf("without a cluster: %v", problems)
			}
			err := api.Create(t.Context(), u, client.FieldValidation("Strict"))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v\nwant a message with %q", err, c.want)
			}
		})
	}
}

// checked are the problems that a manifest has for whoever checks it without a cluster:
// it must be the same word as the API server's.
func checked(t *testing.T, object any) []manifests.Problem {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	_, problems, err := manifests.Read(t.Context(), manifests.Sources{Files: []string{"-"}, Stdin: bytes.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

func TestWhatCannotBeChanged(t *testing.T) {
	w := newWorld(t)
	w.policy("fixed", "sg-1", "Drop")
	for name, c := range map[string]struct {
		change func(*v1alpha1.SecurityGroupPolicy)
		want   string
	}{
		"the region": {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.RegionID = "cn-beijing" }, "regionId cannot be changed: delete this resource"},
		"the group":  {func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.SecurityGroupID = "sg-2" }, "securityGroupId cannot be changed: delete this resource"},
	} {
		p := w.get("fixed")
		c.change(p)
		if err := api.Update(t.Context(), p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a message with %q", name, err, c.want)
		}
	}
}

func TestANewResourceHasDefaultsAndDoesNotLookHealthy(t *testing.T) {
	w := newWorld(t)
	w.policy("new", "sg-1", "dROP")
	p := w.get("new")
	if p.Spec.ManagementPolicy != v1alpha1.ManagementEnforce || p.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		t.Errorf("defaults: %+v", p.Spec)
	}
	if p.Spec.InnerAccessPolicy != "dROP" {
		t.Errorf("the policy was rewritten to %q", p.Spec.InnerAccessPolicy)
	}
	if p.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration %d of a resource that nobody has looked at", p.Status.ObservedGeneration)
	}
}

func TestAnEndpointThatLetsARegionChooseTheHostIsRefusedByTheAPIServer(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://ecs-vpc.{region}.aliyuncs.com":          "",
		"https://{region}.ecs-{region}.example.internal": "",
		"https://ecs.{region}.example.internal:8443":     "",
		"https://ecs.example":                            "",
		"http://127.0.0.1:18080":                         "",
		"http://localhost:18080":                         "",
		"https://[::1]:18080":                            "",
		"https://{region}":                               "needs a fixed domain after {region}",
		"https://x.{region}":                             "needs a fixed domain after {region}",
		"https://ecs.{region}:443":                       "needs a fixed domain after {region}",
		"https://ecs.com.{region}":                       "needs a fixed domain after {region}",
		"https://ecs.{region}.com":                       "needs a fixed domain after {region}",
		"https://ecs.{region}..com":                      "needs a fixed domain after {region}",
		"https://ecs.{region}.aliyuncs.{region}":         "needs a fixed domain after {region}",
		"https://ecs.{regions}.aliyuncs.com":             "must be a scheme and a host",
		"https://ecs.{region}.aliyuncs.com/path":         "must be a scheme and a host",
		"ecs.cn-hangzhou.aliyuncs.com":                   "must be a scheme and a host",
		"https://key:secret@ecs.{region}.aliyuncs.com":   "must be a scheme and a host",
	} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			a := &v1alpha1.ECSAccount{
				TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ECSAccount"},
				ObjectMeta: metav1.ObjectMeta{Name: "endpoint"}, Spec: v1alpha1.ECSAccountSpec{Endpoint: endpoint},
			}
			if problems := checked(t, a); (len(problems) > 0) != (want != "") {
				t.Errorf("without a cluster: %v", problems)
			}
			err := api.Create(t.Context(), a, client.DryRunAll)
			switch {
			case want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), "spec.endpoint") || !strings.Contains(err.Error(), want)):
				t.Errorf("got %v\nwant a message of spec.endpoint with %q", err, want)
			}
		})
	}
}
