package securitygrouppolicy

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// benchECS is an endpoint with one group, sg-1, and nothing else to it: the
// simulator checks signatures and keeps a log, which would be in the figure.
type benchECS struct {
	drop            atomic.Bool
	observed, moved atomic.Int64
}

// benchRule stands for a rule with all of its fields, in length.
var benchRule = `{"SecurityGroupRuleId":"sgr-bp1abcdefghijklmnopq","Direction":"ingress","IpProtocol":"TCP","PortRange":"8080/8080",` +
	`"SourceCidrIp":"10.0.0.0/8","Policy":"Accept","Priority":"1","NicType":"intranet","CreateTime":"2026-01-02T03:04:05Z",` +
	`"Description":"` + strings.Repeat("d", 400) + `"}`

// benchBodies are the answers to a read, by whether the policy is Drop.
var benchBodies = func() map[bool][]byte {
	body := func(policy string) []byte {
		return []byte(`{"RequestId":"473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E","RegionId":"` + region + `","SecurityGroupId":"sg-1",` +
			`"SecurityGroupName":"web-tier","VpcId":"vpc-bp1abcdefghijklmnopqr","InnerAccessPolicy":"` + policy + `","NextToken":"",` +
			`"Permissions":{"Permission":[` + strings.Repeat(benchRule+",", 9) + benchRule + `]}}`)
	}
	return map[bool][]byte{false: body(ecs.Accept), true: body(ecs.Drop)}
}()

// ServeHTTP looks for the policy in the query as it stands, since parsing it would
// be in the figure.
func (e *benchECS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer []byte
	switch r.Header.Get("x-acs-action") {
	case ecs.ActionObserve:
		e.observed.Add(1)
		answer = benchBodies[e.drop.Load()]
	case ecs.ActionModify:
		e.moved.Add(1)
		e.drop.Store(strings.Contains(r.URL.RawQuery, "InnerAccessPolicy="+ecs.Drop))
		answer = []byte(`{"RequestId":"CEF72CEB-54B6-4AE8-B225-F876FF7BA984"}`)
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}

// benchStore is cache and API server for one resource. It computes a patch, as
// the real client does, since that is the operator's cost, and takes the object
// that it was computed from for the result. What it does not implement panics.
type benchStore struct {
	client.Client
	stored  *v1alpha1.SecurityGroupPolicy
	version int
	writes  int
}

// Get copies what is stored, as the manager's cache does.
func (s *benchStore) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if key != client.ObjectKeyFromObject(s.stored) {
		return apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "securitygrouppolicies"}, key.Name)
	}
	*o.(*v1alpha1.SecurityGroupPolicy) = *s.stored.DeepCopy()
	return nil
}

// Patch keeps the object as it is.
func (s *benchStore) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.PatchOption) error {
	if _, err := patch.Data(o); err != nil {
		return err
	}
	s.writes++
	s.version++
	o.SetResourceVersion(strconv.Itoa(s.version))
	// Not copied: a pass that has ended does not touch its object any more.
	s.stored = o.(*v1alpha1.SecurityGroupPolicy)
	return nil
}

// Status writes the status as Patch does.
func (s *benchStore) Status() client.SubResourceWriter { return benchStatus{store: s} }

type benchStatus struct {
	client.SubResourceWriter
	store *benchStore
}

// Patch writes the status, and answers with metadata.
func (s benchStatus) Patch(ctx context.Context, o client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	written := *s.store.stored
	written.Status = *patch.(statusPatch).to
	err := s.store.Patch(ctx, &written, patch)
	o.SetResourceVersion(written.ResourceVersion)
	return err
}

// bench is a reconciler over one resource and its group.
type bench struct {
	b       *testing.B
	store   *benchStore
	ecs     *benchECS
	cloud   Cloud
	passes  reconcile.Reconciler
	request ctrl.Request
}

// newBench has the resource in sync, and recorded as that.
func newBench(b *testing.B) *bench {
	p := &v1alpha1.SecurityGroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "web-tier", Namespace: "team-a", UID: "6f9d1c1e-3f0c-4a53-9a56-0c9f3f6d2b11", Generation: 1,
			ResourceVersion: "1", CreationTimestamp: metav1.Now(), Labels: map[string]string{"app.kubernetes.io/part-of": "shop"}},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: region, SecurityGroupID: "sg-1", InnerAccessPolicy: ecs.Drop,
			ManagementPolicy: v1alpha1.ManagementEnforce, DeletionPolicy: v1alpha1.DeletionRetain},
	}
	t := &bench{b: b, store: &benchStore{stored: p, version: 1}, ecs: &benchECS{}, request: ctrl.Request{NamespacedName: client.ObjectKeyFromObject(p)}}
	server := httptest.NewServer(t.ecs)
	b.Cleanup(server.Close)
	endpoint, err := ecs.ParseEndpoint(server.URL, false)
	if err != nil {
		b.Fatal(err)
	}
	t.cloud = ecs.New(ecs.Options{Credentials: testCredential{}, Endpoint: endpoint, Timeout: time.Minute, QPS: 1e9, Burst: 1e9})
	r := &SecurityGroupPolicyReconciler{
		Client: t.store, APIReader: t.store, Recorder: noEvents{}, Clock: clock.RealClock{}, ResyncInterval: 10 * time.Minute,
		Clouds: func(context.Context, *v1alpha1.SecurityGroupPolicy) (Cloud, error) { return t.cloud, nil },
	}
	r.memory.reset()
	r.claims.reset()
	r.claims.note(p)
	t.passes = reconcile.AsReconciler(client.Client(t.store), r)
	t.pass()
	t.pass()
	if !apimeta.IsStatusConditionTrue(t.store.stored.Status.Conditions, v1alpha1.ConditionReady) || t.ecs.moved.Load() != 1 {
		b.Fatalf("%d changes, and then %+v", t.ecs.moved.Load(), t.store.stored.Status)
	}
	return t
}

