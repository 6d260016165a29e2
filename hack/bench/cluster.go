package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

const namespace = "bench"

// startCluster starts a control plane with what the checkout root installs.
func startCluster(ctx context.Context, r *rig.Rig, root string) (*rig.ControlPlane, error) {
	// The API server inherits this: at its usual setting a fifth of its work is the
	// collection of a small heap, and all processes share the machine. With 100,000
	// resources the memory does not suffice for as much garbage.
	if err := errors.Join(os.Setenv("GOGC", "400"), os.Setenv("GOMEMLIMIT", "8GiB")); err != nil {
		return nil, err
	}
	c, err := r.StartControlPlane(ctx, rig.ControlPlaneOptions{Root: root, StopTimeout: 2 * time.Second})
	if err == nil {
		err = c.CreateNamespace(ctx, namespace)
	}
	return c, err
}

// board knows how each resource stands, from a watch.
type board struct {
	mu sync.Mutex
	// ready is the newest generation that a resource was Ready at, and readyAt when
	// that was seen.
	ready   []int64
	readyAt []time.Time
	// changes counts the changes that were seen of each resource.
	changes []int
	err     error
}

func watchAll(ctx context.Context, c client.WithWatch, n int) (*board, error) {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := c.List(ctx, list); err != nil {
		return nil, err
	}
	b := &board{ready: make([]int64, n), readyAt: make([]time.Time, n), changes: make([]int, n)}
	version := list.ResourceVersion
	go func() {
		for ctx.Err() == nil {
			w, err := c.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
			if err != nil {
				b.fail(err)
				return
			}
			for event := range w.ResultChan() {
				p, ok := event.Object.(*v1alpha1.SecurityGroupPolicy)
				if !ok {
					b.fail(fmt.Errorf("the watch says %v", event.Object))
					return
				}
				version = p.ResourceVersion
				b.note(event.Type, p)
			}
		}
	}()
	return b, nil
}

func (b *board) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *board) note(kind watch.EventType, p *v1alpha1.SecurityGroupPolicy) {
	i, err := strconv.Atoi(strings.TrimPrefix(p.Name, "r-"))
	if err != nil || i >= len(b.ready) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if kind == watch.Modified {
		b.changes[i]++
	}
	ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Status == metav1.ConditionTrue && p.Status.ObservedGeneration == p.Generation && ready.ObservedGeneration == p.Generation && b.ready[i] < p.Generation {
		b.ready[i], b.readyAt[i] = p.Generation, time.Now()
	}
}

// behind tells how many resources are not Ready at the generation that is wanted.
func (b *board) behind(want []int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for i, generation := range want {
		if b.ready[i] < generation {
			n++
		}
	}
	return n, b.err
}

func resource(i int, policy string) *v1alpha1.SecurityGroupPolicy {
	return &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("r-%06d", i)},
		Spec:       v1alpha1.SecurityGroupPolicySpec{RegionID: region, SecurityGroupID: groupName(i), InnerAccessPolicy: policy},
	}
}

// edit changes what a resource asks for, and returns its new generation.
func (w *world) edit(ctx context.Context, i int, policy string) (int64, error) {
	p := resource(i, policy)
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"innerAccessPolicy":"`+policy+`"}}`))
	err := w.cluster.Client.Patch(ctx, p, patch)
	return p.Generation, err
}
