// Package conditions is how every kind tells its state: conditions after the kstatus
// conventions, one status write if, and only if, something changed, and one event and
// one log line for each transition. It knows no kind.
package conditions

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// Summary is what a reconciliation says of its object.
type Summary struct {
	// Ready is the status of the condition Ready.
	Ready metav1.ConditionStatus
	// Reason and Message are those of all conditions of this summary. The message is
	// stable: it holds no time, count or request id.
	Reason, Message string
	// Beside is the condition beside Ready that is True: Reconciling, Stalled,
	// Suspended, or none.
	Beside string
}

// besides are the conditions that are there only while they are True.
var besides = []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionSuspended}

// Set puts a summary into conditions, at a time. With keepReady the condition Ready
// stays as it is.
func Set(list *[]metav1.Condition, generation int64, s Summary, keepReady bool, now time.Time) {
	set := func(kind string, status metav1.ConditionStatus) {
		apimeta.SetStatusCondition(list, metav1.Condition{
			Type: kind, Status: status, Reason: s.Reason, Message: s.Message, ObservedGeneration: generation,
			LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
		})
	}
	if !keepReady {
		set(v1alpha1.ConditionReady, s.Ready)
	}
	for _, kind := range besides {
		if kind == s.Beside {
			set(kind, metav1.ConditionTrue)
			continue
		}
		apimeta.RemoveStatusCondition(list, kind)
	}
}

// Ready is the status and the reason of the condition Ready, and what stands for them
// while there is none.
func Ready(list []metav1.Condition) (status, reason string) {
	if c := apimeta.FindStatusCondition(list, v1alpha1.ConditionReady); c != nil {
		return string(c.Status), c.Reason
	}
	return string(metav1.ConditionUnknown), "NotObserved"
}

// IsTrue tells whether a condition is True.
func IsTrue(list []metav1.Condition, kind string) bool {
	return apimeta.IsStatusConditionTrue(list, kind)
}

// IsTrueAt tells whether a condition is True of this generation.
func IsTrueAt(list []metav1.Condition, kind string, generation int64) bool {
	c := apimeta.FindStatusCondition(list, kind)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
}

// WriteStatus writes the status of an object if it differs from the one that is stored.
// It succeeds only on the very version that was read, so that a decision that follows
// from an older one is never written over a newer one. Of the rest of the object, which
// a cache may hold in part, the API server takes nothing.
func WriteStatus(ctx context.Context, c client.Client, o client.Object, stored, status any) (written bool, err error) {
	if equality.Semantic.DeepEqual(stored, status) {
		return false, nil
	}
	return true, PutStatus(ctx, c, o)
}

// PutStatus writes the status of an object, and confirms at least that its version is
// the newest.
func PutStatus(ctx context.Context, c client.Client, o client.Object) error {
	if err := c.Status().Update(ctx, o); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

// Transition tells whether Ready or what is beside it has another reason than before.
func Transition(before, after []metav1.Condition) bool {
	return reasons(before) != reasons(after)
}

// reasons are the reasons of Ready and of what is beside it.
func reasons(list []metav1.Condition) (found [4]string) {
	for i, kind := range append([]string{v1alpha1.ConditionReady}, besides...) {
		if c := apimeta.FindStatusCondition(list, kind); c != nil {
			found[i] = string(c.Status) + c.Reason
		}
	}
	return found
}

// Event writes an event about an object. The reference carries no resourceVersion:
// with one, each write of the status would begin a new series of the same event.
func Event(recorder events.EventRecorder, kind string, o metav1.Object, eventType, reason, action, note string) {
	recorder.Eventf(&corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
	}, nil, eventType, reason, action, "%s", note)
}

// LogTransition writes one line when a summary differs from what was said before.
func LogTransition(log logr.Logger, before, after []metav1.Condition, s Summary, values ...any) {
	if Transition(before, after) {
		log.Info("Status changed", append([]any{"ready", s.Ready, "reason", s.Reason, "message", s.Message}, values...)...)
	}
}
