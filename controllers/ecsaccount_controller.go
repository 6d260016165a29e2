package controllers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// ECSAccountReconciler shows in each ECSAccount whether it can be used. While an
// account's credentials are refused it is the one that tries them: the resources
// of the account are told so without a call. All fields are required.
type ECSAccountReconciler struct {
	Client client.Client
	// Check has Alibaba Cloud say whose the credentials are.
	Check func(context.Context, *v1alpha1.ECSAccount) (accountID string, err error)
	// Forget drops what is kept of an account.
	Forget func(name string)
	// Changed names accounts whose credentials begin or cease to work.
	Changed <-chan event.TypedGenericEvent[*v1alpha1.ECSAccount]
	// Recorder writes events.
	Recorder events.EventRecorder
}

const (
	// accountInterval is how often working credentials are checked.
	accountInterval = 30 * time.Minute
	// brokenAccountInterval is how often credentials that do not work are tried.
	brokenAccountInterval = 30 * time.Second
)

// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=ecsaccounts,verbs=get;list;watch
// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=ecsaccounts/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=sgp-system,resources=secrets,verbs=get;list;watch

// Reconcile checks the credentials of one account and records the result.
func (r *ECSAccountReconciler) Reconcile(ctx context.Context, a *v1alpha1.ECSAccount) (ctrl.Result, error) {
	if !a.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	stored := a.DeepCopy()
	id, err := r.Check(ctx, a)
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err()
	}
	status, reason, message, also := accountVerdict(id, err)
	if id != "" {
		a.Status.AccountID = id
	}
	a.Status.ObservedGeneration = a.Generation
	set := func(kind string, s metav1.ConditionStatus) {
		apimeta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{
			Type: kind, Status: s, Reason: reason, Message: message, ObservedGeneration: a.Generation,
		})
	}
	set(v1alpha1.ConditionReady, status)
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if kind == also {
			set(kind, metav1.ConditionTrue)
			continue
		}
		apimeta.RemoveStatusCondition(&a.Status.Conditions, kind)
	}
	next := ctrl.Result{RequeueAfter: accountInterval*3/4 + rand.N(accountInterval/2)} //nolint:gosec // spreads load
	if status != metav1.ConditionTrue {
		next.RequeueAfter = jitter(brokenAccountInterval)
	}
	if equality.Semantic.DeepEqual(stored.Status, a.Status) {
		return next, nil
	}
	if err := r.Client.Status().Patch(ctx, a, client.MergeFromWithOptions(stored, client.MergeFromWithOptimisticLock{})); err != nil {
		return quietly(next, fmt.Errorf("write status: %w", err))
	}
	if status != metav1.ConditionTrue {
		r.Recorder.Eventf(&corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "ECSAccount", Name: a.Name, UID: a.UID,
		}, nil, corev1.EventTypeWarning, reason, "Check", "%s", message)
	}
	return next, nil
}

// accountVerdict says what the result of a check means.
func accountVerdict(id string, err error) (status metav1.ConditionStatus, reason, message, also string) {
	if err == nil {
		return metav1.ConditionTrue, v1alpha1.ReasonAuthenticated, "Alibaba Cloud accepts the credentials, of account " + id, ""
	}
	if unusable, ok := errors.AsType[*account.NotReadyError](err); ok {
		return metav1.ConditionFalse, v1alpha1.ReasonCredentialsNotFound, unusable.Reason, v1alpha1.ConditionStalled
	}
	e, ok := errors.AsType[*ecs.Error](err)
	switch {
	case !ok:
		return metav1.ConditionFalse, v1alpha1.ReasonCredentialsNotFound, "There are no credentials: " + err.Error(), v1alpha1.ConditionStalled
	case e.Class == ecs.Denied:
		return metav1.ConditionFalse, v1alpha1.ReasonAccessDenied, "The credentials are refused (" + e.Action + ": " + e.Code + "): correct the Secret, or the role and its trust policy", v1alpha1.ConditionStalled
	case e.Class == ecs.Invalid:
		return metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, "The token service refuses a parameter (" + e.Action + ": " + e.Code + "): correct the spec", v1alpha1.ConditionStalled
	case e.Action == ecs.ActionIdentity:
		return metav1.ConditionTrue, v1alpha1.ReasonNotVerified, "There are credentials; the token service could not be asked whose they are (" + e.Code + ")", ""
	}
	return metav1.ConditionFalse, v1alpha1.ReasonCloudUnavailable, "The token service gave no credentials (" + e.Action + ": " + e.Code + ") and is asked again", v1alpha1.ConditionReconciling
}

// indexSecret finds the accounts whose keys are in a Secret.
const indexSecret = "spec.secret"

// SetupWithManager registers the reconciler and what wakes it.
func (r *ECSAccountReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ECSAccount{}, indexSecret, func(o client.Object) []string {
		ref := o.(*v1alpha1.ECSAccount).Spec.Credentials.SecretRef
		if ref == nil {
			return nil
		}
		return []string{ref.Namespace + "/" + ref.Name}
	}); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("ecsaccount").
		For(&v1alpha1.ECSAccount{}, builder.WithPredicates(predicate.GenerationChangedPredicate{}, predicate.Funcs{
			DeleteFunc: func(e event.DeleteEvent) bool {
				r.Forget(e.Object.GetName())
				return false
			},
		})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.ofSecret)).
		WatchesRawSource(source.Channel(r.Changed, &handler.TypedEnqueueRequestForObject[*v1alpha1.ECSAccount]{})).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

func (r *ECSAccountReconciler) ofSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	list := &v1alpha1.ECSAccountList{}
	key := client.ObjectKeyFromObject(secret).String()
	if err := r.Client.List(ctx, list, client.MatchingFields{indexSecret: key}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List the accounts of a Secret")
		return nil
	}
	var requests []reconcile.Request
	for _, a := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Name: a.Name}})
	}
	return requests
}
