package securitygrouppolicy

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/conditions"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/metrics"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

const (
	// guardLimit and verifyLimit bound what is read before a change, and for a verdict.
	guardLimit  = 30 * time.Second
	verifyLimit = 20 * time.Second
	// passLimit ends a pass that hangs: three calls, their waits for the rate, what is read
	// beside them, and the writes.
	passLimit = 2*time.Minute + guardLimit + verifyLimit
)

// LongestCall is the highest time limit of one call with which all that a pass does
// fits into its own: a change that was made is not to lose its record. A quarter of a
// minute is left for the writes.
const LongestCall = (passLimit-guardLimit-verifyLimit-15*time.Second)/3 - ecs.MaxWait

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// waker puts single resources into the queue of the controller.
type waker struct {
	mu    sync.Mutex
	queue queue
}

func (w *waker) start(_ context.Context, q queue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = q
	return nil
}

func (w *waker) wake(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue != nil {
		w.queue.Add(reconcile.Request{NamespacedName: name})
	}
}

// SetupWithManager registers the reconciler and what wakes it.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	metrics.CountFleet(r.countFleet)
	return ctrl.NewControllerManagedBy(mgr).
		Named("securitygrouppolicy").
		For(&v1alpha1.SecurityGroupPolicy{}, builder.WithPredicates(r.asksForAPass())).
		Watches(&v1alpha1.SecurityGroupClaim{}, r.ofClaim()).
		Watches(&v1alpha1.ECSAccount{}, r.wakeSpread(r.ofAccount), builder.WithPredicates(accountChanged())).
		WatchesMetadata(&corev1.Namespace{}, r.wakeSpread(r.ofNamespace), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesMetadata(&corev1.Secret{}, r.wakeSpread(r.ofSecret), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		WatchesRawSource(source.Func(r.waker.start)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.MaxConcurrentReconciles,
			ReconciliationTimeout:   passLimit,
			LogConstructor:          logNames(mgr.GetLogger()),
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstBackoff, maxBackoff),
		}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// logNames has each line of a pass name its resource: once, where the default has it
// three times over, which is a sixth of all that a converging manager allocates.
func logNames(log logr.Logger) func(*reconcile.Request) logr.Logger {
	log = log.WithValues("controller", "securitygrouppolicy")
	return func(request *reconcile.Request) logr.Logger {
		if request == nil {
			return log
		}
		return log.WithValues("namespace", request.Namespace, "name", request.Name)
	}
}

// asksForAPass lets through what the operator has to answer: a new spec, a request to
// observe at once, a deletion. Its own status writes are none of these. On the way it
// keeps what the process remembers to the resources that there are.
func (r *Reconciler) asksForAPass() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			r.arrive(e.Object.(*v1alpha1.SecurityGroupPolicy))
			return true
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*v1alpha1.SecurityGroupPolicy), e.ObjectNew.(*v1alpha1.SecurityGroupPolicy)
			if was.UID != is.UID { // deleted and made anew between two reads of the watch
				r.depart(was)
				r.arrive(is)
				return true
			}
			return was.Generation != is.Generation ||
				was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
				!maps.Equal(compactAnnotations(was.Annotations), compactAnnotations(is.Annotations))
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			r.depart(e.Object.(*v1alpha1.SecurityGroupPolicy))
			return false
		},
	}
}

// arrive notes a resource before its first pass, so that candidates for one group find
// each other in line whichever is reconciled first.
func (r *Reconciler) arrive(p *v1alpha1.SecurityGroupPolicy) {
	r.memory.track(p.UID, r.Clock.Now())
	if claims.Wants(p) {
		r.Lines.Enter(p)
	}
}

// depart forgets a resource that is gone, or not this manager's any more.
func (r *Reconciler) depart(p *v1alpha1.SecurityGroupPolicy) {
	r.memory.forget(p, r.Clock.Now())
	r.Lines.Leave(p.UID)
	r.budget.leave(p.UID)
}

// ofClaim wakes exactly those whom a change of a claim concerns: the holder that is
// asked for its group, or that has lost it, and the next candidate.
func (r *Reconciler) ofClaim() handler.EventHandler {
	wakeHolder := func(c *v1alpha1.SecurityGroupClaim, q queue) {
		if h := c.Spec.Holder; r.memory.tracks(types.UID(h.UID)) {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: h.Namespace, Name: h.Name}})
		}
	}
	wakeNext := func(c *v1alpha1.SecurityGroupClaim, q queue) {
		r.Lines.Leave(types.UID(c.Spec.Holder.UID))
		if next, found := r.Lines.Next(claims.Of(c), r.Clock.Now()); found {
			q.Add(reconcile.Request{NamespacedName: next.NamespacedName})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			c := e.Object.(*v1alpha1.SecurityGroupClaim)
			if wakeNext(c, q); c.Spec.RequestedAt != nil {
				wakeHolder(c, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.SecurityGroupClaim), e.ObjectNew.(*v1alpha1.SecurityGroupClaim)
			if was.UID != is.UID {
				wakeHolder(was, q)
				wakeNext(is, q)
			}
			if is.Spec.RequestedAt != nil && was.Spec.RequestedAt == nil {
				wakeHolder(is, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			c := e.Object.(*v1alpha1.SecurityGroupClaim)
			if uid := types.UID(c.Spec.Holder.UID); !r.memory.knows(uid) { // another shard's
				r.memory.unsettle(claims.Of(c), r.Clock.Now(), policy.Lag)
			}
			wakeHolder(c, q)
			wakeNext(c, q)
		},
	}
}

// accountChanged lets through what can make an account usable, or not.
func accountChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, is := e.ObjectOld.(*v1alpha1.ECSAccount), e.ObjectNew.(*v1alpha1.ECSAccount)
			ready := func(a *v1alpha1.ECSAccount) bool {
				return conditions.IsTrue(a.Status.Conditions, v1alpha1.ConditionReady)
			}
			return was.Generation != is.Generation || was.UID != is.UID || ready(was) != ready(is) ||
				was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero()
		},
	}
}

