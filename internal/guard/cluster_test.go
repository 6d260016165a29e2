package guard

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(s), v1alpha1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"PodNetworking", "Node"} {
		gvk := schema.GroupVersionKind{Group: "network.alibabacloud.com", Version: "v1beta1", Kind: kind}
		s.AddKnownTypeWithName(gvk, &unstructured.Unstructured{})
		gvk.Kind += "List"
		s.AddKnownTypeWithName(gvk, &unstructured.UnstructuredList{})
	}
	return s
}

func node(name, providerID string, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{ProviderID: providerID}}
}

func terway(kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "network.alibabacloud.com", Version: "v1beta1", Kind: kind})
	o.SetName(name)
	return o
}

func configMap(name, content string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}, Data: map[string]string{"eni_conf": content}}
}

func TestTheClusterIsFoundInNodesAddressesAndTerway(t *testing.T) {
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(
		node("a", "cn-hangzhou.i-bp1a", nil), node("b", "alicloud://cn-hangzhou.i-bp1b", map[string]string{"terway-config": "eni-special"}),
		node("hybrid", "ack-hybrid://cn-hangzhou.i-no", nil), node("kind", "kind://docker/x/y", nil), node("none", "", nil),
		node("virtual", "", map[string]string{"type": "virtual-kubelet", corev1.LabelTopologyRegion: "cn-beijing"}),
		&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"172.16.0.9", "fd00::9"}}}},
		configMap("eni-config", `{"security_group":"sg-one","security_groups":["sg-two","sg-three"]}`), configMap("eni-special", `{security_group: sg-loose}`),
		terway("PodNetworking", "pods", map[string]any{"securityGroupIDs": []any{"sg-pods"}}),
		terway("Node", "a", map[string]any{"eniSpec": map[string]any{"securityGroupIDs": []any{"sg-node"}}}),
	).Build()
	got, err := readCluster(t.Context(), api, &absence{time.Now, map[string]time.Time{}})
	if err != nil {
		t.Fatal(err)
	}
	want := &cluster{
		instances: map[string][]string{"cn-hangzhou": {"i-bp1a", "i-bp1b"}, "cn-beijing": nil},
		addresses: map[netip.Addr]bool{netip.MustParseAddr("172.16.0.9"): true, netip.MustParseAddr("fd00::9"): true},
		groups: map[string]string{"sg-one": "the ConfigMap kube-system/eni-config", "sg-two": "the ConfigMap kube-system/eni-config", "sg-three": "the ConfigMap kube-system/eni-config",
			"sg-loose": "the ConfigMap kube-system/eni-special", "sg-pods": "the PodNetworking pods of Terway", "sg-node": "the Node a of Terway"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(cluster{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestOffAlibabaCloudNothingElseIsRead(t *testing.T) {
	now := time.Now()
	reads := 0
	api := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(node("kind", "kind://docker/x/y", nil)).Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			reads++
			now = now.Add(100 * time.Millisecond) // which is what it takes
			return c.List(ctx, list, o...)
		},
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("not to be read")
		},
	})
	g := &Guard{API: api, Now: func() time.Time { return now }}
	p := &v1alpha1.SecurityGroupPolicy{Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-hangzhou", SecurityGroupID: "sg-1"}}
	for range 4 {
		now = now.Add(400 * time.Millisecond)
		found, wait, err := g.Check(t.Context(), p, ecs.Observation{Policy: ecs.Accept, Name: namePrefix + "c1"})
		if err != nil || wait > 0 || found.Held != "" {
			t.Errorf("%+v, %v, %v", found, wait, err)
		}
	}
	// What took a tenth of a second to read counts for a second.
	if reads != 2 {
		t.Errorf("%d reads for four changes", reads)
	}
}

// To ask for a kind that there is not has the client discover all kinds.
func TestAKindThatTheClusterHasNotIsAskedForOnceInAWhile(t *testing.T) {
	now, asked := time.Now(), 0
	api := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(node("a", "cn-hangzhou.i-bp1a", nil)).Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			if _, ok := list.(*unstructured.UnstructuredList); ok {
				asked++
				return &apimeta.NoKindMatchError{}
			}
			return c.List(ctx, list, o...)
		},
	})
	absent := &absence{func() time.Time { return now }, map[string]time.Time{}}
	for range 3 {
		if _, err := readCluster(t.Context(), api, absent); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(absentFor)
	if _, err := readCluster(t.Context(), api, absent); err != nil || asked != 4 {
		t.Errorf("asked %d times for two kinds, %v", asked, err)
	}
}

