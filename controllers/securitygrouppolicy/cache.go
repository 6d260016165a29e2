package securitygrouppolicy

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// Compact strips an object of what no pass reads, for the manager's cache, where there
// may be tens of thousands: what a user writes into an object costs the manager nothing
// that lasts.
func Compact(object any) (any, error) {
	o, ok := object.(client.Object)
	if !ok {
		return object, nil // a tombstone
	}
	o.SetManagedFields(nil)
	o.SetLabels(nil)
	o.SetOwnerReferences(nil)
	kept := map[string]string{}
	for _, name := range []string{v1alpha1.AnnotationReconcileRequestedAt, v1alpha1.AnnotationAbandon} {
		if value, found := o.GetAnnotations()[name]; found {
			// One more byte than is handled tells that there are too many.
			kept[name] = string([]byte(value[:min(len(value), v1alpha1.MaxReconcileRequest+1)]))
		}
	}
	if len(kept) == 0 {
		kept = nil
	}
	o.SetAnnotations(kept)
	return o, nil
}
