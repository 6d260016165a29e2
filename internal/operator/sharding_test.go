package operator_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
		w.options.WatchLabelSelector = selector
		w.options.Replace.Cloud = func(c cloud) cloud { return shardCloud{c, h, name} }
		w.start()
	}
	return h
}

// shardCloud is the cloud as a shard's manager reaches it.
type shardCloud struct {
	cloud
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

func (c shardCloud) Observe(ctx context.Context, g ecs.Group, p ratelimit.Priority) (ecs.Observation, time.Duration, error) {
	c.note(g)
	return c.cloud.Observe(ctx, g, p)
}

func (c shardCloud) Modify(ctx context.Context, g ecs.Group, policy, token string) (string, time.Duration, error) {
	c.note(g)
	return c.cloud.Modify(ctx, g, policy, token)
}

func TestEachResourceIsHandledByExactlyOneShard(t *testing.T) {
	t.Parallel()
	const each = 15
	var groups []ecssim.Group
	for i := range 3 * each {
		groups = append(groups, ecssim.Group{ID: fmt.Sprint("sg-", i), Policy: "Accept"})
	}
	w := newWorld(t, groups...)
	w.options.MaxConcurrentReconciles = 16 // so that no change has to give way in the region
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
		if effects := w.sim.Effects(w.region, group); len(effects) != 1 || effects[0].RequestID != p.Status.LastModification.RequestID {
			t.Errorf("%s: %+v, and the status says %+v", group, effects, p.Status.LastModification)
		}
	}
}

func TestOneGroupHasOneHolderAcrossShards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.startShards()
	w.policy("first", "sg-1", "Drop", inShard("a"))
	w.awaitReason("first", v1alpha1.ReasonInSync)
	w.awaitHolder("sg-1", "first")
	w.policy("second", "sg-1", "Accept", inShard("b"))
	p := w.awaitReason("second", v1alpha1.ReasonConflict)
	if !strings.Contains(message(p), "SecurityGroupPolicy first holds") {
		t.Errorf("the message does not name the holder: %q", message(p))
	}
	w.edit("second", inShard("rest"))
	w.reconcileNow("second")
	w.edit("first", inShard("b"))
	w.reconcileNow("first")
	w.awaitHolder("sg-1", "first")
	w.cloudIs("sg-1", "Drop", 0)
	w.deletePolicy("first")
	w.awaitReason("second", v1alpha1.ReasonInSync)
	w.cloudIs("sg-1", "Accept", 1)
}

// Shards do not know each other's candidates: which of them is first to hold the group
// is open, that one alone does is not.
func TestTwoNewResourcesOfTwoShardsDoNotFight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Drop"})
	w.policy("a", "sg-1", "Drop", inShard("a"))
	w.policy("b", "sg-1", "Accept", inShard("b"))
	w.startShards()
	w.eventually("one of them holds the group", func() bool { return w.holder("sg-1") != "" }, func() string { return "" })
	holds, waits, want, changes := "a", "b", "Drop", 0
	if w.holder("sg-1") == "b" {
		holds, waits, want, changes = "b", "a", "Accept", 1
	}
	w.awaitReason(holds, v1alpha1.ReasonInSync)
	w.awaitReason(waits, v1alpha1.ReasonConflict)
	w.cloudIs("sg-1", want, changes)
}