func (t *bench) pass() {
	if result, err := t.passes.Reconcile(t.b.Context(), t.request); err != nil || result.RequeueAfter == 0 {
		t.b.Fatalf("%+v, %v", result, err)
	}
}

// run measures what pass does, and checks how many reads, changes and writes of
// the resource each pass has made.
func (t *bench) run(reads, changes, writes int, pass func()) {
	observed, moved, written := t.ecs.observed.Load(), t.ecs.moved.Load(), t.store.writes
	n := 0
	t.b.ReportAllocs()
	for t.b.Loop() {
		pass()
		n++
	}
	got := [3]int{int(t.ecs.observed.Load() - observed), int(t.ecs.moved.Load() - moved), t.store.writes - written}
	if want := [3]int{n * reads, n * changes, n * writes}; got != want {
		t.b.Fatalf("reads, changes, writes of %d passes: %v, want %v", n, got, want)
	}
}

// BenchmarkReconcileInSync is a resync that finds nothing to do.
func BenchmarkReconcileInSync(b *testing.B) {
	t := newBench(b)
	t.run(1, 0, 0, t.pass)
}

// BenchmarkReconcileChange is a pass over an edited resource: read, write-ahead,
// change, read-back, record.
func BenchmarkReconcileChange(b *testing.B) {
	t := newBench(b)
	other := map[string]string{ecs.Accept: ecs.Drop, ecs.Drop: ecs.Accept}
	t.run(2, 1, 2, func() {
		p := t.store.stored
		p.Spec.InnerAccessPolicy = other[p.Spec.InnerAccessPolicy]
		p.Generation++
		t.pass()
	})
}

// BenchmarkReconcileHeld is a pass that gets no turn from the rate limit.
func BenchmarkReconcileHeld(b *testing.B) {
	t := newBench(b)
	t.cloud = heldCloud{}
	t.run(0, 0, 0, t.pass)
}

type heldCloud struct{ Cloud }

// Observe has no turn to give.
func (heldCloud) Observe(context.Context, ecs.Group, ratelimit.Priority) (string, error) {
	return "", &ecs.Error{Action: ecs.ActionObserve, Class: ecs.Held, RetryAfter: time.Second, Message: "held back to stay below the rate limit"}
}

// BenchmarkAnotherShardsResource adds resources of other shards, as a watch brings
// them, to what a manager keeps of them, and reports the bytes that each holds on to.
func BenchmarkAnotherShardsResource(b *testing.B) {
	r := &SecurityGroupPolicyReconciler{}
	r.claims.reset()
	store := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{
		toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc,
	})
	held := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, added := held(), 0
	b.ReportAllocs()
	for b.Loop() {
		added++
		n := strconv.Itoa(added)
		p := &policy{}
		if err := json.Unmarshal([]byte(`{"metadata":{"namespace":"bench","name":"r-`+n+`","uid":"0b1f6f0c-7a54-4d4b-9d2e-`+n+`","resourceVersion":"`+n+`",
			"creationTimestamp":"2026-11-24T10:00:00Z","labels":{"ecs.alibabacloud.com/shard":"b"}},
			"spec":{"regionId":"cn-hangzhou","securityGroupId":"sg-bench`+n+`","innerAccessPolicy":"Drop"},
			"status":{"observedGeneration":1,"innerAccessPolicy":"Drop","conditions":[{"type":"Ready","status":"True","reason":"InSync","message":"as declared"}]}}`), p); err != nil {
			b.Fatal(err)
		}
		stripped, err := OnlyClaim(p)
		if err == nil {
			err = store.Add(stripped)
		}
		if err != nil {
			b.Fatal(err)
		}
		r.claims.note(stripped.(*policy))
	}
	b.ReportMetric(float64(held()-before)/float64(added), "B-held/op")
	runtime.KeepAlive(store)
	runtime.KeepAlive(r)
}
