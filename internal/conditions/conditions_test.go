package conditions

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

var (
	inSync    = Summary{Ready: metav1.ConditionTrue, Reason: v1alpha1.ReasonInSync, Message: "as declared"}
	throttled = Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonThrottled, Message: "too many calls", Beside: v1alpha1.ConditionReconciling}
	refused   = Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonAccessDenied, Message: "refused", Beside: v1alpha1.ConditionStalled}
	suspended = Summary{Ready: metav1.ConditionTrue, Reason: v1alpha1.ReasonSuspended, Message: "suspended", Beside: v1alpha1.ConditionSuspended}
)

func at(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }

func condition(kind string, status metav1.ConditionStatus, s Summary, generation int64, since time.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: s.Reason, Message: s.Message, ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(since)}
}

func TestAConditionKeepsTheTimeSinceWhenItHasItsStatus(t *testing.T) {
	var list []metav1.Condition
	for _, c := range []struct {
		name       string
		summary    Summary
		generation int64
		minute     int
		since      int // of Ready
	}{
		{"first", inSync, 1, 0, 0},
		{"again", inSync, 1, 1, 0},
		{"of another spec", inSync, 2, 2, 0},
		{"for another reason", suspended, 2, 3, 0},
		{"not any more", refused, 2, 4, 4},
		{"not yet, for another reason", throttled, 2, 5, 4},
		{"again True", inSync, 3, 6, 6},
	} {
		Set(&list, c.generation, c.summary, false, at(c.minute))
		want := []metav1.Condition{condition(v1alpha1.ConditionReady, c.summary.Ready, c.summary, c.generation, at(c.since))}
		if c.summary.Beside != "" {
			want = append(want, condition(c.summary.Beside, metav1.ConditionTrue, c.summary, c.generation, at(c.minute)))
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Fatalf("%s: -want +got\n%s", c.name, diff)
		}
	}
}

func TestATimeIsWrittenAsTheAPIServerKeepsIt(t *testing.T) {
	var list []metav1.Condition
	Set(&list, 1, inSync, false, noon.Add(123456789).In(time.FixedZone("CST", 8*60*60)))
	if since := list[0].LastTransitionTime.Time; !since.Equal(noon) {
		t.Errorf("since %v, which differs from what is read back", since)
	}
}

func TestReadyThatIsKeptIsAsItWas(t *testing.T) {
	var list []metav1.Condition
	Set(&list, 1, inSync, false, noon)
	Set(&list, 1, throttled, true, at(1))
	want := []metav1.Condition{
		condition(v1alpha1.ConditionReady, metav1.ConditionTrue, inSync, 1, noon),
		condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, throttled, 1, at(1)),
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	Set(&list, 1, inSync, true, at(2))
	if diff := cmp.Diff(want[:1], list); diff != "" {
		t.Errorf("what stood beside it stays: -want +got\n%s", diff)
	}
}

func TestOneConditionStandsBesideReady(t *testing.T) {
	for _, before := range []Summary{inSync, throttled, refused, suspended} {
		for _, after := range []Summary{inSync, throttled, refused, suspended} {
			var list []metav1.Condition
			Set(&list, 1, before, false, noon)
			Set(&list, 1, after, false, at(1))
			for _, kind := range besides {
				if IsTrue(list, kind) != (kind == after.Beside) {
					t.Errorf("from %s to %s: %+v", before.Reason, after.Reason, list)
				}
			}
			for _, c := range list {
				if c.Type != v1alpha1.ConditionReady && c.Status != metav1.ConditionTrue {
					t.Errorf("%s is there although it is %s", c.Type, c.Status)
				}
			}
			if Transition(list, list) || !Transition(nil, list) {
				t.Errorf("%s is no transition from itself, and one from nothing", after.Reason)
			}
		}
	}
}

