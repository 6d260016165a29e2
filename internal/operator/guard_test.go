package operator_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	contract "github.com/sgp-operator/sgp-operator/internal/policy"
)

// node has the cluster run in the test's region: a node on an instance, whose group is
// sg-nodes.
func (w *world) node(id string) {
	w.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-" + id}, Spec: corev1.NodeSpec{ProviderID: w.region + "." + id}}
	if err := api.Create(w.t.Context(), n); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(w.t.Context()), n) })
}

// newClusterWorld is a cluster with one node, i-NUMBER, in the test's region and account,
// and the groups sg-nodes, which the node is in, and sg-1, in the same VPC.
func newClusterWorld(t *testing.T) (w *world, instance string) {
	t.Helper()
	w = newWorld(t, ecssim.Group{ID: "sg-nodes", Policy: "Accept", VpcID: "vpc-1"}, ecssim.Group{ID: "sg-1", Policy: "Accept", VpcID: "vpc-1"})
	instance = "i-" + strconv.FormatInt(serial.Add(1), 10)
	w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: instance, VpcID: "vpc-1", Groups: []string{"sg-nodes"}, Addresses: []string{"172.16.0.7"}})
	w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: "i-web", VpcID: "vpc-1", Groups: []string{"sg-1"}})
	w.node(instance)
	return w, instance
}

// approve approves a change of the present spec.
func (w *world) approve(name string) {
	w.t.Helper()
	w.annotate(name, v1alpha1.AnnotationApprove, strconv.FormatInt(w.get(name).Generation, 10))
}

func (w *world) annotate(name, annotation, value string) {
	w.t.Helper()
	w.edit(name, func(p *policy) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, annotation, value) })
}

func readyMessage(p *policy) string {
	return apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Message
}

// memberReads counts the reads that a guard makes.
func (w *world) memberReads() (n int) {
	for _, action := range []string{ecs.ActionInterfaces, ecs.ActionInstances, ecs.ActionList} {
		n += w.sim.CallCount(action)
	}
	return n
}

func TestADropThatCutsTheClusterIsHeldUntilItIsApproved(t *testing.T) {
	t.Parallel()
	w, instance := newClusterWorld(t)
	w.sim.PutInterface(ecssim.Interface{Region: w.region, ID: "eni-api", Name: "k8s-eni-c1", VpcID: "vpc-1", Groups: []string{"sg-nodes"}, Addresses: []string{"172.16.0.9"}})
	clock := testclock.NewFakePassiveClock(time.Now())
	w.clock = clock
	w.policy("p", "sg-nodes", "Drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonApprovalRequired)
	message := readyMessage(p)
	for _, part := range []string{"1 node of this cluster is in it (" + instance + ")", "1 interface of an API server is in it (eni-api)", v1alpha1.AnnotationApprove, `"1"`} {
		if !strings.Contains(message, part) {
			t.Errorf("the message does not say %q: %s", part, message)
		}
	}
	if !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled) || p.Status.Members == nil || p.Status.Members.Interfaces != 2 || p.Status.Members.Instances != 1 {
		t.Errorf("stalled: %v, members %+v", p.Status.Conditions, p.Status.Members)
	}
	w.awaitEvent("p", v1alpha1.ReasonApprovalRequired)
	w.cloudIs("sg-nodes", "Accept", 0)

	w.approve("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-nodes", "Drop", 1)

	clock.SetTime(clock.Now().Add(contract.Lag))
	// Corrections of drift are part of what was approved.
	w.sim.SetPolicy(w.region, "sg-nodes", "Accept")
	w.reconcileNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.cloudIs("sg-nodes", "Drop", 2)

	// Another spec is another change.
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Drop" })
	w.awaitReason("p", v1alpha1.ReasonApprovalRequired)
	w.cloudIs("sg-nodes", "Accept", 3)
}

