package controllers

import (
	"encoding/json"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// The API server applies merge patches with the same library.
func TestAStatusPatchMakesOneStatusTheOther(t *testing.T) {
	t.Parallel()
	random := randfill.NewWithSeed(1).NilChance(0.4).NumElements(0, 2).Funcs(
		func(s *string, c randfill.Continue) { *s = []string{"", "Accept", "Drop", "sg-1"}[c.Intn(4)] },
		func(at *metav1.Time, c randfill.Continue) { *at = metav1.Unix(int64(c.Intn(3)), 0) },
	)
	for range 2000 {
		var from, to v1alpha1.SecurityGroupPolicyStatus
		random.Fill(&from)
		random.Fill(&to)
		if random.Fill(&to.ObservedGeneration); to.ObservedGeneration%2 == 0 { // often not much is new
			to = *from.DeepCopy()
			random.Fill(&to.LastError)
			random.Fill(&to.PendingModification)
		}
		patch, err := statusPatch{&from, &to}.Data(&policy{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}})
		if err != nil {
			t.Fatal(err)
		}
		before, err := json.Marshal(policy{Status: from})
		if err != nil {
			t.Fatal(err)
		}
		after, err := jsonpatch.MergePatch(before, patch)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(policy{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}, Status: to})
		if err != nil {
			t.Fatal(err)
		}
		if difference := cmp.Diff(decoded(t, want), decoded(t, after)); difference != "" {
			t.Fatalf("the patch %s\nof %s makes (-want +got)\n%s", patch, before, difference)
		}
	}
}

func TestAStatusPatchHoldsOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	from := v1alpha1.SecurityGroupPolicyStatus{ObservedGeneration: 1, InnerAccessPolicy: "Accept",
		LastError:           &v1alpha1.CallError{Action: "Describe", Code: "Throttling", Time: ago(0)},
		PendingModification: &v1alpha1.PendingModification{ClientToken: "token", From: "Accept", To: "Drop"}}
	to := *from.DeepCopy()
	to.ObservedGeneration, to.LastError.Code, to.PendingModification = 2, "", nil
	patch, err := statusPatch{&from, &to}.Data(&policy{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}})
	want := `{"metadata":{"resourceVersion":"7"},"status":{"lastError":{"code":null},"observedGeneration":2,"pendingModification":null}}`
	if err != nil || string(patch) != want {
		t.Errorf("patch %s, %v, want %s", patch, err, want)
	}
}

func decoded(t *testing.T, text []byte) (value any) {
	t.Helper()
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return value
}
