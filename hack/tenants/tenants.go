package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	hostileNamespace = "hostile"
	// What the hostile tenant has.
	silentResources, refusedResources, misplacedResources, bigResources = 300, 20, 10, 20
	// pace of its edits, above what an account may call.
	pace = 15 * time.Millisecond
)

var teams = []string{"team-1", "team-2", "team-3", "team-4", "team-5", "team-6", "team-7", "team-8", "team-9"}

// others are the resources of those who are not hostile, each with a group.
func (w *world) others() (all []*v1alpha1.SecurityGroupPolicy) {
	for i := range w.resources {
		for _, team := range teams {
			all = append(all, w.resource(team, fmt.Sprint("p-", i), region, fmt.Sprintf("sg-%s-%d", team, i)))
		}
	}
	return all
}

// resource has its group in the simulator, and asks for Drop.
func (w *world) resource(namespace, name, in, group string) *v1alpha1.SecurityGroupPolicy {
	if in != noRegion {
		w.sim.PutGroup(ecssim.Group{Region: in, ID: group, Policy: ecssim.Accept})
	}
	return &v1alpha1.SecurityGroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: in, SecurityGroupID: group, InnerAccessPolicy: ecssim.Drop}}
}

func (w *world) createAll(ctx context.Context, all []*v1alpha1.SecurityGroupPolicy) error {
	var errs []error
	for _, p := range all {
		errs = append(errs, w.cluster.Client.Create(ctx, p))
	}
	return errors.Join(errs...)
}

// untilInSync waits until resources are Ready.
func (w *world) untilInSync(ctx context.Context, all []*v1alpha1.SecurityGroupPolicy, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		unready, err := w.unready(ctx, all)
		if err == nil && len(unready) == 0 {
			return nil
		}
		if rig.Pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("not in sync within %v: %s (%w)", limit, strings.Join(unready, ", "), errors.Join(err, context.Cause(ctx)))
		}
	}
}

func (w *world) unready(ctx context.Context, all []*v1alpha1.SecurityGroupPolicy) (unready []string, err error) {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := w.cluster.Client.List(ctx, list); err != nil {
		return nil, err
	}
	found := map[client.ObjectKey]*v1alpha1.SecurityGroupPolicy{}
	for i := range list.Items {
		found[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
	}
	for _, wanted := range all {
		p := found[client.ObjectKeyFromObject(wanted)]
		if p == nil || !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) || p.Status.ObservedGeneration != p.Generation {
			unready = append(unready, wanted.Namespace+"/"+wanted.Name)
		}
	}
	return unready, nil
}

// hostility is what the hostile tenant is about.
type hostility struct {
	objects int
	edits   atomic.Int64
}

// unleash creates all that the hostile tenant has, and has it edit in a loop until the
// context ends.
func (w *world) unleash(ctx context.Context) (*hostility, error) {
	var greedy, rest []*v1alpha1.SecurityGroupPolicy
	for i := range 30 {
		greedy = append(greedy, w.resource(hostileNamespace, fmt.Sprint("greedy-", i), region, fmt.Sprint("sg-greedy-", i)))
	}
	for i := range silentResources {
		rest = append(rest, w.resource(hostileNamespace, fmt.Sprint("silent-", i), silentRegion, fmt.Sprint("sg-silent-", i)))
	}
	for i := range refusedResources {
		rest = append(rest, w.resource(hostileNamespace, fmt.Sprint("refused-", i), refusingRegion, fmt.Sprint("sg-refused-", i)))
	}
	for i := range misplacedResources {
		rest = append(rest, w.resource(hostileNamespace, fmt.Sprint("misplaced-", i), noRegion, fmt.Sprint("sg-misplaced-", i)))
	}
	for i := range bigResources {
		p := w.resource(hostileNamespace, fmt.Sprint("big-", i), region, fmt.Sprint("sg-big-", i))
		p.Annotations = map[string]string{"big": strings.Repeat("x", 250<<10)}
		p.Labels = map[string]string{}
		for l := range 4000 {
			p.Labels[fmt.Sprint("label-", l)] = strings.Repeat("x", 60)
		}
		rest = append(rest, p)
	}
	for i, team := range teams { // what is somebody's already
		claimant := w.resource(hostileNamespace, fmt.Sprint("claimant-", i), noRegion, fmt.Sprintf("sg-%s-0", team))
		claimant.Spec.RegionID, claimant.Spec.InnerAccessPolicy = region, ecssim.Accept
		rest = append(rest, claimant)
	}
	if err := w.createAll(ctx, append(greedy, rest...)); err != nil {
		return nil, err
	}
	h := &hostility{objects: len(greedy) + len(rest)}
	go func() {
		for n := 0; rig.Pause(ctx, pace) == nil; n++ {
			p := greedy[n%len(greedy)].DeepCopy()
			patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d"}}}`, v1alpha1.AnnotationReconcileRequestedAt, n)
			if w.cluster.Client.Patch(ctx, p, client.RawPatch("application/merge-patch+json", []byte(patch))) == nil {
				h.edits.Add(1)
			}
		}
	}()
	return h, nil
}

