package securitygrouppolicy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
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
		return []byte(`{"RequestId":"473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E","RegionId":"` + exploredRegion + `","SecurityGroupId":"sg-1",` +
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

// benchStore is cache and API server for one resource and its claim. It computes a
// patch, as the real client does, since that is the operator's cost, and takes the
// object that it was computed from for the result. What it does not implement panics.
type benchStore struct {
	client.Client

	stored  *sgp
	claim   *claim
	version int
	// writes are those of the resource.
	writes int
}

// Get copies what is stored, as the manager's cache does.
func (s *benchStore) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *sgp:
		if key == client.ObjectKeyFromObject(s.stored) {
			*o = *s.stored.DeepCopy()
			return nil
		}
	case *claim:
		if s.claim != nil && key.Name == s.claim.Name {
			*o = *s.claim.DeepCopy()
			return nil
		}
	}
	return notFound(key.Name)
}

// Create takes a claim.
func (s *benchStore) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	s.claim = o.(*claim).DeepCopy()
	s.claim.UID, s.claim.ResourceVersion = "4b7e1c7e-6f6b-4f0e-8d56-5d2a0f1f8a10", "1"
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
	s.stored = o.(*sgp)
	return nil
}

// Status writes the status, as a whole.
func (s *benchStore) Status() client.SubResourceWriter { return benchStatus{store: s} }

type benchStatus struct {
	client.SubResourceWriter

	store *benchStore
}

func (s benchStatus) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	if _, err := json.Marshal(o); err != nil {
		return err
	}
	s.store.writes++
	s.store.stored = o.(*sgp).DeepCopy()
	return nil
}

type benchCredential struct{}

func (benchCredential) Credential(context.Context, string) (ecs.Credential, error) {
	return ecs.Credential{AccessKeyID: "LTAIbenchkeyid00000001", AccessKeySecret: "benchsecret0123456789abcdefghi"}, nil
}

func (benchCredential) Unused(string) {}

func (benchCredential) Judge(string, ecs.Credential, *ecs.Error) {}

// bench is a reconciler over one resource and its group.
type bench struct {
	b       *testing.B
	store   *benchStore
	ecs     *benchECS
	cloud   Cloud
	passes  reconcile.Reconciler
	request ctrl.Request
}

// newBench has the resource in sync, and the holder of its group.
func newBench(b *testing.B) *bench {
	b.Helper()
	ctrl.SetLogger(logr.Discard())
	p := &sgp{
		ObjectMeta: metav1.ObjectMeta{Name: "web-tier", Namespace: "team-a", UID: "6f9d1c1e-3f0c-4a53-9a56-0c9f3f6d2b11", Generation: 1,
			ResourceVersion: "1", CreationTimestamp: metav1.Now()},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: exploredRegion, SecurityGroupID: exploredGroup, InnerAccessPolicy: ecs.Drop,
			ManagementPolicy: v1alpha1.ManagementEnforce, DeletionPolicy: v1alpha1.DeletionRetain},
	}
	t := &bench{b: b, store: &benchStore{stored: p, version: 1}, ecs: &benchECS{}, request: ctrl.Request{NamespacedName: client.ObjectKeyFromObject(p)}}
	server := httptest.NewServer(t.ecs)
	b.Cleanup(server.Close)
	endpoint, err := ecs.ParseEndpoint(server.URL, false)
	if err != nil {
		b.Fatal(err)
	}
	t.cloud = ecs.New(ecs.Options{Credentials: benchCredential{}, Endpoint: endpoint, Timeout: time.Minute, QPS: 1e9, Burst: 1e9})
	r := benchReconciler(clock.RealClock{})
	r.Client, r.APIReader = t.store, t.store
	r.Clouds = func(context.Context, *sgp) (Cloud, string, error) { return t.cloud, v1alpha1.OwnAccount, nil }
	r.arrive(p)
	t.passes = reconcile.AsReconciler(client.Client(t.store), r)
	t.pass()
	t.pass()
	if !apimeta.IsStatusConditionTrue(t.store.stored.Status.Conditions, v1alpha1.ConditionReady) || t.ecs.moved.Load() != 1 || !claims.HeldBy(t.store.claim, p) {
		b.Fatalf("%d changes, the claim %+v, and then %+v", t.ecs.moved.Load(), t.store.claim, t.store.stored.Status)
	}
	return t
}

