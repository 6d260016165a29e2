package controllers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
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
	"github.com/sgp-operator/sgp-operator/internal/metrics"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

const (
	// firstBackoff and maxBackoff bound the wait after a failure that passes.
	firstBackoff = time.Second
	maxBackoff   = 5 * time.Minute
	// minSlow and maxSlow bound the wait after one that does not.
	minSlow = 5 * time.Minute
	maxSlow = 15 * time.Minute
	// passLimit ends a pass that hangs: three calls, their turns and the writes.
	passLimit = 2 * time.Minute
	// stuckAfter is when a pass that did not end by then counts as stuck.
	stuckAfter = 2 * passLimit
)

// memory is what the reconciler knows beside the cluster, and can lose: it speaks
// only of when, never of what.
type memory struct {
	backoff workqueue.TypedRateLimiter[types.NamespacedName]

	mu       sync.Mutex
	observed map[types.NamespacedName]time.Time
	running  map[types.NamespacedName]time.Time // passes, by their beginning
	waiting  map[types.NamespacedName]time.Time // for its turn to own a group, since when
	leaving  map[types.NamespacedName]time.Time // being deleted, by the first look since
}

func (m *memory) reset() {
	m.backoff = workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstBackoff, maxBackoff)
	m.observed = map[types.NamespacedName]time.Time{}
	m.running = map[types.NamespacedName]time.Time{}
	m.waiting = map[types.NamespacedName]time.Time{}
	m.leaving = map[types.NamespacedName]time.Time{}
}

// enter notes that a pass runs, until its end is called.
func (r *SecurityGroupPolicyReconciler) enter(p *v1alpha1.SecurityGroupPolicy) (end func()) {
	key, m := client.ObjectKeyFromObject(p), &r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running[key] = r.Clock.Now()
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.running, key)
	}
}

// Alive is a liveness check: it fails when a pass is stuck.
func (r *SecurityGroupPolicyReconciler) Alive(*http.Request) error {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	for key, since := range r.memory.running {
		if took := r.Clock.Since(since); took > stuckAfter {
			return fmt.Errorf("the pass over %s has not ended for %s", key, took.Round(time.Second))
		}
	}
	return nil
}

func (r *SecurityGroupPolicyReconciler) noteObserved(p *v1alpha1.SecurityGroupPolicy) {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	r.memory.observed[client.ObjectKeyFromObject(p)] = r.Clock.Now()
}

func (r *SecurityGroupPolicyReconciler) observedAt(key types.NamespacedName) (time.Time, bool) {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	t, ok := r.memory.observed[key]
	return t, ok
}

func (r *SecurityGroupPolicyReconciler) forget(key types.NamespacedName) {
	r.memory.backoff.Forget(key)
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	delete(r.memory.observed, key)
	delete(r.memory.waiting, key)
	delete(r.memory.leaving, key)
}

// waitedFor is how long a resource has had to wait for another to be looked at.
func (r *SecurityGroupPolicyReconciler) waitedFor(p *v1alpha1.SecurityGroupPolicy) time.Duration {
	return r.Clock.Since(r.firstNoted(r.memory.waiting, p))
}

// leavingSince is when the group of a resource that is being deleted was first
// looked at; a look that succeeds is to call it.
func (r *SecurityGroupPolicyReconciler) leavingSince(p *v1alpha1.SecurityGroupPolicy) time.Time {
	if p.DeletionTimestamp.IsZero() {
		return time.Time{}
	}
	return r.firstNoted(r.memory.leaving, p)
}

// firstNoted is when a resource came into one of the memory's maps, which is now if
// it was not there.
func (r *SecurityGroupPolicyReconciler) firstNoted(in map[types.NamespacedName]time.Time, p *v1alpha1.SecurityGroupPolicy) time.Time {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	key := client.ObjectKeyFromObject(p)
	since, noted := in[key]
	if !noted {
		since = r.Clock.Now()
		in[key] = since
	}
	return since
}

// noteMayGo ends such a wait.
func (r *SecurityGroupPolicyReconciler) noteMayGo(p *v1alpha1.SecurityGroupPolicy) {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	delete(r.memory.waiting, client.ObjectKeyFromObject(p))
}