func TestADropOfAnotherGroupTakesTwoReadsAndGoesThrough(t *testing.T) {
	t.Parallel()
	w, _ := newClusterWorld(t)
	w.sim.PutGroup(ecssim.Group{Region: w.region, ID: "sg-2", Policy: "Accept", VpcID: "vpc-1"})
	w.policy("p", "sg-1", "Drop")
	w.start()
	p := w.awaitReason("p", v1alpha1.ReasonInSync)
	if m := p.Status.Members; m == nil || m.Interfaces != 1 || m.Instances != 1 {
		t.Errorf("members %+v", m)
	}
	// Once in an hour it is asked whether the nodes are the account's, and what is tagged.
	if n := w.memberReads(); n != 4 {
		t.Errorf("%d reads for the first change", n)
	}
	w.policy("q", "sg-2", "Drop")
	w.awaitReason("q", v1alpha1.ReasonInSync)
	if n := w.memberReads(); n != 6 {
		t.Errorf("%d reads after the second change", n)
	}
	w.reconcileNow("p")
	w.edit("p", func(p *policy) { p.Spec.InnerAccessPolicy = "Accept" })
	w.awaitReason("p", v1alpha1.ReasonInSync)
	if n := w.memberReads(); n != 6 {
		t.Errorf("%d reads: at rest and for Accept there are none", n)
	}
}

func TestACommitSharesASnapshotOfTheVPC(t *testing.T) {
	t.Parallel()
	w, instance := newClusterWorld(t)
	const groups = 20
	for i := range groups {
		id := fmt.Sprint("sg-many-", i)
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id, Policy: "Accept", VpcID: "vpc-1"})
		w.policy(id, id, "Drop")
	}
	w.policy("nodes", "sg-nodes", "Drop")
	w.start()
	for i := range groups {
		w.awaitReason(fmt.Sprint("sg-many-", i), v1alpha1.ReasonInSync)
	}
	p := w.awaitReason("nodes", v1alpha1.ReasonApprovalRequired)
	if !strings.Contains(readyMessage(p), instance) {
		t.Errorf("the node is not named: %s", readyMessage(p))
	}
	if n := w.memberReads(); n > 10 {
		t.Errorf("%d reads for %d groups", n, groups)
	}
}

func TestWhereTheNodesAreElsewhereNothingIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept", VpcID: "vpc-1"})
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	if n := w.memberReads(); n != 0 {
		t.Errorf("%d reads", n)
	}
}

func TestTheGuardIsIdleForAnAccountThatHasNoneOfTheNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept", VpcID: "vpc-1"}, ecssim.Group{ID: "sg-2", Policy: "Accept", VpcID: "vpc-1"})
	w.node("i-" + strconv.FormatInt(serial.Add(1), 10))
	w.policy("p", "sg-1", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.policy("q", "sg-2", "Drop")
	w.awaitReason("q", v1alpha1.ReasonInSync)
	if asked, all := w.sim.CallCount(ecs.ActionInstances), w.memberReads(); asked != 1 || all != 1 {
		t.Errorf("%d reads, %d of instances: once in an hour it is asked whose the nodes are", all, asked)
	}
}

func TestWhatMayNotBeReadHoldsADropAndNamesThePermission(t *testing.T) {
	t.Parallel()
	for _, action := range []string{ecs.ActionInstances, ecs.ActionInterfaces, ecs.ActionList} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			w, _ := newClusterWorld(t)
			w.sim.PutKey(ecssim.Key{ID: testKey, Secret: testSecret, Deny: []string{action}})
			w.policy("p", "sg-1", "Drop")
			w.start()
			p := w.awaitReason("p", v1alpha1.ReasonApprovalRequired)
			if !strings.Contains(readyMessage(p), "may not call ecs:"+action) {
				t.Errorf("the permission is not named: %s", readyMessage(p))
			}
			w.sim.PutKey(ecssim.Key{ID: testKey, Secret: testSecret})
			w.reconcileNow("p")
			w.awaitReason("p", v1alpha1.ReasonInSync)
		})
	}
}