// noticed is what the others noticed.
type noticed struct {
	mu sync.Mutex
	// edits and drifts are how long those took to be in the cloud, and to be put right.
	edits, drifts []time.Duration
	// hanging is how many calls to the silent region there were at a time, at the most.
	hanging int
}

// watch has the others edit, and somebody change their groups, while time passes.
func (w *world) watch(ctx context.Context, others []*v1alpha1.SecurityGroupPolicy) (*noticed, error) {
	n, end := &noticed{}, time.Now().Add(w.duration)
	var all sync.WaitGroup
	errs := make(chan error, len(others))
	// Each resource is either edited or changed from outside, once.
	for i, p := range others {
		at := w.begun.Add(time.Since(w.begun) + w.duration/2*time.Duration(i)/time.Duration(len(others)))
		all.Go(func() {
			if rig.Pause(ctx, time.Until(at)) != nil {
				return
			}
			if i%3 == 0 {
				errs <- w.edit(ctx, p, n)
				return
			}
			errs <- w.drift(ctx, p, n)
		})
	}
	for time.Now().Before(end) {
		if err := rig.Pause(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
		n.hanging = max(n.hanging, w.hanging())
	}
	all.Wait()
	close(errs)
	var found []error
	for err := range errs {
		found = append(found, err)
	}
	return n, errors.Join(found...)
}

func (w *world) edit(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, n *noticed) error {
	begun := time.Now()
	edited := p.DeepCopy()
	edited.Spec.InnerAccessPolicy = ecssim.Accept
	if err := w.cluster.Client.Patch(ctx, edited, client.MergeFrom(p)); err != nil {
		return err
	}
	took, err := w.until(ctx, p, ecssim.Accept, begun)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.edits = append(n.edits, took)
	return err
}

func (w *world) drift(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, n *noticed) error {
	begun := time.Now()
	w.sim.SetPolicy(region, p.Spec.SecurityGroupID, ecssim.Accept)
	took, err := w.until(ctx, p, ecssim.Drop, begun)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drifts = append(n.drifts, took)
	return err
}

// until waits until the cloud has a value.
func (w *world) until(ctx context.Context, p *v1alpha1.SecurityGroupPolicy, want ecssim.Policy, since time.Time) (time.Duration, error) {
	for time.Since(since) < w.duration {
		if g, _ := w.sim.Group(region, p.Spec.SecurityGroupID); g.Policy == want {
			break
		}
		if err := rig.Pause(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return time.Since(since), nil
}

// hanging is how many calls to the silent region are under way.
func (w *world) hanging() (n int) {
	for _, c := range w.sim.Calls() {
		if c.Region == silentRegion && c.Status == 0 && time.Since(c.Time) < 10*time.Second {
			n++
		}
	}
	return n
}
