package securitygrouppolicy

import (
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// maxFinalizers is how many finalizers of others a cached object keeps at most; with
// one more, the object has to be read from the API server before any is written.
const maxFinalizers = 8

// Compact strips an object of what no pass reads, for the manager's cache, where there
// may be tens of thousands: what a user writes into an object costs the manager nothing
// that lasts, and what many of them say is held once.
func Compact(object any) (any, error) {
	o, ok := object.(client.Object)
	if !ok {
		return object, nil // a tombstone
	}
	o.SetManagedFields(nil)
	o.SetLabels(nil)
	o.SetOwnerReferences(nil)
	o.SetGenerateName("")
	o.SetFinalizers(compactFinalizers(o.GetFinalizers()))
	o.SetAnnotations(compactAnnotations(o.GetAnnotations()))
	switch o := object.(type) {
	case *v1alpha1.SecurityGroupPolicy:
		o.TypeMeta = metav1.TypeMeta{} // each read from the cache sets it
		sharePolicy(o)
	case *v1alpha1.SecurityGroupClaim:
		o.TypeMeta = metav1.TypeMeta{}
		shared.hold(&o.Spec.RegionID, &o.Spec.Account, &o.Spec.Holder.Namespace)
	}
	return o, nil
}

func compactAnnotations(all map[string]string) map[string]string {
	var kept map[string]string
	for _, name := range []string{v1alpha1.AnnotationReconcileRequestedAt, v1alpha1.AnnotationAbandon, v1alpha1.AnnotationApprove, v1alpha1.AnnotationConfirm} {
		value, found := all[name]
		if !found {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		// One more byte than is handled tells that there are too many.
		kept[name] = strings.Clone(value[:min(len(value), v1alpha1.MaxReconcileRequest+1)])
	}
	return kept
}

// compactFinalizers keeps the operator's own, and of the others so many that it is
// known whether they are all.
func compactFinalizers(all []string) []string {
	if len(all) <= maxFinalizers {
		return all
	}
	kept := slices.Clone(all[:maxFinalizers+1])
	if slices.Contains(all, v1alpha1.FinalizerRestore) && !slices.Contains(kept, v1alpha1.FinalizerRestore) {
		kept[0] = v1alpha1.FinalizerRestore
	}
	return kept
}

// sharePolicy holds once what many resources say.
func sharePolicy(p *v1alpha1.SecurityGroupPolicy) {
	status := &p.Status
	shared.hold(&p.Namespace, &p.Spec.RegionID, &p.Spec.InnerAccessPolicy, (*string)(&p.Spec.ManagementPolicy), (*string)(&p.Spec.DeletionPolicy),
		&status.InnerAccessPolicy, &status.OriginalInnerAccessPolicy)
	if m := status.LastModification; m != nil {
		shared.hold(&m.From, &m.To, (*string)(&m.Cause), &m.Account)
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		shared.hold(&c.Type, (*string)(&c.Status), &c.Reason, &c.Message)
	}
}

// shared are the texts that cached objects have in common.
var shared texts

// texts holds equal texts once. It forgets all of them when there are many: those that
// objects hold stay valid.
type texts struct {
	mu    sync.Mutex
	known map[string]string
}

const (
	manyTexts = 4096
	longText  = 256 // bytes: no text that many objects have in common is longer
)

// hold replaces texts by equal ones that are held already.
func (t *texts) hold(each ...*string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, text := range each {
		if *text == "" || len(*text) > longText {
			continue
		}
		if known, found := t.known[*text]; found {
			*text = known
			continue
		}
		if t.known == nil || len(t.known) >= manyTexts {
			t.known = make(map[string]string)
		}
		t.known[*text] = *text
	}
}
