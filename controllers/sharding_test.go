package controllers

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

const shardLabel = "ecs.alibabacloud.com/shard"

// shards are the selectors of config/shards: the last takes what is in no other.
var shards = map[string]string{
	"a":    shardLabel + "=a",
	"b":    shardLabel + "=b",
	"rest": shardLabel + " notin (a,b)",
}

func inShard(name string) func(*policy) {
	return func(p *policy) {
		if name == "rest" {
			delete(p.Labels, shardLabel)
			return
		}
		metav1.SetMetaDataLabel(&p.ObjectMeta, shardLabel, name)
	}
}

// handlers notes which shard's manager has called ECS for a group.
type handlers struct {
	mu sync.Mutex
	of map[string]map[string]bool
}

// handled are the shards that have called ECS for a group so far.
func (h *handlers) handled(group string) map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.of[group])
}

// startShards starts a manager for each shard.
func (w *world) startShards() *handlers {
	w.t.Helper()
	h := &handlers{of: map[string]map[string]bool{}}
	for name, selector := range shards {
		w.shard = selector
		w.cloud = func(c Cloud) Cloud { return shardCloud{c, h, name} }
		w.start()
	}
	return h
}

// shardCloud is the cloud as a shard's manager reaches it.
type shardCloud struct {
	Cloud
	handlers *handlers
	shard    string
}

func (c shardCloud) note(g ecs.Group) {
	c.handlers.mu.Lock()
	defer c.handlers.mu.Unlock()
	if c.handlers.of[g.SecurityGroupID] == nil {
		c.handlers.of[g.SecurityGroupID] = map[string]bool{}
	}
	c.handlers.of[g.SecurityGroupID][c.shard] = true
}

func (c shardCloud) Observe(ctx context.Context, g ecs.Group, p ratelimit.Priority) (string, error) {
	c.note(g)
	return c.Cloud.Observe(ctx, g, p)
}

func (c shardCloud) Modify(ctx context.Context, g ecs.Group, policy, token string) (string, error) {
	c.note(g)
	return c.Cloud.Modify(ctx, g, policy, token)
}

func TestEachResourceIsHandledByExactlyOneShard(t *testing.T) {
	t.Parallel()
	const each = 15
	var groups []ecssim.Group
	for i := range 3 * each {
		groups = append(groups, ecssim.Group{ID: fmt.Sprint("sg-", i), Policy: "Accept"})
	}
	w := newWorld(t, groups...)
	names := []string{"a", "b", "rest"}
	for i := range 3 * each {
		w.policy(fmt.Sprint("p-", i), fmt.Sprint("sg-", i), []string{"Accept", "Drop"}[i/3%2], inShard(names[i%3]))
	}
	h := w.startShards()
	for i := range 3 * each {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
	}
	for i := range 3 * each {
		group, changes := fmt.Sprint("sg-", i), i/3%2
		if got := h.handled(group); len(got) != 1 || !got[names[i%3]] {
			t.Errorf("%s of shard %s was handled by %v", group, names[i%3], got)
		}
		if reads, writes := w.calls(observe, group), w.calls(modify, group); reads != 1+changes || writes != changes {
			t.Errorf("%s: %d reads and %d changes, want %d and %d", group, reads, writes, 1+changes, changes)
		}
	}
}

// TestAMoveBetweenShardsAtAnyRequestChangesNothing gives the resources of each
// scenario to another shard just before and just after each request of the first:
// the second manager does all there is to do before the first goes on.
func TestAMoveBetweenShardsAtAnyRequestChangesNothing(t *testing.T) {
	t.Parallel()
	report(t, "%d points", disturb(t, requests, func(l *lab, place int) {
		l.aroundRequest(place)
		l.rival, l.moves = true, true
	}, same(t)))
}

