package operator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// elsewhere is a region of another site, which refuses the keys that are good here.
func (w *world) elsewhere() string { return w.region + "-b" }

func (w *world) inElsewhere(p *policy) { p.Spec.RegionID = w.elsewhere() }

// refusedElsewhere is a world with one group here, and many where the keys are refused.
func refusedElsewhere(t *testing.T, many int) *world {
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, Region: w.elsewhere(), Status: 404, Code: "InvalidAccessKeyId.NotFound", Message: "what only the one who asked may read"})
	for i := range many {
		id := fmt.Sprint("sg-far-", i)
		w.sim.PutGroup(ecssim.Group{Region: w.elsewhere(), ID: id, Policy: "Drop"})
		w.policy(fmt.Sprint("far-", i), id, "Drop", w.inElsewhere)
	}
	return w
}

func TestARegionThatRefusesTheKeyStopsNoOther(t *testing.T) {
	t.Parallel()
	w := refusedElsewhere(t, 20)
	w.start()
	for i := range 20 {
		w.awaitReason(fmt.Sprint("far-", i), v1alpha1.ReasonAccessDenied)
	}
	w.policy("here", "sg-1", "Drop")
	w.awaitReason("here", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Drop", 1)
}

func TestAStatusShowsNothingOfAnotherResourcesAnswer(t *testing.T) {
	t.Parallel()
	const many = 20
	w := refusedElsewhere(t, many)
	w.start()
	own := map[string]bool{}
	for i := range many {
		p := w.awaitReason(fmt.Sprint("far-", i), v1alpha1.ReasonAccessDenied)
		e := p.Status.LastError
		if e == nil || e.Code != "InvalidAccessKeyId.NotFound" {
			t.Fatalf("lastError %+v", e)
		}
		asked := w.calls(observe, p.Spec.SecurityGroupID) > 0
		if told := e.RequestID != "" || strings.Contains(e.Message, "only the one who asked"); told != asked {
			t.Errorf("%s has asked: %v; its status shows an answer: %+v", p.Name, asked, e)
		}
		if own[e.RequestID] && e.RequestID != "" {
			t.Errorf("two resources show the request id %s", e.RequestID)
		}
		own[e.RequestID] = true
	}
	if len(own) == many || !own[""] {
		t.Errorf("nobody was held back: %v", own)
	}
}
