package operator_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// TestTheEndOfAnothersClaimDoesNotConcernWhoObservesOnly has a holder that this manager
// has never known: another shard's, or one that was gone before it started.
func TestTheEndOfAnothersClaimDoesNotConcernWhoObservesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	claim := &v1alpha1.SecurityGroupClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claims.Group{RegionID: w.region, SecurityGroupID: "sg-1"}.ClaimName()},
		Spec: v1alpha1.SecurityGroupClaimSpec{RegionID: w.region, SecurityGroupID: "sg-1", Since: metav1.Now(),
			Holder: v1alpha1.ClaimHolder{Namespace: "elsewhere", Name: "holder", UID: "unknown-to-this-manager"}},
	}
	if err := api.Create(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	w.policy("p", "sg-1", "Drop", observeOnly)
	n := w.countWrites()
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	if err := client.IgnoreNotFound(api.Delete(t.Context(), claim)); err != nil {
		t.Fatal(err)
	}
	w.awaitHolder("sg-1", "")
	w.reconcileNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	n.want(t, 2, 0, 0) // the first observation, and the request
}