func TestAGuardThatGetsNoAnswerChangesNothing(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]ecssim.Fault{
		"of the interfaces":                           {Kind: ecssim.Error, Action: ecs.ActionInterfaces, Status: 500},
		"of the instances, from something in between": {Kind: ecssim.HTML, Action: ecs.ActionInstances, Status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newClusterWorld(t)
			w.sim.Inject(f)
			w.policy("p", "sg-nodes", "Drop")
			w.start()
			p := w.awaitReason("p", v1alpha1.ReasonCloudUnavailable)
			if e := p.Status.LastError; e == nil || e.Action != f.Action || apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled) {
				t.Errorf("%+v", p.Status)
			}
			w.cloudIs("sg-nodes", "Accept", 0)
			w.sim.ClearFaults()
			w.awaitReason("p", v1alpha1.ReasonApprovalRequired)
		})
	}
}

// TestTheMarksOfAClusterHoldADrop has groups that no node is in.
func TestTheMarksOfAClusterHoldADrop(t *testing.T) {
	t.Parallel()
	w, _ := newClusterWorld(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "eni-config", Namespace: "kube-system"},
		Data: map[string]string{"eni_conf": `{"version":"1","security_groups":["` + w.namespace + `-pods"]}`}}
	if err := api.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(t.Context()), config) })
	for id, c := range map[string]struct {
		group ecssim.Group
		want  string
	}{
		w.namespace + "-pods": {ecssim.Group{}, "it is a group of this cluster's pods, as the ConfigMap kube-system/eni-config says"},
		"sg-named":            {ecssim.Group{Name: "alicloud-cs-auto-created-security-group-c123"}, "a group which ACK made"},
		"sg-described":        {ecssim.Group{Description: "security group of ACS Cluster c123"}, "a group which ACK made"},
		"sg-tagged":           {ecssim.Group{Tags: map[string]string{"ack.aliyun.com": "c123"}}, "it bears the tag ack.aliyun.com"},
	} {
		c.group.Region, c.group.ID, c.group.VpcID = w.region, id, "vpc-1"
		w.sim.PutGroup(c.group)
		w.policy(id, id, "Drop")
		defer func() {
			if p := w.awaitReason(id, v1alpha1.ReasonApprovalRequired); !strings.Contains(readyMessage(p), c.want) {
				t.Errorf("%s: %s", id, readyMessage(p))
			}
		}()
	}
	// Another cluster's node, which tells by its tag.
	w.sim.PutGroup(ecssim.Group{Region: w.region, ID: "sg-others", VpcID: "vpc-1"})
	w.sim.PutInterface(ecssim.Interface{Region: w.region, ID: "eni-others", VpcID: "vpc-1", Groups: []string{"sg-others"}, Tags: map[string]string{"ack.aliyun.com": "c9"}})
	w.policy("others", "sg-others", "Drop")
	w.start()
	if p := w.awaitReason("others", v1alpha1.ReasonApprovalRequired); !strings.Contains(readyMessage(p), "eni-others") {
		t.Errorf("%s", readyMessage(p))
	}
}

// TestACommitFindsAnotherClusterByItsInstances is of a cluster whose nodes alone tell of it:
// the primary interfaces bear no tag.
func TestACommitFindsAnotherClusterByItsInstances(t *testing.T) {
	t.Parallel()
	w, _ := newClusterWorld(t)
	w.options.MaxConcurrentReconciles = 1
	for i := range 5 {
		id := fmt.Sprint("sg-others-", i)
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: id, Policy: "Accept", VpcID: "vpc-1"})
		w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: "i-others-" + strconv.Itoa(i), VpcID: "vpc-1", Groups: []string{id}, Tags: map[string]string{"ack.aliyun.com": "c9"}})
		w.policy(id, id, "Drop")
	}
	w.start()
	for i := range 5 {
		if p := w.awaitReason(fmt.Sprint("sg-others-", i), v1alpha1.ReasonApprovalRequired); !strings.Contains(readyMessage(p), "i-others-"+strconv.Itoa(i)) {
			t.Errorf("%s", readyMessage(p))
		}
	}
}

