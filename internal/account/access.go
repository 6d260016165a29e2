package account

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// allowed tells whether a resource may use an account, given the labels of its
// namespace. It is the one place that decides that.
func allowed(a *v1alpha1.ECSAccount, namespaceLabels map[string]string, p *v1alpha1.SecurityGroupPolicy) error {
	if a.Spec.AllowedNamespaces == nil {
		return notReady("ECSAccount %q may not be used from namespace %q: its allowedNamespaces names nobody", a.Name, p.Namespace)
	}
	selector, err := metav1.LabelSelectorAsSelector(&a.Spec.AllowedNamespaces.Selector)
	if err != nil {
		return notReady("ECSAccount %q cannot be used: its allowedNamespaces.selector is not valid", a.Name)
	}
	switch {
	case !selector.Matches(labels.Set(namespaceLabels)):
		return notReady("ECSAccount %q may not be used from namespace %q: its allowedNamespaces does not match it", a.Name, p.Namespace)
	case !matchesAny(a.Spec.AllowedRegions, p.Spec.RegionID):
		return notReady("ECSAccount %q may not be used for region %s: its allowedRegions does not name it", a.Name, p.Spec.RegionID)
	case !matchesAny(a.Spec.AllowedSecurityGroupIDs, p.Spec.SecurityGroupID):
		return notReady("ECSAccount %q may not be used for security group %s: its allowedSecurityGroupIds does not name it", a.Name, p.Spec.SecurityGroupID)
	}
	return nil
}

func notReady(format string, args ...any) error {
	return &NotReadyError{Reason: fmt.Sprintf(format, args...)}
}

// matchesAny tells whether one of the patterns matches, or there are none.
func matchesAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if matches(p, s) {
			return true
		}
	}
	return len(patterns) == 0
}

// matches compares with a pattern in which * stands for any characters.
func matches(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
