package operator_test

import (
	"fmt"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

func TestARestartOfAFleetThatWaitsForTheRateCausesNoWrite(t *testing.T) {
	t.Parallel()
	const resources = 60
	w := manyInSync(t, resources)
	stop := w.start()
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
	}
	stop()
	for i := range resources { // they have been Ready for a day
		p := w.get(fmt.Sprint("p-", i))
		before := p.DeepCopy()
		apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).LastTransitionTime = metav1.NewTime(time.Now().Add(-24 * time.Hour))
		if err := api.Status().Patch(t.Context(), p, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	w.sim.ResetCalls()
	w.options.QPS, w.options.Burst = 20, 2 // three seconds for all of them
	n := w.countWrites()
	w.start()
	w.eventually("each was observed", func() bool { return w.sim.CallCount(observe) >= resources }, func() string { return fmt.Sprint(w.sim.CallCount(observe)) })
	n.want(t, 0, 0, 0)
}
