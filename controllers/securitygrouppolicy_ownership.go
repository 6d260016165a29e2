package controllers

import (
	"context"
	"slices"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// claim is what a resource has to say about its group.
type claim int

const (
	// claimUnknown: nobody has looked yet whether ECS lets it observe the group.
	claimUnknown claim = iota
	// claimNone: it cannot reach the group, or must not try.
	claimNone
	// claimHeld: ECS has let it observe the group.
	claimHeld
)

func claimOf(p *v1alpha1.SecurityGroupPolicy) claim {
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		if p.Spec.Suspend || !p.DeletionTimestamp.IsZero() {
			return claimNone
		}
		return claimUnknown
	case p.Status.InnerAccessPolicy == "":
		return claimNone
	}
	switch ready.Reason {
	case v1alpha1.ReasonConflict, v1alpha1.ReasonAccessDenied, v1alpha1.ReasonAccountNotReady,
		v1alpha1.ReasonSecurityGroupNotFound, v1alpha1.ReasonInvalidRequest:
		return claimNone
	}
	return claimHeld
}

// namedGroup is a group as resources name it.
type namedGroup struct{ region, id string }

func groupOf(p *v1alpha1.SecurityGroupPolicy) namedGroup {
	return namedGroup{p.Spec.RegionID, p.Spec.SecurityGroupID}
}

// claimant is what ownership asks of a resource.
type claimant struct {
	types.NamespacedName
	uid     types.UID
	created metav1.Time
	claim   claim
}

func claimantOf(p *v1alpha1.SecurityGroupPolicy) claimant {
	return claimant{client.ObjectKeyFromObject(p), p.UID, p.CreationTimestamp, claimOf(p)}
}

func older(a, b claimant) bool {
	if !a.created.Equal(&b.created) {
		return a.created.Before(&b.created)
	}
	return a.uid < b.uid
}

// claims are all resources by the group that they name: those of this manager, and
// of other shards too. An index over the cache would take several times the memory.
type claims struct {
	mu     sync.RWMutex
	groups map[namedGroup][]claimant
}

func (c *claims) reset() { c.groups = map[namedGroup][]claimant{} }

// note keeps what is new of a resource, and tells whether its claim has changed.
func (c *claims) note(p *v1alpha1.SecurityGroupPolicy) (changed bool) {
	is := claimantOf(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.groups[groupOf(p)]
	for i, was := range list {
		if was.uid == is.uid {
			list[i] = is
			return was.claim != is.claim
		}
	}
	c.groups[groupOf(p)] = append(list[:len(list):len(list)], is)
	return false
}

func (c *claims) drop(p *v1alpha1.SecurityGroupPolicy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := groupOf(p)
	left := slices.DeleteFunc(slices.Clone(c.groups[g]), func(o claimant) bool { return o.uid == p.UID })
	if len(left) == 0 {
		delete(c.groups, g)
		return
	}
	c.groups[g] = left
}

// others are the other resources that name the group of p. While p itself is not
// known yet, those before it may not be either.
func (c *claims) others(p *v1alpha1.SecurityGroupPolicy) (others []claimant, known bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, o := range c.groups[groupOf(p)] {
		if o.uid == p.UID {
			known = true
			continue
		}
		others = append(others, o)
	}
	return others, known
}

const (
	// unknownOwner is how often a resource asks whether an older one owns its
	// group, beside being woken when that is known.
	unknownOwner = 10 * time.Second
	// unknownSelf is how long a resource waits to be known itself: the watch that
	// tells of all resources may lag that of this manager's by a moment.
	unknownSelf = 50 * time.Millisecond
	// patience is how long it waits for the older one without a word.
	patience = time.Minute
)

// ownership is what stands between a resource and its group.
type ownership struct {
	// owner is the other resource that owns the group, if one does.
	owner string
	// awaited is an older resource of which nobody knows yet whether it does.
	awaited string
	// wait until asking again; zero if p may go on.
	wait time.Duration
}

// owner tells who owns the group of p: the oldest, then the smaller UID, of those
// that ECS let observe it. While nobody knows that of an older one, p has to wait:
// it is looked at before long.
func (r *SecurityGroupPolicyReconciler) owner(p *v1alpha1.SecurityGroupPolicy) ownership {
	others, known := r.claims.others(p)
	if !known {
		return ownership{wait: unknownSelf}
	}
	self, unknown := claimantOf(p), ownership{}
	for _, other := range others {
		if !older(other, self) {
			continue
		}
		switch other.claim {
		case claimHeld:
			return ownership{owner: other.String()}
		case claimUnknown:
			unknown = ownership{awaited: other.String(), wait: unknownOwner}
		case claimNone:
		}
	}
	return unknown
}

// followClaims keeps the claims, and wakes the other resources of a group when one
// of them may have become its owner.
func (r *SecurityGroupPolicyReconciler) followClaims() handler.EventHandler {
	wakeOthers := func(p *v1alpha1.SecurityGroupPolicy, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		others, _ := r.claims.others(p)
		for _, other := range others {
			q.Add(reconcile.Request{NamespacedName: other.NamespacedName})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, _ workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			r.claims.note(e.Object.(*v1alpha1.SecurityGroupPolicy))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			was, is := e.ObjectOld.(*v1alpha1.SecurityGroupPolicy), e.ObjectNew.(*v1alpha1.SecurityGroupPolicy)
			if was.UID != is.UID { // deleted and made anew between two looks of the watch
				r.claims.drop(was)
				wakeOthers(was, q)
			}
			if r.claims.note(is) {
				wakeOthers(is, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			p := e.Object.(*v1alpha1.SecurityGroupPolicy)
			r.claims.drop(p)
			wakeOthers(p, q)
		},
	}
}
