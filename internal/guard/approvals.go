package guard

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// trustedFor is for how long it counts that the API server asks who approves.
const trustedFor = time.Minute

// Approvals tells what accounts demand. It is safe for concurrent use.
type Approvals struct {
	// Cache holds the accounts; API reads from the API server itself.
	Cache, API client.Reader
	// Now is the clock.
	Now func() time.Time

	mu        sync.Mutex
	trustedAt time.Time
}

// Demanded tells whether an account demands an approval of changes to a value. Anybody who
// may edit a resource may set an annotation on it, unless the API server keeps them from
// it: where it does not, distrust says so.
func (a *Approvals) Demanded(ctx context.Context, account, to string) (demanded bool, distrust string, err error) {
	if account == v1alpha1.OwnAccount {
		return false, "", nil
	}
	known := &v1alpha1.ECSAccount{}
	switch err := a.Cache.Get(ctx, types.NamespacedName{Name: account}, known); {
	case apierrors.IsNotFound(err):
		return false, "", nil // nothing is sent without it either
	case err != nil:
		return false, "", fmt.Errorf("read ECSAccount %s: %w", account, err)
	case !slices.Contains(known.Spec.ChangeApproval, to):
		return false, "", nil
	}
	distrust, err = a.distrust(ctx)
	return true, distrust, err
}

// distrust says why the annotation may come from anybody.
func (a *Approvals) distrust(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.trustedAt.IsZero() && a.Now().Sub(a.trustedAt) < trustedFor {
		return "", nil
	}
	const name = v1alpha1.ApprovalPolicyName
	policy, binding := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	for _, o := range []client.Object{policy, binding} {
		switch err := a.API.Get(ctx, types.NamespacedName{Name: name}, o); {
		case apierrors.IsNotFound(err):
			return fmt.Sprintf("the cluster has no %s %s: install config/approvals", kindOf(o), name), nil
		case apierrors.IsForbidden(err):
			return fmt.Sprintf("the manager may not read the %s %s", kindOf(o), name), nil
		case err != nil:
			return "", fmt.Errorf("read the %s %s: %w", kindOf(o), name, err)
		}
	}
	switch {
	case policy.Spec.FailurePolicy != nil && *policy.Spec.FailurePolicy != admissionregistrationv1.Fail:
		return "the ValidatingAdmissionPolicy " + name + " does not have failurePolicy Fail", nil
	case len(policy.Spec.MatchConditions) > 0, isNarrowed(policy.Spec.MatchConstraints):
		return "the ValidatingAdmissionPolicy " + name + " does not ask for all resources", nil
	case binding.Spec.PolicyName != name, !slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny), binding.Spec.MatchResources != nil:
		return "the ValidatingAdmissionPolicyBinding " + name + " does not deny for all resources", nil
	}
	a.trustedAt = a.Now()
	return "", nil
}

// isNarrowed tells whether there are resources that a policy does not ask for.
func isNarrowed(m *admissionregistrationv1.MatchResources) bool {
	chooses := func(s *metav1.LabelSelector) bool { return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 }
	return m != nil && (len(m.ExcludeResourceRules) > 0 || chooses(m.NamespaceSelector) || chooses(m.ObjectSelector))
}

func kindOf(o client.Object) string {
	if _, ok := o.(*admissionregistrationv1.ValidatingAdmissionPolicy); ok {
		return "ValidatingAdmissionPolicy"
	}
	return "ValidatingAdmissionPolicyBinding"
}