// SetupWithManager registers the reconciler and what wakes it.
func (r *SecurityGroupPolicyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.memory.reset()
	r.claims.reset()
	all := r.AllPolicies
	if all == nil {
		all = mgr.GetCache()
	}
	metrics.CountPolicies(r.countPolicies)
	return ctrl.NewControllerManagedBy(mgr).
		Named("securitygrouppolicy").
		For(&v1alpha1.SecurityGroupPolicy{}, builder.WithPredicates(r.asksForAPass())).
		WatchesRawSource(source.Kind[client.Object](all, &v1alpha1.SecurityGroupPolicy{}, r.followClaims())).
		Watches(&v1alpha1.ECSAccount{}, r.wakeSpread(r.ofAccount), builder.WithPredicates(accountChanged())).
		WatchesMetadata(&corev1.Namespace{}, r.wakeSpread(r.ofNamespace), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.MaxConcurrentReconciles,
			ReconciliationTimeout:   passLimit,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstBackoff, maxBackoff),
		}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// asksForAPass lets through what the operator has to answer: a new spec, a
// request for a look at once, a deletion. Its own status writes are none of these.
func (r *SecurityGroupPolicyReconciler) asksForAPass() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
				e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
				was[v1alpha1.AnnotationReconcileRequestedAt] != is[v1alpha1.AnnotationReconcileRequestedAt] ||
				was[v1alpha1.AnnotationAbandon] != is[v1alpha1.AnnotationAbandon]
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			r.forget(client.ObjectKeyFromObject(e.Object))
			return false
		},
	}
}

// accountChanged lets through what can make an account usable, or not.
func accountChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*v1alpha1.ECSAccount), e.ObjectNew.(*v1alpha1.ECSAccount)
			ready := func(a *v1alpha1.ECSAccount) bool {
				return apimeta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady)
			}
			return was.Generation != is.Generation || was.UID != is.UID || ready(was) != ready(is) ||
				was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero()
		},
	}
}

// ofAccount are the resources that use an account.
func (r *SecurityGroupPolicyReconciler) ofAccount(ctx context.Context, a client.Object) []reconcile.Request {
	return r.requests(ctx, func(p *v1alpha1.SecurityGroupPolicy) bool { return account.NameFor(p) == a.GetName() })
}

// ofNamespace are the resources of a namespace: its labels say which accounts
// they may use.
func (r *SecurityGroupPolicyReconciler) ofNamespace(ctx context.Context, n client.Object) []reconcile.Request {
	all := func(*v1alpha1.SecurityGroupPolicy) bool { return true }
	return r.requests(ctx, all, client.InNamespace(n.GetName()))
}

// requests walks through the resources: accounts change too seldom for an index,
// which would cost memory for each resource.
func (r *SecurityGroupPolicyReconciler) requests(ctx context.Context, concerns func(*v1alpha1.SecurityGroupPolicy) bool, in ...client.ListOption) []reconcile.Request {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := r.Client.List(ctx, list, append(in, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List the resources to wake")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if concerns(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// wakeRate is how many resources are woken per second by one event.
const wakeRate = 100

// wakeSpread wakes what an event concerns: a few at once, thousands over a while.
// An object that the manager finds when it starts concerns nobody, since each
// resource is looked at then anyway.
func (r *SecurityGroupPolicyReconciler) wakeSpread(of func(context.Context, client.Object) []reconcile.Request) handler.EventHandler {
	wake := func(ctx context.Context, o client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		requests := of(ctx, o)
		over := time.Duration(len(requests)) * time.Second / wakeRate
		for _, request := range requests {
			q.AddAfter(request, rand.N(over+1)) //nolint:gosec // spreads load
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if !e.IsInInitialList {
				wake(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			wake(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			wake(ctx, e.Object, q)
		},
	}
}

func (r *SecurityGroupPolicyReconciler) interval(p *v1alpha1.SecurityGroupPolicy) time.Duration {
	if p.Spec.ResyncInterval != nil {
		return p.Spec.ResyncInterval.Duration
	}
	return r.ResyncInterval
}

// next says when a resource is looked at again.
func (r *SecurityGroupPolicyReconciler) next(p *v1alpha1.SecurityGroupPolicy, v verdict) ctrl.Result {
	key := client.ObjectKeyFromObject(p)
	low := handler.LowPriority
	if v.retry != retryBackoff {
		r.memory.backoff.Forget(key)
	}
	switch v.retry {
	case retryResync:
		return ctrl.Result{RequeueAfter: ratelimit.Spread(string(p.UID), r.Clock.Now(), r.interval(p)), Priority: &low}
	case retryBackoff:
		return ctrl.Result{RequeueAfter: max(v.wait, jitter(r.memory.backoff.When(key)))}
	case retrySlow:
		return ctrl.Result{RequeueAfter: minSlow + rand.N(maxSlow-minSlow), Priority: &low} //nolint:gosec // spreads load
	case retryAt:
		return ctrl.Result{RequeueAfter: max(v.wait, time.Millisecond)}
	case retryNever:
	}
	return ctrl.Result{}
}

// jitter spreads a wait over half to one and a half of it.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // spreads load
}
