package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// sharedVPC is that of the groups which have none of their own.
const sharedVPC = "vpc-shared"

// node is a node of the cluster that the operator runs in. It is in its group at times.
type node struct {
	id, group, vpc string
	// secondary says that it is in the group by an interface beside its primary one.
	secondary bool
	// in is whether it is in the group, by the plan.
	in bool
	// stays says that it never leaves: one listing of a VPC speaks for a minute, so that a
	// change would stay held for longer than a run lasts.
	stays bool
}

// stay is the time in which a node was in its group, and the API server had it; until is
// zero while it lasts.
type stay struct{ since, until time.Time }

// giveNode has a group belong to the cluster at times.
func (p *plan) giveNode(g *group) {
	g.vpc = "vpc-" + g.id
	if p.chance(0.3) {
		g.vpc = sharedVPC
	}
	g.node = &node{id: "i-" + strings.ReplaceAll(g.id, "-", ""), group: g.id, vpc: g.vpc, secondary: p.chance(0.5), stays: g.vpc == sharedVPC}
	g.node.in = p.chance(0.6)
	g.startsWithNode = g.node.in
}

// moveNode has a node join or leave its group.
func (p *plan) moveNode(g *group) {
	n := g.node
	if n.in && n.stays {
		return
	}
	if n.in = !n.in; n.in {
		p.add(laneEdits, "the node "+n.id+" joins "+g.id, func(w *world) error { return w.join(n) })
		return
	}
	forgotten := p.chance(0.5)
	p.add(laneEdits, fmt.Sprintf("the node %s leaves %s (and the cluster: %v)", n.id, g.id, forgotten), func(w *world) error { return w.leave(n, forgotten) })
}

// join puts a node's instance into its group, and makes the Node if there is none.
func (w *world) join(n *node) error {
	instance := ecssim.Instance{Region: region, ID: n.id, VpcID: n.vpc}
	if n.secondary {
		w.sim.PutInterface(ecssim.Interface{Region: region, ID: "eni-" + n.id, InstanceID: n.id, VpcID: n.vpc, Groups: []string{n.group}})
	} else {
		instance.Groups = []string{n.group}
	}
	w.sim.PutInstance(instance)
	if err := w.admit(n); err != nil {
		return err
	}
	w.nodesMu.Lock()
	defer w.nodesMu.Unlock()
	w.stays[n.group] = append(w.stays[n.group], stay{since: time.Now()})
	return nil
}

// admit makes the Node.
func (w *world) admit(n *node) error {
	return persist(w.ctx, func() error {
		err := w.cluster.Client.Create(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.id}, Spec: corev1.NodeSpec{ProviderID: region + "." + n.id}})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// leave takes a node's instance out of its group, and removes the Node if it is forgotten.
func (w *world) leave(n *node, forgotten bool) error {
	w.nodesMu.Lock()
	all := w.stays[n.group]
	all[len(all)-1].until = time.Now()
	w.nodesMu.Unlock()
	w.sim.DeleteInterface(region, "eni-"+n.id)
	w.sim.PutInstance(ecssim.Instance{Region: region, ID: n.id, VpcID: n.vpc})
	if !forgotten {
		return nil
	}
	return persist(w.ctx, func() error {
		return client.IgnoreNotFound(w.cluster.Client.Delete(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.id}}))
	})
}

// staysIn are the times in which a node was in a group.
func (w *world) staysIn(group string) []stay {
	w.nodesMu.Lock()
	defer w.nodesMu.Unlock()
	return slices.Clone(w.stays[group])
}

// hasNode tells whether a node is in a group now.
func (w *world) hasNode(group string) bool {
	all := w.staysIn(group)
	return len(all) > 0 && all[len(all)-1].until.IsZero()
}

// answer approves or confirms what a resource asks for at present, or takes that back.
func (p *plan) answer(r *resource, annotation string) {
	if p.chance(0.3) {
		p.add(laneEdits, "take back "+annotation+" of "+r.name, func(w *world) error { return w.annotate(r, annotation, false) })
		return
	}
	p.add(laneEdits, "set "+annotation+" of "+r.name, func(w *world) error { return w.annotate(r, annotation, true) })
}

// annotate sets an annotation to the present generation, or removes it. It is the driver
// alone that moves the generation on, in the same lane.
func (w *world) annotate(r *resource, annotation string, given bool) error {
	return persist(w.ctx, func() error {
		p := &v1alpha1.SecurityGroupPolicy{}
		if err := w.cluster.Client.Get(w.ctx, types.NamespacedName{Namespace: r.namespace, Name: r.name}, p); err != nil {
			return client.IgnoreNotFound(err)
		}
		value := "null"
		if given {
			value = strconv.Quote(strconv.FormatInt(p.Generation, 10))
		}
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, annotation, value)
		return client.IgnoreNotFound(w.cluster.Client.Patch(w.ctx, p, client.RawPatch(types.MergePatchType, patch)))
	})
}

// names tells whether an annotation of a resource has the value of a generation.
func names(p *v1alpha1.SecurityGroupPolicy, annotation string, generations ...int64) bool {
	return slices.ContainsFunc(generations, func(g int64) bool { return p.Annotations[annotation] == strconv.FormatInt(g, 10) })
}
