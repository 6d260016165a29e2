package account

import (
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

func TestWhoMayUseAnAccount(t *testing.T) {
	t.Parallel()
	prod := metav1.LabelSelector{MatchLabels: map[string]string{"account": "prod"}}
	byName := metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "shop"}}
	chosen := func(s metav1.LabelSelector) func(*v1alpha1.ECSAccountSpec) {
		return func(a *v1alpha1.ECSAccountSpec) { a.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Selector: &s} }
	}
	all := func(a *v1alpha1.ECSAccountSpec) { a.AllowedNamespaces = &v1alpha1.AllowedNamespaces{All: true} }
	regions := func(patterns ...string) func(*v1alpha1.ECSAccountSpec) {
		return func(a *v1alpha1.ECSAccountSpec) { a.AllowedRegions = patterns }
	}
	groups := func(patterns ...string) func(*v1alpha1.ECSAccountSpec) {
		return func(a *v1alpha1.ECSAccountSpec) { a.AllowedSecurityGroupIDs = patterns }
	}
	type edits = []func(*v1alpha1.ECSAccountSpec)
	for name, tt := range map[string]struct {
		labels map[string]string
		edits  edits
		words  []string // of the refusal; none if it may
	}{
		"nobody said who":              {map[string]string{"account": "prod"}, edits{func(a *v1alpha1.ECSAccountSpec) { a.AllowedNamespaces = nil }}, []string{`"prod"`, `"shop"`, "it does not exist, or its allowedNamespaces does not match"}},
		"neither all nor a selector":   {nil, edits{func(a *v1alpha1.ECSAccountSpec) { a.AllowedNamespaces = &v1alpha1.AllowedNamespaces{} }}, []string{"allowedNamespaces does not match"}},
		"a selector of nothing":        {nil, edits{chosen(metav1.LabelSelector{})}, []string{"allowedNamespaces does not match"}},
		"a selector of no label":       {map[string]string{"account": "prod"}, edits{chosen(metav1.LabelSelector{MatchLabels: map[string]string{}})}, []string{"allowedNamespaces does not match"}},
		"both all and a selector":      {map[string]string{"account": "prod"}, edits{all, func(a *v1alpha1.ECSAccountSpec) { a.AllowedNamespaces.Selector = &prod }}, []string{"allowedNamespaces does not match"}},
		"everybody":                    {nil, edits{all}, nil},
		"the label":                    {map[string]string{"account": "prod", "more": "labels"}, edits{chosen(prod)}, nil},
		"another label":                {map[string]string{"account": "test"}, edits{chosen(prod)}, []string{"allowedNamespaces does not match"}},
		"no label":                     {nil, edits{chosen(prod)}, []string{"allowedNamespaces does not match"}},
		"the name":                     {map[string]string{"kubernetes.io/metadata.name": "shop"}, edits{chosen(byName)}, nil},
		"an expression":                {map[string]string{"account": "test"}, edits{chosen(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "account", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"prod"}}}})}, nil},
		"an expression without sense":  {map[string]string{"account": "prod"}, edits{chosen(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "account", Operator: "Near"}}})}, []string{"it does not exist, or its allowedNamespaces does not match"}},
		"the region":                   {nil, edits{all, regions(region)}, nil},
		"a region like it":             {nil, edits{all, regions("eu-*", "cn-*")}, nil},
		"other regions":                {nil, edits{all, regions("eu-*", "cn-hangzhou-*")}, []string{"region cn-hangzhou", "allowedRegions"}},
		"the group":                    {nil, edits{all, groups("sg-1")}, nil},
		"groups like it":               {nil, edits{all, groups("sg-*")}, nil},
		"other groups":                 {nil, edits{all, groups("sg-10", "sg-1-*", "s-1")}, []string{"security group sg-1", "allowedSecurityGroupIds"}},
		"region and group":             {nil, edits{all, regions("cn-*"), groups("*1")}, nil},
		"the region, another group":    {nil, edits{all, regions("cn-*"), groups("*2")}, []string{"security group"}},
		"the region, not by namespace": {nil, edits{chosen(prod), regions("*"), groups("*")}, []string{"allowedNamespaces does not match"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := allowed(account("prod", tt.edits...), tt.labels, policy("prod", "sg-1"))
			if tt.words != nil {
				wantNotReady(t, err, tt.words...)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"cn-hangzhou", "cn-hangzhou", true},
		{"cn-hangzhou", "cn-hangzhou-1", false},
		{"hangzhou", "cn-hangzhou", false},
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "anything", true},
		{"**", "", true},
		{"cn-*", "cn-", true},
		{"cn-*", "cn-beijing", true},
		{"cn-*", "xcn-beijing", false},
		{"*-1", "sg-1", true},
		{"*-1", "sg-12", false},
		{"a*b", "ab", true},
		{"a*a", "a", false},
		{"ab*ba", "aba", false},
		{"a*b*c", "a-c-b", false},
		{"a*b*c", "a-b-c", true},
		{"*ab*ab*", "abab", true},
		{"*ab*ab*", "abb", false},
		{"*aab*b", "aaabb", true},
		{"sg.1", "sg-1", false}, // not a regular expression
		{"SG-1", "sg-1", false},
	} {
		if got := matches(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q with %q: %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("cn-*", "cn-hangzhou")
	f.Add("a*b*c", "abc")
	f.Add("ab*ba", "aba")
	f.Add("*ab*ab*", "abb")
	f.Add("\xff*", "\xff\n")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		// Regular expressions read runes, patterns read bytes: they agree on ASCII.
		if strings.ContainsFunc(pattern+s, func(r rune) bool { return r > 127 }) {
			t.Skip()
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		want := regexp.MustCompile(`(?s)\A` + strings.Join(parts, ".*") + `\z`).MatchString(s)
		if got := matches(pattern, s); got != want {
			t.Errorf("%q with %q: %v, want %v", pattern, s, got, want)
		}
	})
}