func TestATransitionIsAnotherStatusOrReason(t *testing.T) {
	set := func(summaries ...Summary) (list []metav1.Condition) {
		for i, s := range summaries {
			Set(&list, int64(i), s, false, at(i))
		}
		return list
	}
	reworded := refused
	reworded.Message = "in other words"
	kept := set(inSync)
	Set(&kept, 0, throttled, true, at(1))
	for name, c := range map[string]struct {
		before, after []metav1.Condition
		want          bool
	}{
		"the same, of a later spec":    {set(refused), set(refused, refused), false},
		"the same, in other words":     {set(refused), set(reworded), false},
		"another reason":               {set(throttled), set(refused), true},
		"what stands beside alone":     {set(inSync), kept, true},
		"the first word of a resource": {nil, set(inSync), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Transition(c.before, c.after); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
			lines := 0
			log := funcr.New(func(_, args string) {
				if lines++; !strings.Contains(args, refused.Reason) {
					t.Errorf("the line says %s", args)
				}
			}, funcr.Options{})
			LogTransition(log, c.before, c.after, refused)
			if (lines == 1) != c.want || lines > 1 {
				t.Errorf("%d lines", lines)
			}
		})
	}
}

func TestTrueOfAnEarlierSpecIsNotTrueOfThisOne(t *testing.T) {
	list := []metav1.Condition{condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, refused, 1, noon)}
	if !IsTrueAt(list, v1alpha1.ConditionStalled, 1) || IsTrueAt(list, v1alpha1.ConditionStalled, 2) || IsTrueAt(list, v1alpha1.ConditionReady, 1) {
		t.Error("the generation does not count")
	}
}

// updates keeps what is written of a status.
type updates struct {
	client.Client

	sent []string
	err  error
}

func (w *updates) Status() client.SubResourceWriter { return statusUpdates{w: w} }

type statusUpdates struct {
	client.SubResourceWriter

	w *updates
}

func (s statusUpdates) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	w := s.w
	w.sent = append(w.sent, o.GetResourceVersion()+" "+o.(*v1alpha1.SecurityGroupPolicy).Status.InnerAccessPolicy)
	return w.err
}

func TestAStatusThatIsTheSameIsNotWritten(t *testing.T) {
	stored := &v1alpha1.SecurityGroupPolicy{}
	stored.Name, stored.ResourceVersion = "p", "7"
	stored.Status.InnerAccessPolicy = "Drop"
	Set(&stored.Status.Conditions, 1, inSync, false, noon)
	w := &updates{}
	write := func(change func(*v1alpha1.SecurityGroupPolicyStatus)) (bool, error) {
		p := stored.DeepCopy()
		change(&p.Status)
		return WriteStatus(t.Context(), w, p, &stored.Status, &p.Status)
	}
	for name, change := range map[string]func(*v1alpha1.SecurityGroupPolicyStatus){
		"untouched":                func(*v1alpha1.SecurityGroupPolicyStatus) {},
		"empty instead of none":    func(s *v1alpha1.SecurityGroupPolicyStatus) { s.DriftCorrections = []metav1.Time{} },
		"the same words once more": func(s *v1alpha1.SecurityGroupPolicyStatus) { Set(&s.Conditions, 1, inSync, false, at(9)) },
		"the same time, other zone": func(s *v1alpha1.SecurityGroupPolicyStatus) {
			s.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Local())
		},
	} {
		if written, err := write(change); written || err != nil || len(w.sent) != 0 {
			t.Errorf("%s: written %v, %v: %v", name, written, err, w.sent)
		}
	}
	written, err := write(func(s *v1alpha1.SecurityGroupPolicyStatus) { s.InnerAccessPolicy = "Accept" })
	if want := "7 Accept"; !written || err != nil || len(w.sent) != 1 || w.sent[0] != want {
		t.Errorf("written %v, %v: %v, want %s", written, err, w.sent, want)
	}
	w.err = errors.New("the API server is away")
	if written, err := write(func(s *v1alpha1.SecurityGroupPolicyStatus) { s.InnerAccessPolicy = "" }); !written || !errors.Is(err, w.err) {
		t.Errorf("written %v, %v", written, err)
	}
}