// TestWhatOfTheClusterMayNotBeReadHoldsADrop refuses one of what is read at a time.
func TestWhatOfTheClusterMayNotBeReadHoldsADrop(t *testing.T) {
	for what, kind := range map[string]string{
		"list nodes": "*v1.NodeList", "get the EndpointSlice default/kubernetes": "*v1.EndpointSlice", "get the ConfigMap kube-system/eni-config": "*v1.ConfigMap",
		"list podnetworkings.network.alibabacloud.com": "PodNetworkingList", "list nodes.network.alibabacloud.com": "NodeList of Terway",
	} {
		t.Run(what, func(t *testing.T) {
			refused := func(o any) error {
				if typeName(o) == kind {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "y", nil)
				}
				return nil
			}
			api := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(node("a", "cn-hangzhou.i-bp1a", nil)).Build(), interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
					return orElse(refused(list), func() error { return c.List(ctx, list, o...) })
				},
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
					return orElse(refused(o), func() error { return c.Get(ctx, key, o, options...) })
				},
			})
			g := &Guard{API: api, Now: time.Now}
			p := &v1alpha1.SecurityGroupPolicy{Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: "cn-shanghai", SecurityGroupID: "sg-1"}}
			found, _, err := g.Check(t.Context(), p, ecs.Observation{Policy: ecs.Accept})
			if err != nil || !strings.Contains(found.Held, "the manager may not "+what) {
				t.Errorf("%q, %v", found.Held, err)
			}
		})
	}
}

func typeName(o any) string {
	if u, ok := o.(*unstructured.UnstructuredList); ok {
		if kind := u.GetKind(); kind != "NodeList" {
			return kind
		}
		return "NodeList of Terway"
	}
	switch o.(type) {
	case *corev1.NodeList:
		return "*v1.NodeList"
	case *discoveryv1.EndpointSlice:
		return "*v1.EndpointSlice"
	case *corev1.ConfigMap:
		return "*v1.ConfigMap"
	}
	return ""
}

func orElse(err error, otherwise func() error) error {
	if err != nil {
		return err
	}
	return otherwise()
}

// TestApprovalsAreTrustedOnlyWhereTheAPIServerAsksWhoGivesThem changes one thing of the
// installation at a time.
func TestApprovalsAreTrustedOnlyWhereTheAPIServerAsksWhoGivesThem(t *testing.T) {
	policy := func(edits ...func(*admissionregistrationv1.ValidatingAdmissionPolicy)) *admissionregistrationv1.ValidatingAdmissionPolicy {
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ApprovalPolicyName}}
		for _, edit := range edits {
			edit(p)
		}
		return p
	}
	binding := func(edits ...func(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
		b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ApprovalPolicyName},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: v1alpha1.ApprovalPolicyName, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}}}
		for _, edit := range edits {
			edit(b)
		}
		return b
	}
	for name, c := range map[string]struct {
		installed []client.Object
		want      string
	}{
		"as config/approvals has it": {[]client.Object{policy(), binding()}, ""},
		"no policy":                  {[]client.Object{binding()}, "the cluster has no ValidatingAdmissionPolicy approvals.ecs.alibabacloud.com: install config/approvals"},
		"no binding":                 {[]client.Object{policy()}, "the cluster has no ValidatingAdmissionPolicyBinding"},
		"a policy that fails open": {[]client.Object{policy(func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
		}), binding()},
			"does not have failurePolicy Fail"},
		"a policy with exceptions": {[]client.Object{policy(func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Spec.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "no-robots", Expression: "false"}}
		}), binding()},
			"does not ask for all resources"},
		"a policy for some namespaces": {[]client.Object{policy(func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Spec.MatchConstraints = &admissionregistrationv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
		}), binding()},
			"does not ask for all resources"},
		"a policy as the API server completes it": {[]client.Object{policy(func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Spec.MatchConstraints = &admissionregistrationv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{}}
		}), binding()}, ""},
		"a binding that only warns": {[]client.Object{policy(), binding(func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
			b.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn}
		})}, "does not deny for all resources"},
		"a binding for some namespaces": {[]client.Object{policy(), binding(func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
			b.Spec.MatchResources = &admissionregistrationv1.MatchResources{}
		})},
			"does not deny for all resources"},
		"a binding of another policy": {[]client.Object{policy(), binding(func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) { b.Spec.PolicyName = "other" })},
			"does not deny for all resources"},
	} {
		t.Run(name, func(t *testing.T) {
			account := &v1alpha1.ECSAccount{ObjectMeta: metav1.ObjectMeta{Name: "prod"}, Spec: v1alpha1.ECSAccountSpec{ChangeApproval: []string{"Drop"}}}
			api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(append(c.installed, account)...).Build()
			a := &Approvals{Cache: api, API: api, Now: time.Now}
			demanded, distrust, err := a.Demanded(t.Context(), "prod", "Drop")
			if err != nil || !demanded || (distrust == "") != (c.want == "") || !strings.Contains(distrust, c.want) {
				t.Errorf("%v, %q, %v", demanded, distrust, err)
			}
			for _, other := range [][2]string{{"prod", "Accept"}, {"gone", "Drop"}, {v1alpha1.OwnAccount, "Drop"}} {
				if demanded, _, err := a.Demanded(t.Context(), other[0], other[1]); demanded || err != nil {
					t.Errorf("%v: %v, %v", other, demanded, err)
				}
			}
		})
	}
}