// TestADropOfAnotherAccountsGroupIsHeld has the node in the account that owns the group, and
// the resource use another one, which does not see it.
func TestADropOfAnotherAccountsGroupIsHeld(t *testing.T) {
	t.Parallel()
	w, instance := newClusterWorld(t)
	w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: instance, VpcID: "vpc-1", Groups: []string{"sg-nodes"}, Account: "1999"})
	w.policy("p", "sg-nodes", "Drop", func(p *policy) { p.Spec.OwnerAccount = "owner@example.com" })
	w.start()
	if p := w.awaitReason("p", v1alpha1.ReasonApprovalRequired); !strings.Contains(readyMessage(p), "spec.ownerAccount") {
		t.Errorf("%s", readyMessage(p))
	}
	w.approve("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
}

func TestARestoreToDropIsHeldAsWell(t *testing.T) {
	t.Parallel()
	w, _ := newClusterWorld(t)
	w.sim.SetPolicy(w.region, "sg-nodes", "Drop")
	w.policy("p", "sg-nodes", "Accept", restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.deletePolicy("p")
	w.awaitReason("p", v1alpha1.ReasonApprovalRequired)
	w.cloudIs("sg-nodes", "Accept", 1)
	w.approve("p")
	w.awaitGone("p")
	w.cloudIs("sg-nodes", "Drop", 2)
}

func TestAnApprovalTakenBackStopsWhatWasNotSent(t *testing.T) {
	t.Parallel()
	w, _ := newClusterWorld(t)
	w.policy("p", "sg-nodes", "Drop", func(p *policy) { p.Spec.Suspend = true })
	w.approve("p")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonSuspended)
	w.edit("p", func(p *policy) {
		delete(p.Annotations, v1alpha1.AnnotationApprove)
		p.Spec.Suspend = false
	})
	w.awaitReason("p", v1alpha1.ReasonApprovalRequired)
	w.cloudIs("sg-nodes", "Accept", 0)
}

// tenant may edit SecurityGroupPolicies of the test's namespace, and what else is said.
func (w *world) tenant(name string, verbs ...string) client.Client {
	w.t.Helper()
	name = w.namespace + "-" + name
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"securitygrouppolicies"},
		Verbs: append(verbs, "get", "list", "watch", "create", "update", "patch", "delete"),
	}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: role.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}}}
	config := rest.CopyConfig(admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: name}
	c, err := client.New(config, client.Options{Scheme: api.Scheme()})
	if err := errors.Join(err, api.Create(w.t.Context(), role), api.Create(w.t.Context(), binding)); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestOnlyWhoMayApproveApproves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("p", "sg-1", "Drop")
	approve := func(c client.Client, value string) error {
		p := w.get("p")
		before := p.DeepCopy()
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationApprove, value)
		return c.Patch(t.Context(), p, client.MergeFrom(before))
	}
	tenant, approver := w.tenant("tenant"), w.tenant("approver", "approve")
	w.eventually("the roles are in force", func() bool { return approve(approver, "1") == nil }, func() string { return fmt.Sprint(approve(approver, "1")) })
	if err := approve(tenant, "2"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "verb approve") {
		t.Errorf("a tenant approves: %v", err)
	}
	if err := approve(approver, "2"); err == nil || !strings.Contains(err.Error(), "must be the generation of the resource as it is now: 1") {
		t.Errorf("an approval in advance: %v", err)
	}
	// To take it back needs no permission, nor does an edit that leaves it alone.
	p := w.get("p")
	before := p.DeepCopy()
	p.Spec.InnerAccessPolicy = "Accept"
	if err := tenant.Patch(t.Context(), p, client.MergeFrom(before)); err != nil {
		t.Errorf("an edit beside an approval: %v", err)
	}
	if err := approve(tenant, "2"); !apierrors.IsForbidden(err) {
		t.Errorf("a tenant approves its own edit: %v", err)
	}
	p = w.get("p")
	before = p.DeepCopy()
	delete(p.Annotations, v1alpha1.AnnotationApprove)
	if err := tenant.Patch(t.Context(), p, client.MergeFrom(before)); err != nil {
		t.Errorf("an approval is taken back: %v", err)
	}
	created := &policy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "q", Annotations: map[string]string{v1alpha1.AnnotationApprove: "1"}}, Spec: p.Spec}
	if err := tenant.Create(t.Context(), created); !apierrors.IsForbidden(err) {
		t.Errorf("a tenant creates what is approved already: %v", err)
	}
	if err := approver.Create(t.Context(), created); err != nil {
		t.Errorf("who may approve creates what is approved already: %v", err)
	}
	// A backup brings the annotation of a generation that the new resource has not.
	restored := &policy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "r", Annotations: map[string]string{v1alpha1.AnnotationApprove: "7"}}, Spec: p.Spec}
	if err := approver.Create(t.Context(), restored); err != nil {
		t.Errorf("a resource is brought back: %v", err)
	}
}

