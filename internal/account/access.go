package account

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// allowed tells whether a resource may use an account, given the labels of its
// namespace. It is the one place that decides that. Who may not use an account does
// not learn whether there is one.
func allowed(a *v1alpha1.ECSAccount, namespaceLabels map[string]string, p *v1alpha1.SecurityGroupPolicy) error {
	if !allowsNamespace(a, namespaceLabels) {
		return notAllowed("%s", unknown(NameFor(p), p.Namespace))
	}
	switch {
	case !matchesAny(a.Spec.AllowedRegions, p.Spec.RegionID):
		return notAllowed("ECSAccount %q may not be used for region %s: its allowedRegions does not name it", a.Name, p.Spec.RegionID)
	case !matchesAny(a.Spec.AllowedSecurityGroupIDs, p.Spec.SecurityGroupID):
		return notAllowed("ECSAccount %q may not be used for security group %s: its allowedSecurityGroupIds does not name it", a.Name, p.Spec.SecurityGroupID)
	}
	return nil
}

// allowsNamespace takes nothing for everybody but the words for it, since an account may
// have been stored before the API server insisted on them.
func allowsNamespace(a *v1alpha1.ECSAccount, namespaceLabels map[string]string) bool {
	allowed := a.Spec.AllowedNamespaces
	switch {
	case allowed == nil || allowed.All == (allowed.Selector != nil):
		return false
	case allowed.All:
		return true
	case len(allowed.Selector.MatchLabels)+len(allowed.Selector.MatchExpressions) == 0:
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(allowed.Selector)
	return err == nil && selector.Matches(labels.Set(namespaceLabels))
}

// unknown is what is said of an account that does not exist, and of one that may not
// be used, so that nobody can tell them apart.
func unknown(account, namespace string) string {
	return fmt.Sprintf("ECSAccount %q cannot be used from namespace %q: it does not exist, or its allowedNamespaces does not match the namespace; ask an administrator to create or allow it, or name another in spec.accountRef", account, namespace)
}

func notReady(format string, args ...any) error {
	return &NotReadyError{Reason: fmt.Sprintf(format, args...)}
}

func notAllowed(format string, args ...any) error {
	return &NotReadyError{Reason: fmt.Sprintf(format, args...), NotAllowed: true}
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
