package manifests_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sgp-operator/sgp-operator/internal/manifests"
)

const good = `apiVersion: ecs.alibabacloud.com/v1alpha1
kind: SecurityGroupPolicy
metadata:
  name: web
  namespace: net
spec:
  regionId: cn-hangzhou
  securityGroupId: sg-1
  innerAccessPolicy: Drop
`

// read reads one file of that text, and says what was found in a line each.
func read(t *testing.T, text string) (resources, problems []string) {
	t.Helper()
	found, wrong, err := manifests.Read(t.Context(), manifests.Sources{Files: []string{"-"}, Stdin: strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		resources = append(resources, r.String()+" "+manifests.ResourceName(r.Policy.Namespace, r.Policy.Name)+" "+r.Policy.Spec.InnerAccessPolicy)
	}
	for _, p := range wrong {
		problems = append(problems, p.Reason+" "+p.String())
	}
	return resources, problems
}

func TestEveryMistakeIsNamedWithLineFieldAndRemedy(t *testing.T) {
	edited := func(old, replacement string) string { return strings.Replace(good, old, replacement, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"a value that a rule refuses": {edited("Drop", "Deny"),
			`InvalidValue -:9: net/web: spec.innerAccessPolicy: Invalid value: "Deny": innerAccessPolicy must be Accept or Drop, in any letter case; ` +
				`innerAccessPolicy says whether instances of the group reach one another over the internal network`},
		"a value of another type": {edited("sg-1", "1"),
			`InvalidValue -:8: net/web: spec.securityGroupId: Invalid value: "integer": spec.securityGroupId in body must be of type string: "integer"; ` +
				`securityGroupId is the id of the security group, for example sg-bp1abcdefgh`},
		"a field that is missing": {edited("  regionId: cn-hangzhou\n", ""),
			`MissingField -:6: net/web: spec.regionId: is missing; regionId is the region of the security group, for example cn-hangzhou`},
		"a field that does not exist": {edited("regionId", "managmentPolicy: Observe\n  regionId"),
			`UnknownField -:7: net/web: spec.managmentPolicy: there is no such field; remove it, or write one of accountRef, deletionPolicy, ` +
				`innerAccessPolicy, managementPolicy, ownerAccount, regionId, resyncInterval, rollbackAfter, securityGroupId, suspend, verifyIsolation`},
		"a value that is none of those": {edited("spec:", "spec:\n  managementPolicy: Watch"),
			`InvalidValue -:7: net/web: spec.managementPolicy: Unsupported value: "Watch": supported values: "Enforce", "Observe"; ` +
				`managementPolicy is Enforce to make the group as declared and keep it so, or Observe to report a difference and never write to the cloud`},
		"a name that is none": {edited("name: web", "name: Web_1"),
			`InvalidValue -:4: net/Web_1: metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, ` +
				`'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is ` +
				`'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		"no name":                   {edited("  name: web\n", ""), `MissingField -:3: metadata.name: is missing; give the resource a name`},
		"a misspelt metadata":       {edited("namespace", "namspace"), `InvalidValue -:3: web: metadata: Invalid value: "": unknown field "namspace"`},
		"a version that is none":    {edited("v1alpha1", "v1"), `UnknownVersion -:1: net/web: apiVersion: there is no kind "SecurityGroupPolicy" in "ecs.alibabacloud.com/v1"; write apiVersion: ecs.alibabacloud.com/v1alpha1 and kind: SecurityGroupPolicy`},
		"a group that is none":      {edited("alibabacloud", "alibabaclod"), `UnknownVersion -:1: net/web: apiVersion: there is no kind "SecurityGroupPolicy" in "ecs.alibabaclod.com/v1alpha1"; write apiVersion: ecs.alibabacloud.com/v1alpha1 and kind: SecurityGroupPolicy`},
		"a key that is there twice": {edited("  securityGroupId", "  regionId: cn-beijing\n  securityGroupId"), `BadYAML -:8: key "regionId" already set in map; correct the YAML, or leave the file out`},
		"no YAML":                   {edited("spec:", "spec: {"), `BadYAML -:7: did not find expected ',' or '}'; correct the YAML, or leave the file out`},
		"the second of a file": {good + "---\n" + strings.ReplaceAll(strings.Replace(good, "name: web", "name: db", 1), "sg-1", "sg 2"),
			`InvalidValue -:18: net/db: spec.securityGroupId: Invalid value: "sg 2": securityGroupId must be 1 to 100 letters, digits, hyphens or underscores, ` +
				`for example sg-bp1abcdefgh; securityGroupId is the id of the security group, for example sg-bp1abcdefgh`},
		"the same twice": {good + "--- # again\n" + good, `Duplicate -:13: net/web: metadata.name: the same SecurityGroupPolicy is in -:3 already; remove one of them, or give it another name`},
		"an account": {"apiVersion: ecs.alibabacloud.com/v1alpha1\nkind: ECSAccount\nmetadata: {name: prod}\nspec:\n  endpoint: nowhere\n",
			`InvalidValue -:5: prod: spec.endpoint: Invalid value: "nowhere": endpoint must be a scheme and a host, for example https://ecs-vpc.{region}.aliyuncs.com; ` +
				`endpoint of ECS, for example https://ecs-vpc.{region}.aliyuncs.com`},
		"an item of a list": {"apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(strings.Replace(good, "Drop", "Deny", 1)), "\n", "\n  "),
			`InvalidValue -:12: net/web: spec.innerAccessPolicy: Invalid value: "Deny": innerAccessPolicy must be Accept or Drop, in any letter case; ` +
				`innerAccessPolicy says whether instances of the group reach one another over the internal network`},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := read(t, c.text)
			if diff := cmp.Diff(c.want, strings.Join(problems, "\n")); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// A file may hold anything else: other kinds, comments, templates.
func TestWhatIsOfAnotherKindIsLeftAside(t *testing.T) {
	resources, problems := read(t, "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\n"+
		"{{- if .Values.enabled }}\nkind: Deployment\n---\n"+
		"apiVersion: vpcresources.k8s.aws/v1beta1\nkind: SecurityGroupPolicy\nmetadata: {name: eks}\n---\n"+good+"status:\n  innerAccessPolicy: Accept\n---\n")
	if diff := cmp.Diff([]string{"-:16 net/web Drop"}, resources); diff != "" || problems != nil {
		t.Errorf("problems %q, resources -want +got\n%s", problems, diff)
	}
}

// What stands beside a mistake is read all the same, from files, folders, trees and
// kustomizations, in an order that does not change.
func TestEverySourceIsReadAndAMistakeHidesNothing(t *testing.T) {
	folder := t.TempDir()
	named := func(name string) string { return strings.Replace(good, "name: web", "name: "+name, 1) }
	for path, text := range map[string]string{
		"b.yaml": named("b"), "a.yml": named("a"), "broken.yaml": named("x") + "\t", "notes.txt": named("no"),
		"deep/er/c.json": `{"apiVersion":"ecs.alibabacloud.com/v1alpha1","kind":"SecurityGroupPolicy","metadata":{"name":"c","namespace":"net"},` +
			`"spec":{"regionId":"cn-hangzhou","securityGroupId":"sg-1","innerAccessPolicy":"accept"}}`,
		"deep/kustomization.yaml": "namePrefix: k-\nresources: [er/c.json]\n",
	} {
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	deep := filepath.Join(folder, "deep")
	for name, c := range map[string]struct {
		sources  manifests.Sources
		want     []string
		problems []string
	}{
		"a folder": {manifests.Sources{Files: []string{folder}}, []string{"a.yml:3 net/a Drop", "b.yaml:3 net/b Drop"}, []string{"broken.yaml:10 BadYAML"}},
		"a tree": {manifests.Sources{Trees: []string{folder}}, []string{"a.yml:3 net/a Drop", "b.yaml:3 net/b Drop", "deep/er/c.json:1 net/c accept"},
			[]string{"broken.yaml:10 BadYAML"}},
		"a kustomization":          {manifests.Sources{Kustomizations: []string{deep}}, []string{"deep net/k-c accept"}, nil},
		"a folder that is missing": {manifests.Sources{Files: []string{filepath.Join(folder, "none")}}, nil, []string{"none Unreadable"}},
		"a tree that is missing":   {manifests.Sources{Trees: []string{filepath.Join(folder, "none")}}, nil, []string{"none Unreadable"}},
		"a folder without any":     {manifests.Sources{Kustomizations: []string{filepath.Join(folder, "deep/er")}}, nil, []string{"deep/er Unreadable"}},
	} {
		t.Run(name, func(t *testing.T) {
			found, wrong, err := manifests.Read(t.Context(), c.sources)
			if err != nil {
				t.Fatal(err)
			}
			var resources, problems []string
			for _, r := range found {
				resources = append(resources, strings.TrimPrefix(r.String(), folder+"/")+" "+manifests.ResourceName(r.Policy.Namespace, r.Policy.Name)+" "+r.Policy.Spec.InnerAccessPolicy)
			}
			for _, p := range wrong {
				problems = append(problems, strings.TrimPrefix(p.Place.String(), folder+"/")+" "+p.Reason)
			}
			if diff := cmp.Diff(c.want, resources) + cmp.Diff(c.problems, problems); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// Whatever a file holds, it is read or refused, and what is read is what was written.
func FuzzRead(f *testing.F) {
	f.Add(good)
	f.Add("apiVersion: v1\nkind: List\nitems: [" + strings.ReplaceAll(good, "\n", "\n ") + "]")
	f.Add("- &a [*a]\n--- SecurityGroupPolicy")
	f.Add("SecurityGroupPolicy: !!binary x\nitems: [1, {}]\nkind: List")
	f.Fuzz(func(t *testing.T, text string) {
		found, problems, err := manifests.Read(t.Context(), manifests.Sources{Files: []string{"-"}, Stdin: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
		lines := 1 + strings.Count(text, "\n") + strings.Count(text, "\r")
		for _, r := range found {
			if r.Policy.Name == "" || r.Policy.Spec.RegionID == "" || r.Line < 1 || r.Line > lines {
				t.Errorf("read %+v", r)
			}
		}
		for _, p := range problems {
			if p.Line < 0 || p.Line > lines+1 || strings.ContainsAny(p.String(), "\n\x1b") {
				t.Errorf("%d lines, problem %q", lines, p.String())
			}
		}
	})
}