func TestAMoveBetweenShardsMakesNoSecondChange(t *testing.T) {
	t.Parallel()
	const resources = 12
	var groups []ecssim.Group
	for i := range resources {
		groups = append(groups, ecssim.Group{ID: fmt.Sprint("sg-", i), Policy: "Accept"})
	}
	w := newWorld(t, groups...)
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangAfter, Action: modify, Delay: 100 * time.Millisecond})
	h := w.startShards()
	for i := range resources {
		w.policy(fmt.Sprint("p-", i), fmt.Sprint("sg-", i), "Drop", inShard("a"))
	}
	for i := range resources {
		name := fmt.Sprint("p-", i)
		if i%2 == 0 { // in the midst of its change
			w.eventually("the change is under way", func() bool {
				return w.get(name).Status.PendingModification != nil || w.calls(modify, fmt.Sprint("sg-", i)) > 0
			}, func() string { return "" })
		}
		w.edit(name, inShard("b"))
	}
	for i := range resources {
		name, group := fmt.Sprint("p-", i), fmt.Sprint("sg-", i)
		w.awaitReason(name, v1alpha1.ReasonInSync)
		w.eventually("the new shard has looked", func() bool { return h.handled(group)["b"] }, func() string { return group })
		p := w.await(name, "nothing is pending", func(p *policy) bool { return p.Status.PendingModification == nil })
		if effects := w.sim.Effects(region, group); len(effects) != 1 || effects[0].RequestID != p.Status.LastModification.RequestID {
			t.Errorf("%s: %+v, and the status says %+v", group, effects, p.Status.LastModification)
		}
	}
}

func TestOneGroupHasOneOwnerAcrossShards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.startShards()
	first := w.policy("older", "sg-1", "Drop", inShard("a"))
	w.awaitReason("older", v1alpha1.ReasonInSync)
	w.eventually("a second has passed", func() bool { return time.Since(first.CreationTimestamp.Time) > time.Second }, func() string { return "" })
	w.policy("younger", "sg-1", "Accept", inShard("b"))
	p := w.awaitReason("younger", v1alpha1.ReasonConflict)
	if ready := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, w.namespace+"/older") {
		t.Errorf("the message does not name the owner: %q", ready.Message)
	}
	w.edit("younger", inShard("rest"))
	w.lookNow("younger")
	w.cloudIs("sg-1", "Drop", 0)
	if err := api.Delete(t.Context(), w.get("older")); err != nil {
		t.Fatal(err)
	}
	w.awaitReason("younger", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Accept", 1)
}

func TestTwoNewResourcesOfTwoShardsDoNotFight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	a, b := w.policy("a", "sg-1", "Drop", inShard("a")), w.policy("b", "sg-1", "Accept", inShard("b"))
	w.startShards()
	w.awaitOneOwner(a, b)
}

// TestAnOlderResourceThatNobodyLooksAtIsNamed: it has a label for which there is no
// manager. Nobody can know whether it owns the group, so that nothing is written.
func TestAnOlderResourceThatNobodyLooksAtIsNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const group = "sg-lab-nobody"
	l.sim.PutGroup(ecssim.Group{Region: region, ID: group, Policy: "Accept"})
	l.create("older", group, "Accept")
	l.create("younger", group, "Drop")
	pass := func() (time.Duration, state) {
		p := &policy{}
		if err := l.store.Get(t.Context(), types.NamespacedName{Namespace: "lab", Name: "younger"}, p); err != nil {
			t.Fatal(err)
		}
		return l.pass(p), l.states()["younger"]
	}
	if again, s := pass(); again != unknownOwner || len(s.Status.Conditions) > 0 {
		t.Errorf("at first: again in %v, %+v", again, s.Status)
	}
	l.clock.SetTime(l.clock.Now().Add(patience + time.Second))
	again, s := pass()
	reconciling := apimeta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReconciling)
	if again != unknownOwner || reconciling == nil || !strings.Contains(reconciling.Message, "lab/older") {
		t.Errorf("a minute later: again in %v, %+v", again, s.Status)
	}
	if l.requests != 1 {
		t.Errorf("%d requests, want the one status write", l.requests)
	}
	if changes := l.changes(group); len(changes) > 0 {
		t.Errorf("the group was changed: %v", changes)
	}
}

// TestAResourceWaitsUntilTheViewOfAllHoldsItself: before that, nobody knows whether
// an older one stands in it.
func TestAResourceWaitsUntilTheViewOfAllHoldsItself(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const group = "sg-lab-unseen"
	l.sim.PutGroup(ecssim.Group{Region: region, ID: group, Policy: "Accept"})
	l.create("p", group, "Drop")
	p := &policy{}
	if err := l.store.Get(t.Context(), types.NamespacedName{Namespace: "lab", Name: "p"}, p); err != nil {
		t.Fatal(err)
	}
	result, err := l.r.Reconcile(t.Context(), p)
	if err != nil || result.RequeueAfter != unknownSelf || l.requests > 0 {
		t.Errorf("%+v, %v, %d requests; want to come back in %v", result, err, l.requests, unknownSelf)
	}
}