func benchReconciler(c clock.PassiveClock) *Reconciler {
	return &Reconciler{Lines: &claims.Lines{}, Recorder: silent{}, Clock: c, ResyncInterval: resync, MaxConcurrentReconciles: 1,
		Jitter: func(d time.Duration) time.Duration { return d / 2 }, NewClientToken: ecs.NewClientToken,
		Guard: &port{}, Approvals: nothingDemanded}
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
// change, read-back, record. The claim is confirmed by the API server meanwhile.
func BenchmarkReconcileChange(b *testing.B) {
	t := newBench(b)
	t.run(2, 1, 2, func() {
		p := t.store.stored
		p.Spec.InnerAccessPolicy = other(p.Spec.InnerAccessPolicy)
		p.Generation++
		t.pass()
	})
}

// BenchmarkReconcileWaiting is a pass that has to wait for the rate.
func BenchmarkReconcileWaiting(b *testing.B) {
	t := newBench(b)
	t.cloud = waitingCloud{}
	t.run(0, 0, 0, t.pass)
}

type waitingCloud struct{ Cloud }

// Observe has no token to give.
func (waitingCloud) Observe(context.Context, ecs.Group, ratelimit.Priority) (ecs.Observation, time.Duration, error) {
	return ecs.Observation{}, time.Second, nil
}

// measureKept adds objects as a watch brings them, and reports the bytes that the
// manager keeps of each.
func measureKept(b *testing.B, r *Reconciler, object func(n string) client.Object, document string) {
	b.Helper()
	store := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{
		toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc,
	})
	before, added := held(), 0
	b.ReportAllocs()
	for b.Loop() {
		added++
		n := strconv.Itoa(added)
		o := object(n)
		if err := json.Unmarshal([]byte(strings.ReplaceAll(document, "{n}", n)), o); err != nil {
			b.Fatal(err)
		}
		compact, err := Compact(o)
		if err == nil {
			err = store.Add(compact)
		}
		if err != nil {
			b.Fatal(err)
		}
		if p, ok := compact.(*sgp); ok {
			r.arrive(p)
			r.Lines.Leave(p.UID) // it holds its group
		}
	}
	b.ReportMetric(float64(held()-before)/float64(added), "B-held/op")
	runtime.KeepAlive(store)
	runtime.KeepAlive(r)
}

// BenchmarkCachedResource is a resource that holds its group and was changed once.
func BenchmarkCachedResource(b *testing.B) {
	measureKept(b, benchReconciler(clock.RealClock{}), func(string) client.Object { return &sgp{} }, `{"metadata":{"namespace":"bench","name":"r-{n}",
		"uid":"0b1f6f0c-7a54-4d4b-9d2e-{n}","resourceVersion":"{n}","generation":1,"creationTimestamp":"2026-11-24T10:00:00Z",
		"labels":{"app.kubernetes.io/part-of":"shop"},"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"},
		"managedFields":[{"manager":"kubectl","operation":"Apply","fieldsV1":{"f:spec":{"f:regionId":{}}}}]},
		"spec":{"regionId":"cn-hangzhou","securityGroupId":"sg-bench{n}","innerAccessPolicy":"Drop","managementPolicy":"Enforce","deletionPolicy":"Retain"},
		"status":{"observedGeneration":1,"innerAccessPolicy":"Drop","originalInnerAccessPolicy":"Accept",
		"lastModification":{"requestId":"473469C7-AA6F-4DC5-B3DB-{n}","from":"Accept","to":"Drop","cause":"Spec","time":"2026-11-24T10:00:01Z","account":"prod"},
		"conditions":[{"type":"Ready","status":"True","reason":"InSync","message":"The security group's inner access policy is Drop, as declared",
		"observedGeneration":1,"lastTransitionTime":"2026-11-24T10:00:02Z"}]}}`)
}

// BenchmarkCachedClaim is a claim.
func BenchmarkCachedClaim(b *testing.B) {
	measureKept(b, benchReconciler(clock.RealClock{}), func(string) client.Object { return &claim{} }, `{"metadata":{"name":"cn-hangzhou.sg-bench{n}",
		"uid":"1c2f6f0c-7a54-4d4b-9d2e-{n}","resourceVersion":"{n}","generation":1,"creationTimestamp":"2026-11-24T10:00:00Z",
		"managedFields":[{"manager":"manager","operation":"Update","fieldsV1":{"f:spec":{"f:regionId":{}}}}]},
		"spec":{"regionId":"cn-hangzhou","securityGroupId":"sg-bench{n}","account":"prod","since":"2026-11-24T10:00:00Z",
		"holder":{"namespace":"bench","name":"r-{n}","uid":"0b1f6f0c-7a54-4d4b-9d2e-{n}"}}}`)
}

// wokenQueue keeps who was woken.
type wokenQueue struct {
	queue

	woken []types.NamespacedName
}

func (q *wokenQueue) Add(r reconcile.Request) { q.woken = append(q.woken, r.NamespacedName) }

// candidates has n resources wait for the group of a claim, the oldest first, and gives
// the claim.
func candidates(r *Reconciler, n int) *claim {
	for i := range n {
		r.arrive(&sgp{
			ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: fmt.Sprint("r-", i), UID: types.UID(fmt.Sprintf("%05d", i)),
				CreationTimestamp: metav1.NewTime(epoch.Add(time.Duration(i) * time.Second))},
			Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: exploredRegion, SecurityGroupID: exploredGroup},
		})
	}
	return &claim{Spec: v1alpha1.SecurityGroupClaimSpec{RegionID: exploredRegion, SecurityGroupID: exploredGroup,
		Holder: v1alpha1.ClaimHolder{Namespace: "bench", Name: "gone", UID: "gone"}}}
}

// BenchmarkClaimEvent is the end of a claim, for a group with so many candidates: the
// one before was passed over.
func BenchmarkClaimEvent(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n, "-candidates"), func(b *testing.B) {
			fake := testclock.NewFakePassiveClock(epoch)
			r := benchReconciler(fake)
			ended := event.DeleteEvent{Object: candidates(r, n)}
			q, events := &wokenQueue{}, r.ofClaim()
			b.ReportAllocs()
			for b.Loop() {
				fake.SetTime(fake.Now().Add(claims.Turn))
				events.Delete(b.Context(), ended, q)
				if len(q.woken) != 1 {
					b.Fatalf("%d were woken", len(q.woken))
				}
				q.woken = q.woken[:0]
			}
		})
	}
}