// ofAccount are the resources that use an account.
func (r *Reconciler) ofAccount(ctx context.Context, a client.Object) []reconcile.Request {
	return r.requests(ctx, func(p *v1alpha1.SecurityGroupPolicy) bool { return account.NameFor(p) == a.GetName() })
}

// ofSecret are the resources that wait for what a Secret holds: those of its accounts
// that have been told that their key does not do.
func (r *Reconciler) ofSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	accounts := &v1alpha1.ECSAccountList{}
	if err := r.Client.List(ctx, accounts, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List the accounts of a Secret")
		return nil
	}
	concerned := map[string]bool{}
	for i := range accounts.Items {
		if ref := accounts.Items[i].Spec.Credentials.SecretRef; ref != nil && ref.Name == secret.GetName() && ref.Namespace == secret.GetNamespace() {
			concerned[accounts.Items[i].Name] = true
		}
	}
	if len(concerned) == 0 {
		return nil
	}
	return r.requests(ctx, func(p *v1alpha1.SecurityGroupPolicy) bool {
		return concerned[account.NameFor(p)] && conditions.IsTrue(p.Status.Conditions, v1alpha1.ConditionStalled)
	})
}

// ofNamespace are the resources of a namespace: its labels say which accounts they may
// use.
func (r *Reconciler) ofNamespace(ctx context.Context, n client.Object) []reconcile.Request {
	all := func(*v1alpha1.SecurityGroupPolicy) bool { return true }
	return r.requests(ctx, all, client.InNamespace(n.GetName()))
}

// requests walks through the resources: accounts change too seldom for an index, which
// would cost memory for each resource.
func (r *Reconciler) requests(ctx context.Context, concerns func(*v1alpha1.SecurityGroupPolicy) bool, in ...client.ListOption) []reconcile.Request {
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

// wakeSpread wakes what an event concerns: a few at once, thousands over a while. An
// object that the manager finds when it starts concerns nobody, since each resource is
// reconciled then anyway.
func (r *Reconciler) wakeSpread(of func(context.Context, client.Object) []reconcile.Request) handler.EventHandler {
	wake := func(ctx context.Context, o client.Object, q queue) {
		requests := of(ctx, o)
		over := time.Duration(len(requests)) * time.Second / wakeRate
		for _, request := range requests {
			q.AddAfter(request, rand.N(over+1)) //nolint:gosec // spreads load
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				wake(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { wake(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, e.Object, q) },
	}
}

// countFleet counts what is in the cache, and looks for the oldest observation.
func (r *Reconciler) countFleet() (fleet metrics.Fleet) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:forbidigo // a scrape has no context
	defer cancel()
	policies, held := &v1alpha1.SecurityGroupPolicyList{}, &v1alpha1.SecurityGroupClaimList{}
	if r.Client.List(ctx, policies, client.UnsafeDisableDeepCopy) != nil || r.Client.List(ctx, held, client.UnsafeDisableDeepCopy) != nil {
		return fleet
	}
	now := r.Clock.Now()
	fleet.Policies = map[metrics.State]int{}
	for i := range policies.Items {
		p := &policies.Items[i]
		ready, reason := conditions.Ready(p.Status.Conditions)
		fleet.Policies[metrics.State{Ready: ready, Reason: reason}]++
		switch {
		case reason != v1alpha1.ReasonApprovalRequired:
		case conditions.IsTrue(p.Status.Conditions, v1alpha1.ConditionStalled):
			fleet.HeldForApproval++
		default:
			fleet.HeldForBudget++
		}
		known, tracked := r.memory.entry(p.UID)
		if !tracked || p.Spec.Suspend || ready != string(metav1.ConditionTrue) && reason != v1alpha1.ReasonDriftDetected {
			continue
		}
		last := known.observedAt
		if last.IsZero() {
			last = known.since
		}
		fleet.Observes = true
		fleet.Oldest = max(fleet.Oldest, now.Sub(last))
		fleet.Overdue = max(fleet.Overdue, now.Sub(last)-r.interval(p))
	}
	fleet.Claims = len(held.Items)
	for i := range held.Items {
		if held.Items[i].Spec.RequestedAt != nil {
			fleet.Requested++
		}
	}
	return fleet
}
