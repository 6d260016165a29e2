package main

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

const claimsResource = "securitygroupclaims"

// frugal holds the Deployment as installed against what the manager is measured with:
// it sets neither by itself.
func (i *installation) frugal(t *testing.T) {
	deployment := &appsv1.Deployment{}
	if err := i.api.Get(t.Context(), types.NamespacedName{Namespace: i.namespace, Name: "sgp-manager"}, deployment); err != nil {
		t.Fatal(err)
	}
	set := map[string]string{}
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		set[variable.Name] = variable.Value
	}
	for name, want := range map[string]string{"GOGC": "36", "GOMAXPROCS": "1"} {
		if set[name] != want {
			t.Errorf("%s is %q, want %q", name, set[name], want)
		}
	}
}

// explained asks for every object of every kind, as the schema has them.
func (i *installation) explained(t *testing.T) {
	crds := &apiextensionsv1.CustomResourceDefinitionList{}
	if err := i.extensions(t).List(t.Context(), crds); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, crd := range crds.Items {
		if crd.Spec.Group != v1alpha1.GroupVersion.Group {
			continue
		}
		seen++
		for _, object := range objectsOf(crd.Spec.Names.Plural, *crd.Spec.Versions[0].Schema.OpenAPIV3Schema) {
			if out := i.run("explain", object); strings.Contains(out, "<no description>") || strings.Contains(out, "<empty>") {
				t.Errorf("%s has a field without a word:\n%s", object, out)
			}
		}
	}
	if seen != 3 {
		t.Errorf("%d kinds are installed, want 3", seen)
	}
}

// objectsOf are the paths of all objects in a schema, that of the schema first.
func objectsOf(path string, schema apiextensionsv1.JSONSchemaProps) []string {
	found := []string{path}
	for name, property := range schema.Properties {
		if property.Items != nil && property.Items.Schema != nil {
			property = *property.Items.Schema
		}
		if len(property.Properties) > 0 {
			found = append(found, objectsOf(path+"."+name, property)...)
		}
	}
	return found
}

func (i *installation) extensions(t *testing.T) client.Client {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(i.env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// claimsAreGuarded makes sure that nobody but the manager can take a group, and that
// the users of a namespace do not learn what others hold.
func (i *installation) claimsAreGuarded(t *testing.T) {
	roles := &rbacv1.ClusterRoleList{}
	if err := i.api.List(t.Context(), roles); err != nil {
		t.Fatal(err)
	}
	aggregated := 0
	for _, role := range roles.Items {
		if !strings.HasPrefix(role.Name, "sgp-") {
			continue
		}
		verbs := verbsOnClaims(role.Rules)
		if slices.ContainsFunc(verbs, func(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) }) && role.Name != "sgp-manager" {
			t.Errorf("%s may %v claims", role.Name, verbs)
		}
		for label := range role.Labels {
			if strings.HasPrefix(label, "rbac.authorization.k8s.io/aggregate-to-") {
				if aggregated++; len(verbs) > 0 {
					t.Errorf("%s is aggregated (%s) and may %v claims", role.Name, label, verbs)
				}
			}
		}
	}
	if aggregated == 0 {
		t.Error("no role is aggregated to the users of a namespace")
	}

	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "auditor"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sgp-securitygroupclaim-viewer"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "auditor"}}}
	if err := i.api.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	i.eventually("an administrator with the viewer's role lists the claims", func() (bool, error) {
		return i.try("get", "sgclaim", "--as", "auditor") == nil, nil
	})
	if i.try("get", "sgclaim", "--as", "somebody") == nil {
		t.Error("anybody may list the claims")
	}
	if i.try("auth", "can-i", "delete", claimsResource, "--as", "auditor") == nil {
		t.Error("the viewer's role lets claims be deleted")
	}
}

// verbsOnClaims are what rules allow to do with claims.
func verbsOnClaims(rules []rbacv1.PolicyRule) (verbs []string) {
	for _, rule := range rules {
		if slices.Contains(rule.APIGroups, v1alpha1.GroupVersion.Group) && slices.Contains(rule.Resources, claimsResource) {
			verbs = append(verbs, rule.Verbs...)
		}
	}
	return verbs
}

// claimIsListed reads what an administrator sees of the resource p, which holds sg-1.
func (i *installation) claimIsListed(t *testing.T) {
	i.run("wait", "--for=create", "sgclaim/cn-hangzhou.sg-1", "--timeout=30s")
	out := i.run("get", "sgclaim")
	header, row, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if want := []string{"NAME", "REGION", "GROUP", "NAMESPACE", "HOLDER", "ACCOUNT", "AGE"}; !slices.Equal(strings.Fields(header), want) {
		t.Errorf("kubectl get sgclaim has the columns %q, want %v", header, want)
	}
	want := []string{"cn-hangzhou.sg-1", "cn-hangzhou", "sg-1", "default", "p", v1alpha1.DefaultAccountName}
	if got := strings.Fields(row); len(got) != len(want)+1 || !slices.Equal(got[:len(want)], want) {
		t.Errorf("kubectl get sgclaim shows %q, want %v and an age", row, want)
	}
}
