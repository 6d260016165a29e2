package securitygrouppolicy

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// cached is an object as the cache has it: read from the API server's JSON.
func cached[T any](t *testing.T, o *T) *T {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	read := new(T)
	if err := json.Unmarshal(text, read); err != nil {
		t.Fatal(err)
	}
	compact, err := Compact(read)
	if err != nil {
		t.Fatal(err)
	}
	return compact.(*T)
}

// big is the n-th resource into which a user has written all that an object may hold.
func big(n int) *v1alpha1.SecurityGroupPolicy {
	p := declared(fmt.Sprint("p-", n))
	p.Labels, p.Annotations = map[string]string{}, map[string]string{
		"notes":                                 strings.Repeat("x", 250<<10),
		v1alpha1.AnnotationReconcileRequestedAt: strings.Repeat("y", 250<<10),
		v1alpha1.AnnotationAbandon:              strings.Repeat("z", 250<<10),
	}
	for i := range 5000 {
		p.Labels[fmt.Sprintf("label-%d", i)] = strings.Repeat("l", 60)
		p.Finalizers = append(p.Finalizers, fmt.Sprintf("example.com/finalizer-%d", i))
		p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{Name: fmt.Sprint("owner-", i)})
		p.ManagedFields = append(p.ManagedFields, metav1.ManagedFieldsEntry{Manager: fmt.Sprint("manager-", i)})
	}
	return p
}

func declared(name string) *v1alpha1.SecurityGroupPolicy {
	return &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name},
		Spec:       v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1", InnerAccessPolicy: "Drop"},
	}
}

// held is how much memory is live.
func held() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestWhatAUserWritesIntoAnObjectCostsNothingThatLasts(t *testing.T) {
	const objects, allowed = 20, 20 << 10
	var kept []*v1alpha1.SecurityGroupPolicy
	before := held()
	for n := range objects {
		kept = append(kept, cached(t, big(n)))
	}
	if each := int64(held()-before) / objects; each > allowed {
		t.Errorf("each object costs %d bytes, want %d at the most", each, allowed)
	}
	runtime.KeepAlive(kept)
}

func TestTheCacheKeepsWhatAPassReads(t *testing.T) {
	p := declared("p")
	p.Annotations = map[string]string{"other": "1", v1alpha1.AnnotationReconcileRequestedAt: "now", v1alpha1.AnnotationAbandon: "true"}
	p.Finalizers = []string{"example.com/a", v1alpha1.FinalizerRestore}
	p.Status.LastModification = &v1alpha1.Modification{From: "Accept", To: "Drop", Cause: v1alpha1.CauseSpec, Account: "prod"}
	got := cached(t, p)
	delete(p.Annotations, "other")
	if fmt.Sprint(got.Annotations) != fmt.Sprint(p.Annotations) || !slices.Equal(got.Finalizers, p.Finalizers) ||
		got.Spec != p.Spec || *got.Status.LastModification != *p.Status.LastModification {
		t.Errorf("got %+v, want %+v", got, p)
	}
}

// TestTooManyFinalizersAreKnownToBeTooMany is what keeps a pass from writing a list that
// it has only a part of.
func TestTooManyFinalizersAreKnownToBeTooMany(t *testing.T) {
	p := big(1)
	p.Finalizers = append(p.Finalizers, v1alpha1.FinalizerRestore)
	got := cached(t, p)
	if len(got.Finalizers) != maxFinalizers+1 || !hasFinalizer(got) {
		t.Errorf("got %q", got.Finalizers)
	}
}

func TestWhatManyResourcesSayIsHeldOnce(t *testing.T) {
	one, other := declared("one"), declared("other")
	for _, p := range []*v1alpha1.SecurityGroupPolicy{one, other} {
		p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync, Message: "as declared"}}
	}
	one, other = cached(t, one), cached(t, other)
	for _, same := range [][2]string{
		{one.Namespace, other.Namespace}, {one.Spec.RegionID, other.Spec.RegionID},
		{one.Status.Conditions[0].Message, other.Status.Conditions[0].Message},
	} {
		if unsafe.StringData(same[0]) != unsafe.StringData(same[1]) {
			t.Errorf("%q is held twice", same[0])
		}
	}
}

func TestTextsThatDifferAreNotKeptForever(t *testing.T) {
	var s texts
	for n := range 3 * manyTexts {
		text := fmt.Sprint("text ", n)
		if s.hold(&text); text != fmt.Sprint("text ", n) {
			t.Fatalf("text %d became %q", n, text)
		}
	}
	long := strings.Repeat("x", longText+1)
	s.hold(&long)
	if _, kept := s.known[long]; kept || len(s.known) > manyTexts {
		t.Errorf("%d texts are kept, a long one: %v", len(s.known), kept)
	}
}

func TestCompactLeavesOtherThingsAlone(t *testing.T) {
	tombstone := cache.DeletedFinalStateUnknown{Key: "a", Obj: &corev1.Secret{}}
	if got, err := Compact(tombstone); err != nil || got != any(tombstone) {
		t.Errorf("got %v, %v", got, err)
	}
}
