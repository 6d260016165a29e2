// Package securitygroupclaim ends the claims of holders that have none any more: that
// are gone, or that were asked for their group and have not reached it within an hour.
// Nobody else deletes the claim of another. Who is next is woken by the deletion.
package securitygroupclaim

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
)

// foreign is over how long a manager that has a shard only asks the API server for
// holders that are not in its cache: nearly all of them are another shard's. Where
// somebody wants the group, it asks at once.
const foreign = 24 * time.Hour

// behind is how long a cache that has been overtaken is given to catch up.
const behind = 10 * time.Second

// Reconciler ends claims. All fields are required.
type Reconciler struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// APIReader reads from the API server itself: that a holder is gone has to be
	// certain.
	APIReader client.Reader
	// Endings are the holders whose claims may end.
	Endings *claims.Endings
	// Clock is the time.
	Clock clock.PassiveClock
	// Jitter is a random part of a duration.
	Jitter func(time.Duration) time.Duration

	mu sync.Mutex
	// unchecked are the claims whose holders may be another shard's, and can wait.
	unchecked map[types.UID]bool
}

// Reconcile ends one claim, or says when to come back.
func (r *Reconciler) Reconcile(ctx context.Context, c *v1alpha1.SecurityGroupClaim) (ctrl.Result, error) {
	now := r.Clock.Now()
	held, wait, err := r.held(ctx, c)
	if err != nil || wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, err
	}
	holder := types.UID(c.Spec.Holder.UID)
	var freeAt time.Time
	switch {
	case held && c.Spec.RequestedAt == nil:
		r.Endings.Forget(holder)
		return ctrl.Result{}, nil
	case held:
		freeAt = r.Endings.Asked(holder, c.Spec.RequestedAt.Time, now).Add(claims.Answer)
	default:
		freeAt = r.Endings.FreeAt(holder, now)
	}
	if wait := freeAt.Sub(now); wait > 0 {
		return ctrl.Result{RequeueAfter: wait + time.Millisecond}, nil
	}
	err = r.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID, ResourceVersion: &c.ResourceVersion})
	switch {
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: behind}, nil
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("delete the claim: %w", err)
	}
	ctrl.LoggerFrom(ctx).Info("Ended the claim", "region", c.Spec.RegionID, "securityGroup", c.Spec.SecurityGroupID,
		"holderNamespace", c.Spec.Holder.Namespace, "holderName", c.Spec.Holder.Name, "gone", !held)
	return ctrl.Result{}, nil
}

// held tells whether the holder of a claim exists. One that is not in the cache may be
// another shard's; only the API server knows, and is asked for a few at a time.
func (r *Reconciler) held(ctx context.Context, c *v1alpha1.SecurityGroupClaim) (held bool, wait time.Duration, err error) {
	name := types.NamespacedName{Namespace: c.Spec.Holder.Namespace, Name: c.Spec.Holder.Name}
	if r.isCached(ctx, c) {
		r.checked(c.UID)
		return true, 0, nil
	}
	if r.isForeign(c) {
		return false, time.Second + r.Jitter(foreign), nil
	}
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityGroupPolicy"))
	switch err := r.APIReader.Get(ctx, name, metadata); {
	case apierrors.IsNotFound(err):
		return false, 0, nil
	case err != nil:
		return false, 0, fmt.Errorf("read the holder of the claim: %w", err)
	}
	return string(metadata.UID) == c.Spec.Holder.UID, 0, nil
}

// isForeign tells, once for each claim, whether it can wait because its holder may be
// another shard's and nobody asks for the group.
func (r *Reconciler) isForeign(c *v1alpha1.SecurityGroupClaim) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	unchecked := r.unchecked[c.UID]
	delete(r.unchecked, c.UID)
	return unchecked && c.Spec.RequestedAt == nil
}

// checked notes that the holder of a claim is known to be, or to have been, this shard's.
func (r *Reconciler) checked(claim types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.unchecked, claim)
}

func (r *Reconciler) forget(c *v1alpha1.SecurityGroupClaim) {
	r.Endings.Forget(types.UID(c.Spec.Holder.UID))
	r.checked(c.UID)
}

// SetupWithManager registers the reconciler and what wakes it.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, sharded bool) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("securitygroupclaim").
		For(&v1alpha1.SecurityGroupClaim{}, builder.WithPredicates(predicate.Funcs{
			CreateFunc: func(e event.CreateEvent) bool {
				if sharded {
					r.putOff(e.Object)
				}
				return !r.isAnswered(ctx, e.Object.(*v1alpha1.SecurityGroupClaim))
			},
			UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() },
			DeleteFunc: func(e event.DeleteEvent) bool {
				r.forget(e.Object.(*v1alpha1.SecurityGroupClaim))
				return false
			},
		})).
		Watches(&v1alpha1.SecurityGroupPolicy{}, r.ofHolder()).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// isAnswered tells whether there is nothing to end: the holder is in the cache, and nobody
// asks for its group.
func (r *Reconciler) isAnswered(ctx context.Context, c *v1alpha1.SecurityGroupClaim) bool {
	if c.Spec.RequestedAt != nil || !r.isCached(ctx, c) {
		return false
	}
	r.checked(c.UID)
	return true
}

// isCached tells whether the holder of a claim is in the cache.
func (r *Reconciler) isCached(ctx context.Context, c *v1alpha1.SecurityGroupClaim) bool {
	holder := &v1alpha1.SecurityGroupPolicy{}
	name := types.NamespacedName{Namespace: c.Spec.Holder.Namespace, Name: c.Spec.Holder.Name}
	return r.Client.Get(ctx, name, holder) == nil && string(holder.UID) == c.Spec.Holder.UID
}

func (r *Reconciler) putOff(c client.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unchecked == nil {
		r.unchecked = map[types.UID]bool{}
	}
	r.unchecked[c.GetUID()] = true
}

// HolderGone notes the end of a resource that was a holder, and names its claim. What
// the resource was last is known if the watch has told.
func (r *Reconciler) HolderGone(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, known bool) (claim types.NamespacedName, held bool) {
	c := &v1alpha1.SecurityGroupClaim{}
	claim.Name = claims.GroupOf(p).ClaimName()
	if err := r.Client.Get(ctx, claim, c); err != nil || !claims.HeldBy(c, p) {
		return claim, false // if the claim only comes to be known later, it is reconciled then
	}
	r.checked(c.UID)
	if known {
		r.Endings.Gone(p.UID, p.Status.PendingModification != nil, r.Clock.Now())
	}
	return claim, true
}

// ofHolder brings up the claim of a resource that is gone.
func (r *Reconciler) ofHolder() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	ended := func(ctx context.Context, o client.Object, known bool, q queue) {
		if claim, held := r.HolderGone(ctx, o.(*v1alpha1.SecurityGroupPolicy), known); held {
			q.Add(reconcile.Request{NamespacedName: claim})
		}
	}
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				ended(ctx, e.ObjectOld, false, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			ended(ctx, e.Object, !e.DeleteStateUnknown, q)
		},
	}
}
