// Package ecsaccount shows in each ECSAccount whether it can be used.
package ecsaccount

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/conditions"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
)

// Reconciler shows in each ECSAccount whether it can be used. While an
// account's credentials are refused it is the one that tries them: the resources
// of the account are told so without a call. All fields are required.
type Reconciler struct {
	Client client.Client
	// Check has Alibaba Cloud say whose the credentials are.
	Check func(context.Context, *v1alpha1.ECSAccount) (accountID string, err error)
	// Forget drops what is kept of an account.
	Forget func(name string)
	// Changed names accounts whose credentials begin or cease to work.
	Changed <-chan event.TypedGenericEvent[*v1alpha1.ECSAccount]
	// Recorder writes events.
	Recorder events.EventRecorder
	// Clock is the time.
	Clock clock.PassiveClock
	// Jitter is a random part of a duration.
	Jitter func(time.Duration) time.Duration
}

const (
	// accountInterval is how often working credentials are checked.
	accountInterval = 30 * time.Minute
	// brokenAccountInterval is how often credentials that do not work are tried.
	brokenAccountInterval = 30 * time.Second
)

// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=ecsaccounts,verbs=get;list;watch
// +kubebuilder:rbac:groups=ecs.alibabacloud.com,resources=ecsaccounts/status,verbs=update
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch

// Of Secrets the metadata is listed and watched, so that a changed one takes effect at
// once; what an account's holds is got by name. The permissions for the one and for the
// other are the same to the API server, and which names accounts will use is not known
// here: the Role reaches one namespace and reads only.
//
// +kubebuilder:rbac:groups="",namespace=sgp-system,resources=secrets,verbs=get;list;watch

// Reconcile checks the credentials of one account and records the result.
func (r *Reconciler) Reconcile(ctx context.Context, a *v1alpha1.ECSAccount) (ctrl.Result, error) {
	if !a.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	stored := a.DeepCopy()
	id, err := r.Check(ctx, a)
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err()
	}
	if errors.Is(err, account.ErrSecretUnread) {
		ctrl.LoggerFrom(ctx).Error(err, "Check the account")
	}
	s := summarize(id, err)
	if id != "" {
		a.Status.AccountID = id
	}
	a.Status.ObservedGeneration = a.Generation
	conditions.Set(&a.Status.Conditions, a.Generation, s, false, r.Clock.Now())
	next := ctrl.Result{RequeueAfter: accountInterval*3/4 + r.Jitter(accountInterval/2)}
	if s.Ready != metav1.ConditionTrue {
		next.RequeueAfter = brokenAccountInterval/2 + r.Jitter(brokenAccountInterval)
	}
	switch written, err := conditions.WriteStatus(ctx, r.Client, a, stored.Status, a.Status); {
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: time.Second}, nil
	case err != nil:
		return ctrl.Result{}, client.IgnoreNotFound(err)
	case written && s.Ready != metav1.ConditionTrue:
		conditions.Event(r.Recorder, "ECSAccount", a, corev1.EventTypeWarning, s.Reason, "Check", s.Message)
	}
	conditions.LogTransition(ctrl.LoggerFrom(ctx), stored.Status.Conditions, a.Status.Conditions, s)
	return next, nil
}

// summarize says what the result of a check means.
func summarize(id string, err error) conditions.Summary {
	not := func(reason, message string) conditions.Summary {
		return conditions.Summary{Ready: metav1.ConditionFalse, Reason: reason, Message: message, Beside: v1alpha1.ConditionStalled}
	}
	if err == nil {
		return conditions.Summary{Ready: metav1.ConditionTrue, Reason: v1alpha1.ReasonAuthenticated, Message: "Alibaba Cloud accepts the credentials, of account " + id}
	}
	if unusable, ok := errors.AsType[*account.NotReadyError](err); ok {
		return not(v1alpha1.ReasonCredentialsNotFound, unusable.Reason)
	}
	e, ok := errors.AsType[*ecs.Error](err)
	switch {
	case errors.Is(err, account.ErrSecretUnread):
		return not(v1alpha1.ReasonCredentialsNotFound, "The API server did not hand out its Secret, and is asked again; the manager's log says why")
	case !ok:
		return not(v1alpha1.ReasonCredentialsNotFound, "There are no credentials: "+err.Error())
	case e.Class == ecs.Denied:
		return not(v1alpha1.ReasonAccessDenied, "The credentials are refused ("+e.Action+": "+e.Code+"): correct the Secret, or the role and its trust policy")
	case e.Class == ecs.Invalid:
		return not(v1alpha1.ReasonInvalidSpec, "The token service refuses a parameter ("+e.Action+": "+e.Code+"): correct the spec")
	case e.Action == ecs.ActionIdentity:
		return conditions.Summary{Ready: metav1.ConditionTrue, Reason: v1alpha1.ReasonNotVerified,
			Message: "There are credentials; the token service could not be asked whose they are (" + e.Code + ")"}
	}
	return conditions.Summary{Ready: metav1.ConditionFalse, Reason: v1alpha1.ReasonCloudUnavailable, Beside: v1alpha1.ConditionReconciling,
		Message: "The token service gave no credentials (" + e.Action + ": " + e.Code + ") and is asked again"}
}

// indexSecret finds the accounts whose keys are in a Secret.
const indexSecret = "spec.secret"

// SetupWithManager registers the reconciler and what wakes it.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ECSAccount{}, indexSecret, func(o client.Object) []string {
		ref := o.(*v1alpha1.ECSAccount).Spec.Credentials.SecretRef
		if ref == nil {
			return nil
		}
		return []string{ref.Namespace + "/" + ref.Name}
	}); err != nil {
		return err
	}
	metrics.CountAccounts(r.countAccounts)
	return ctrl.NewControllerManagedBy(mgr).
		Named("ecsaccount").
		For(&v1alpha1.ECSAccount{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, onRequest()), predicate.Funcs{
			DeleteFunc: func(e event.DeleteEvent) bool {
				r.Forget(e.Object.GetName())
				return false
			},
		})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.ofSecret)).
		WatchesRawSource(source.Channel(r.Changed, &handler.TypedEnqueueRequestForObject[*v1alpha1.ECSAccount]{})).
		// Each check waits for the token service, which may not answer.
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// onRequest has an account checked at once that is asked to by the annotation.
func onRequest() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		const asked = v1alpha1.AnnotationReconcileRequestedAt
		return e.ObjectOld.GetAnnotations()[asked] != e.ObjectNew.GetAnnotations()[asked]
	}}
}

// countAccounts counts the accounts in the cache by their Ready condition.
func (r *Reconciler) countAccounts() map[metrics.State]int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:forbidigo // a scrape has no context
	defer cancel()
	list := &v1alpha1.ECSAccountList{}
	if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	counts := map[metrics.State]int{}
	for i := range list.Items {
		ready, reason := conditions.Ready(list.Items[i].Status.Conditions)
		counts[metrics.State{Ready: ready, Reason: reason}]++
	}
	return counts
}

func (r *Reconciler) ofSecret(ctx context.Context, secret client.Object) []reconcile.Request {
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
