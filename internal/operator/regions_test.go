package operator_test

import (
	"strings"
	"testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

func TestARegionThatIsNotKnownStallsWithoutACallUntilAnAdministratorAddsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	extra := w.options.ExtraRegions
	w.options.ExtraRegions = nil
	w.policy("p", "sg-1", "Drop")
	stop := w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInvalidRequest)
	for _, part := range []string{"spec.regionId", w.region, "--extra-regions"} {
		if !strings.Contains(message(p), part) {
			t.Errorf("message %q, want a word of %s", message(p), part)
		}
	}
	if e := p.Status.LastError; e == nil || e.Code != ecs.CodeUnknownRegion || e.HTTPStatus != 0 || e.RequestID != "" {
		t.Errorf("lastError %+v", e)
	}
	if calls := w.sim.Calls(); len(calls) != 0 {
		t.Errorf("%d calls to the cloud, the first %s", len(calls), calls[0].Action)
	}
	stop()
	w.options.ExtraRegions = extra
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
}

func TestAnAccountWithAFixedHostIsBoundToTheKnownRegionsToo(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.options.ExtraRegions = nil
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys", func(a *ecsAccount) { a.Spec.Endpoint = w.options.ECSEndpoint })
	w.policy("p", "sg-prod", "Drop", using(prod.Name))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInvalidRequest)
	if n := w.calls(observe, "sg-prod"); n != 0 {
		t.Errorf("%d calls to the cloud", n)
	}
}
