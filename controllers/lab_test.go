package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// lab runs the reconciler pass by pass, without a manager, against a store in
// memory and the simulator: every request that leaves the reconciler has a number
// at which it can be made to crash, and what it reads from its cache can be held
// back. Time passes only as the reconciler asks for it.
type lab struct {
	t     *testing.T
	store client.WithWatch
	sim   *ecssim.Server
	cloud Cloud
	clock *testclock.FakePassiveClock
	r     *SecurityGroupPolicyReconciler

	withdrawn bool // the account

	requests int // that have left so far
	crashAt  int // the number of the one at which to crash; 0 for never
	after    bool
	dead     bool
	// downAfter keeps the reconciler down after its crash; down says that it is.
	downAfter, down bool

	// rival, at the request of crashAt, is a second manager that does all there is
	// to do before this one goes on.
	rival bool
	// moves has the resources given to the second manager's shard just then.
	moves bool

	events  int // writes that a watch would tell of
	staleAt int // the number of the one that the cache does not tell of for a pass; 0 for none
	stale   map[types.NamespacedName]*policy
}

var errCrashed = errors.New("crashed")

// labCloud is the one simulator that the labs share, each with groups of its own.
var labCloud = sync.OnceValues(func() (*ecssim.Server, *ecs.Client) {
	sim := ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: testKey, Secret: testSecret}}, CallLog: 1})
	url, _, err := sim.Start()
	if err != nil {
		panic(err)
	}
	endpoint, err := ecs.ParseEndpoint(url, false)
	if err != nil {
		panic(err)
	}
	return sim, ecs.New(ecs.Options{Credentials: testCredential{}, Endpoint: endpoint, Timeout: 10 * time.Second, QPS: 1e6, Burst: 1e6})
})

type testCredential struct{}

func (testCredential) Credential(context.Context) (ecs.Credential, error) {
	return ecs.Credential{AccessKeyID: testKey, AccessKeySecret: testSecret}, nil
}
func (testCredential) Judge(ecs.Credential, *ecs.Error) {}

type noEvents struct{}

func (noEvents) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

// labScheme holds no more than is needed: the fake client walks through all of it
// at each write.
var labScheme = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		panic(err)
	}
	return scheme
})

func newLab(t *testing.T) *lab {
	sim, cloud := labCloud()
	l := &lab{t: t, sim: sim, cloud: cloud, clock: testclock.NewFakePassiveClock(time.Now()),
		stale: map[types.NamespacedName]*policy{}}
	l.store = fake.NewClientBuilder().WithScheme(labScheme()).WithStatusSubresource(&policy{}).Build()
	l.restart()
	return l
}

// restart is what a new process begins with.
func (l *lab) restart() {
	l.dead = false
	l.r = &SecurityGroupPolicyReconciler{
		APIReader: interceptor.NewClient(l.store, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				return l.request(func() error { return c.Get(ctx, key, o, opts...) })
			},
		}),
		Client: interceptor.NewClient(l.store, interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				return l.request(func() error {
					return l.write(ctx, client.ObjectKeyFromObject(o), func() error { return c.Patch(ctx, o, p, opts...) })
				})
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				return l.request(func() error {
					return l.write(ctx, client.ObjectKeyFromObject(o), func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
				})
			},
		}),
		Clouds: func(context.Context, *policy) (Cloud, error) {
			if l.withdrawn {
				return nil, &account.NotReadyError{Reason: "the account is withdrawn"}
			}
			return labPort{l}, nil
		},
		Recorder: noEvents{}, Clock: l.clock, ResyncInterval: 10 * time.Minute,
	}
	l.r.memory.reset()
	l.r.claims.reset()
}

// request lets a request leave, or crashes around it.
func (l *lab) request(send func() error) error {
	if l.dead {
		return errCrashed
	}
	l.requests++
	if l.requests != l.crashAt {
		return send()
	}
	if l.rival {
		return l.meanwhile(send)
	}
	l.dead = true
	if l.after {
		_ = send()
	}
	return errCrashed
}

// meanwhile has a second manager settle everything around a request of this one.
func (l *lab) meanwhile(send func() error) error {
	other := &lab{t: l.t, store: l.store, sim: l.sim, cloud: l.cloud, clock: l.clock, withdrawn: l.withdrawn,
		stale: map[types.NamespacedName]*policy{}}
	other.restart()
	settle := func() {
		if l.moves {
			l.move()
		}
		other.settle()
	}
	if !l.after {
		settle()
		return send()
	}
	err := send()
	settle()
	return err
}

// write makes a change of which a watch tells, unless it is held back.
func (l *lab) write(ctx context.Context, key types.NamespacedName, do func() error) error {
	old := &policy{}
	existed := l.store.Get(ctx, key, old) == nil
	if err := do(); err != nil {
		return err
	}
	l.events++
	if l.events == l.staleAt && existed {
		l.stale[key] = old
	}
	return nil
}

// labPort counts the requests to ECS.
type labPort struct{ l *lab }

func (c labPort) Observe(ctx context.Context, g ecs.Group, p ratelimit.Priority) (policy string, err error) {
	err = c.l.request(func() error { policy, err = c.l.cloud.Observe(ctx, g, p); return err })
	return policy, err
}

func (c labPort) Modify(ctx context.Context, g ecs.Group, policy, token string) (id string, err error) {
	err = c.l.request(func() error { id, err = c.l.cloud.Modify(ctx, g, policy, token); return err })
	return id, err
}