// TestAnEditThatAnOldAnnotationWouldApproveIsAnApproval is of an annotation from before the
// API server asked who gives it. It is not parallel: the others need the binding.
func TestAnEditThatAnOldAnnotationWouldApproveIsAnApproval(t *testing.T) {
	w := newWorld(t)
	tenant, approver := w.tenant("early"), w.tenant("approver", "approve")
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ApprovalPolicyName}}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
		t.Fatal(err)
	}
	restored := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: binding.Name, Labels: binding.Labels}, Spec: binding.Spec}
	if err := api.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	put := sync.OnceValue(func() error { return api.Create(context.Background(), restored) })
	defer func() { _ = put() }()
	inAdvance := func(name string) error {
		return tenant.Create(t.Context(), &policy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Annotations: map[string]string{v1alpha1.AnnotationApprove: "2"}},
			Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: w.region, SecurityGroupID: "sg-1", InnerAccessPolicy: "Accept"}})
	}
	w.eventually("anybody may set the annotation", func() bool { return inAdvance("p") == nil }, func() string { return fmt.Sprint(inAdvance("p")) })
	if err := put(); err != nil {
		t.Fatal(err)
	}
	w.eventually("nobody may any more", func() bool { return apierrors.IsForbidden(inAdvance(fmt.Sprint("q", serial.Add(1)))) }, func() string { return "" })
	edit := func(c client.Client, change func(*policy)) error {
		p := w.get("p")
		before := p.DeepCopy()
		change(p)
		return c.Patch(t.Context(), p, client.MergeFrom(before))
	}
	if err := edit(tenant, func(p *policy) { p.Labels = map[string]string{"some": "label"} }); err != nil {
		t.Errorf("what approves nothing: %v", err)
	}
	if err := edit(tenant, func(p *policy) { p.Spec.InnerAccessPolicy = "Drop" }); !apierrors.IsForbidden(err) {
		t.Errorf("a tenant makes the edit that its own annotation approves: %v", err)
	}
	if err := edit(approver, func(p *policy) { p.Spec.InnerAccessPolicy = "Drop" }); err != nil {
		t.Errorf("who may approve makes it: %v", err)
	}
}

func TestAnAccountDemandsApprovals(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t, ecssim.Group{ID: "sg-2", Policy: "Drop", Account: prodAccount})
	w.secret("keys", prodKey, prodSecret)
	w.account(w.name("prod"), "keys", func(a *ecsAccount) { a.Spec.ChangeApproval = []string{"Accept"} })
	w.policy("opens", "sg-2", "Accept", using(w.name("prod")))
	w.policy("isolates", "sg-prod", "Drop", using(w.name("prod")))
	w.start()
	w.awaitReason("isolates", v1alpha1.ReasonInSync)
	p := w.awaitReason("opens", v1alpha1.ReasonApprovalRequired)
	if !strings.Contains(readyMessage(p), "demands an approval of each change to Accept") {
		t.Errorf("%s", readyMessage(p))
	}
	w.approve("opens")
	w.awaitReason("opens", v1alpha1.ReasonInSync)
	w.cloudIs("sg-2", "Accept", 1)
}
