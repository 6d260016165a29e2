package securitygrouppolicy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
)

// The oldest observation is one that somebody relies on: of a resource that says how its
// group is, and is not suspended. A standby, which observes nothing, has none.
func TestTheOldestObservationIsOneThatSomebodyReliesOn(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	policy := func(name, status, reason string, edits ...func(*v1alpha1.SecurityGroupPolicy)) *v1alpha1.SecurityGroupPolicy {
		p := &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "net", UID: types.UID(name)}}
		p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionStatus(status), Reason: reason}}
		for _, edit := range edits {
			edit(p)
		}
		return p
	}
	ready := policy("ready", "True", "InSync")
	patient := policy("patient", "True", "InSync", func(p *v1alpha1.SecurityGroupPolicy) {
		p.Spec.ResyncInterval = &metav1.Duration{Duration: time.Hour}
	})
	drifted := policy("drifted", "False", "DriftDetected")
	stalled := policy("stalled", "False", "AccessDenied")
	held := policy("held", "False", "ApprovalRequired", func(p *v1alpha1.SecurityGroupPolicy) {
		p.Status.Conditions = append(p.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: "ApprovalRequired"})
	})
	waiting := policy("waiting", "False", "ApprovalRequired")
	asleep := policy("asleep", "True", "Suspended", func(p *v1alpha1.SecurityGroupPolicy) { p.Spec.Suspend = true })
	claim := &v1alpha1.SecurityGroupClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: v1alpha1.SecurityGroupClaimSpec{RequestedAt: new(metav1.NewTime(now))}}
	other := &v1alpha1.SecurityGroupClaim{ObjectMeta: metav1.ObjectMeta{Name: "d"}}
	clock := clocktesting.NewFakePassiveClock(now)
	r := &Reconciler{
		Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(ready, patient, drifted, stalled, asleep, held, waiting, claim, other).Build(),
		Clock:  clock, ResyncInterval: 10 * time.Minute,
	}
	want := metrics.Fleet{Claims: 2, Requested: 1, HeldForApproval: 1, HeldForBudget: 1, Policies: map[metrics.State]int{
		{Ready: "True", Reason: "InSync"}: 2, {Ready: "False", Reason: "DriftDetected"}: 1, {Ready: "False", Reason: "AccessDenied"}: 1, {Ready: "True", Reason: "Suspended"}: 1,
		{Ready: "False", Reason: "ApprovalRequired"}: 2,
	}}
	if diff := cmp.Diff(want, r.countFleet()); diff != "" {
		t.Errorf("of a standby: -want +got\n%s", diff)
	}
	for _, p := range []*v1alpha1.SecurityGroupPolicy{ready, patient, drifted, stalled, asleep} {
		r.memory.track(p.UID, now.Add(-2*time.Hour))
	}
	seen := func(p *v1alpha1.SecurityGroupPolicy, ago time.Duration) {
		r.memory.keep(p.UID, entry{since: now.Add(-2 * time.Hour), observed: "Drop", observedAt: now.Add(-ago)})
	}
	seen(ready, 5*time.Minute)
	seen(patient, 50*time.Minute)
	seen(drifted, 11*time.Minute)
	want.Observes, want.Oldest, want.Overdue = true, 50*time.Minute, time.Minute
	if diff := cmp.Diff(want, r.countFleet()); diff != "" {
		t.Errorf("of a leader: -want +got\n%s", diff)
	}
}