// settle makes passes until nothing is due before the next resync.
func (l *lab) settle() {
	l.t.Helper()
	for range 100 {
		if l.down {
			return
		}
		list := &v1alpha1.SecurityGroupPolicyList{}
		if err := l.store.List(l.t.Context(), list); err != nil {
			l.t.Fatal(err)
		}
		next := time.Duration(0)
		held := len(l.stale) > 0
		for i := range list.Items {
			p := &list.Items[i]
			if old := l.stale[client.ObjectKeyFromObject(p)]; old != nil {
				p = old.DeepCopy()
			}
			if l.down {
				return
			}
			if due := l.pass(p); due > 0 && (next == 0 || due < next) {
				next = due
			}
		}
		if held {
			clear(l.stale)
			continue
		}
		if next == 0 || next >= minSlow {
			return
		}
		l.clock.SetTime(l.clock.Now().Add(next))
	}
	l.t.Fatalf("not settled after 100 passes: %+v", l.states())
}

// pass runs the reconciler once and says when it wants to run again.
func (l *lab) pass(p *policy) time.Duration {
	l.watch()
	result, err := l.r.Reconcile(l.t.Context(), p)
	switch {
	case l.dead:
		l.restart()
		l.down, l.crashAt = l.downAfter, 0
		return time.Millisecond
	case err != nil && !errors.Is(err, errCrashed):
		l.t.Fatalf("the pass failed: %v", err)
	}
	return result.RequeueAfter
}

// watch tells the reconciler of every resource, as its cache has it.
func (l *lab) watch() {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := l.store.List(l.t.Context(), list); err != nil {
		l.t.Fatal(err)
	}
	l.r.claims.reset()
	for i := range list.Items {
		p := &list.Items[i]
		if old := l.stale[client.ObjectKeyFromObject(p)]; old != nil {
			p = old
		}
		l.r.claims.note(p)
	}
}

// create, edit and remove are a user's.
func (l *lab) create(name, group, desired string, edits ...func(*policy)) {
	l.t.Helper()
	n := time.Duration(len(l.states()))
	p := &policy{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "lab", UID: types.UID("uid-" + name), Generation: 1,
			CreationTimestamp: metav1.NewTime(l.clock.Now().Add(n * time.Minute))},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: region, SecurityGroupID: group, InnerAccessPolicy: desired,
			ManagementPolicy: v1alpha1.ManagementEnforce, DeletionPolicy: v1alpha1.DeletionRetain},
	}
	for _, edit := range edits {
		edit(p)
	}
	if err := l.write(l.t.Context(), client.ObjectKeyFromObject(p), func() error { return l.store.Create(l.t.Context(), p) }); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) edit(name string, change func(*policy)) {
	l.t.Helper()
	p := &policy{}
	key := types.NamespacedName{Namespace: "lab", Name: name}
	if err := l.store.Get(l.t.Context(), key, p); err != nil {
		l.t.Fatal(err)
	}
	change(p)
	p.Generation++
	if err := l.write(l.t.Context(), key, func() error { return l.store.Update(l.t.Context(), p) }); err != nil {
		l.t.Fatal(err)
	}
}

// move gives all resources another label, as one does who gives them to another
// shard: their specs and so their generations stay.
func (l *lab) move() {
	l.t.Helper()
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := l.store.List(l.t.Context(), list); err != nil {
		l.t.Fatal(err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		metav1.SetMetaDataLabel(&p.ObjectMeta, shardLabel, "b")
		if err := l.write(l.t.Context(), client.ObjectKeyFromObject(p), func() error { return l.store.Update(l.t.Context(), p) }); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *lab) remove(name string) {
	l.t.Helper()
	p := &policy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "lab"}}
	if err := l.write(l.t.Context(), client.ObjectKeyFromObject(p), func() error { return l.store.Delete(l.t.Context(), p) }); err != nil && !apierrors.IsNotFound(err) {
		l.t.Fatal(err)
	}
}

// state is what must be the same however a scenario was disturbed.
type state struct {
	Finalizers []string
	Status     v1alpha1.SecurityGroupPolicyStatus
}

// states gives each resource without what differs from run to run.
func (l *lab) states() map[string]state {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := l.store.List(l.t.Context(), list); err != nil {
		l.t.Fatal(err)
	}
	states := map[string]state{}
	for _, p := range list.Items {
		s := p.Status.DeepCopy()
		if s.LastModification != nil {
			s.LastModification.RequestID, s.LastModification.Time = "", metav1.Time{}
		}
		if s.LastError != nil {
			s.LastError.RequestID, s.LastError.Time = "", metav1.Time{}
		}
		for i := range s.DriftCorrections {
			s.DriftCorrections[i] = metav1.Time{}
		}
		for i := range s.Conditions {
			s.Conditions[i].LastTransitionTime = metav1.Time{}
		}
		slices.SortFunc(s.Conditions, func(a, b metav1.Condition) int { return cmpString(a.Type, b.Type) })
		states[p.Name] = state{Finalizers: p.Finalizers, Status: *s}
	}
	return states
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// changes are the effective changes of a group, as from>to.
func (l *lab) changes(group string) []string {
	var list []string
	for _, e := range l.sim.Effects(region, group) {
		list = append(list, fmt.Sprintf("%s>%s by API: %v", e.From, e.To, e.ByAPI))
	}
	return list
}

// checkRequestIDs holds the recorded request ids against those that ECS gave.
func (l *lab) checkRequestIDs(group string) error {
	list := &v1alpha1.SecurityGroupPolicyList{}
	if err := l.store.List(l.t.Context(), list); err != nil {
		return err
	}
	given := map[string]bool{}
	for _, e := range l.sim.Effects(region, group) {
		given[e.RequestID] = true
	}
	for _, p := range list.Items {
		if m := p.Status.LastModification; m != nil && !given[m.RequestID] {
			return fmt.Errorf("%s says %+v, which ECS never gave for an effect", p.Name, m)
		}
	}
	return nil
}

func diff(want, got any) string { return cmp.Diff(want, got) }
