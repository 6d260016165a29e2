package securitygrouppolicy

import (
	"testing"

	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

func TestTheEndOfAClaimWakesTheNextCandidateAlone(t *testing.T) {
	const n = 10_000
	r := benchReconciler(testclock.NewFakePassiveClock(epoch))
	c := candidates(r, n)
	q := &wokenQueue{}
	r.ofClaim().Delete(t.Context(), event.DeleteEvent{Object: c}, q)
	if len(q.woken) != 1 || q.woken[0].Name != "r-0" {
		t.Errorf("%d of %d were woken: %v", len(q.woken), n, q.woken[:min(len(q.woken), 3)])
	}
	c.Spec.Holder = v1alpha1.ClaimHolder{Namespace: "bench", Name: "r-0", UID: "00000"}
	q.woken = nil
	r.ofClaim().Delete(t.Context(), event.DeleteEvent{Object: c}, q)
	if len(q.woken) != 2 || q.woken[0].Name != "r-0" || q.woken[1].Name != "r-1" {
		t.Errorf("of %d the former holder and the next one were to be woken, not %v", n, q.woken)
	}
}
