package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

type ecsAccount = v1alpha1.ECSAccount

const (
	prodKey     = "LTAIprodkeyid000000001"
	prodSecret  = "prodsecret0123456789abcdefghij"
	prodAccount = "2000000000000002"
)

// newAccountWorld is a world with a second Alibaba Cloud account, which owns
// sg-prod.
func newAccountWorld(t *testing.T, groups ...ecssim.Group) *world {
	w := newWorld(t, append(groups, ecssim.Group{ID: "sg-prod", Policy: "Accept", Account: prodAccount})...)
	w.sim.PutKey(ecssim.Key{ID: prodKey, Secret: prodSecret, Account: prodAccount})
	return w
}

// name makes a name for a cluster-wide account that belongs to this test.
func (w *world) name(account string) string { return w.namespace + "-" + account }

func (w *world) secret(name, keyID, secret string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		StringData: map[string]string{"accessKeyId": keyID, "accessKeySecret": secret}}
	if err := api.Create(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) updateSecret(name, keyID, secret string) {
	w.t.Helper()
	s := &corev1.Secret{}
	if err := api.Get(w.t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, s); err != nil {
		w.t.Fatal(err)
	}
	s.Data = map[string][]byte{"accessKeyId": []byte(keyID), "accessKeySecret": []byte(secret)}
	if err := api.Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
}

// account makes an ECSAccount with the keys of a Secret, for the test's namespace.
func (w *world) account(name, secret string, edits ...func(*ecsAccount)) *ecsAccount {
	w.t.Helper()
	a := &ecsAccount{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{ofTest: w.namespace}},
		Spec: v1alpha1.ECSAccountSpec{
			Credentials:       v1alpha1.AccountCredentials{SecretRef: &v1alpha1.SecretReference{Name: secret, Namespace: w.namespace}},
			AllowedNamespaces: &v1alpha1.AllowedNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}}},
		},
	}
	for _, edit := range edits {
		edit(a)
	}
	if err := api.Create(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(w.t.Context()), a) })
	return a
}

func (w *world) awaitAccount(name, reason string) *ecsAccount {
	w.t.Helper()
	a := &ecsAccount{}
	w.eventually("account "+name+" with reason "+reason, func() bool {
		if err := api.Get(w.t.Context(), types.NamespacedName{Name: name}, a); err != nil {
			w.t.Fatal(err)
		}
		ready := apimeta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == reason && ready.ObservedGeneration == a.Generation
	}, func() string { return fmt.Sprintf("%+v", a.Status) })
	return a
}

func using(account string) func(*policy) {
	return func(p *policy) { p.Spec.AccountRef = &v1alpha1.AccountReference{Name: account} }
}

func message(p *policy) string {
	return apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Message
}

func TestAnAccountIsCheckedAndUsed(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys")
	w.policy("p", "sg-prod", "Drop", using(prod.Name))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	a := w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated)
	if a.Status.AccountID != prodAccount || !apimeta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("status %+v", a.Status)
	}
	for _, c := range w.sim.Calls() {
		if c.GroupID == "sg-prod" && c.AccessKeyID != prodKey {
			t.Errorf("a call was signed with %s", c.AccessKeyID)
		}
	}
	w.cloudIs("sg-prod", "Drop", 1)
}

// Nothing in the cluster tells that a key was disabled. A working account is checked
// twice an hour by itself.
func TestAnAccountIsCheckedAtOnceOnRequest(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys")
	w.start()
	a := w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated)
	w.sim.PutKey(ecssim.Key{ID: prodKey, Secret: prodSecret, Account: prodAccount, Inactive: true})
	asked := a.DeepCopy()
	asked.Annotations = map[string]string{v1alpha1.AnnotationReconcileRequestedAt: "now"}
	if err := api.Patch(t.Context(), asked, client.MergeFrom(a)); err != nil {
		t.Fatal(err)
	}
	w.awaitAccount(prod.Name, v1alpha1.ReasonAccessDenied)
}

func TestTheDefaultAccountServesThoseThatNameNone(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.secret("keys", prodKey, prodSecret)
	// The name is taken cluster-wide, and this is the only test that takes it.
	w.account(v1alpha1.DefaultAccountName, "keys")
	w.policy("p", "sg-prod", "Drop")
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
}

func TestNothingIsLentByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Group{ID: "sg-1", Policy: "Accept"})
	w.options.LendOwnCredentials = false
	w.policy("p", "sg-1", "Drop")
	w.start()
	if p := w.awaitReason("p", v1alpha1.ReasonAccountNotReady); !strings.Contains(message(p), `ECSAccount "default"`) || !strings.Contains(message(p), "administrator") {
		t.Errorf("message %q", message(p))
	}
	if n := w.sim.CallCount(""); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestAnAccountIsUsedOnlyWhereItAllows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*ecsAccount)
		want string
	}{
		"it names nobody": {func(a *ecsAccount) { a.Spec.AllowedNamespaces = nil }, "it does not exist, or its allowedNamespaces does not match"},
		"another namespace": {func(a *ecsAccount) {
			a.Spec.AllowedNamespaces.Selector.MatchLabels[corev1.LabelMetadataName] = "other"
		}, "it does not exist, or its allowedNamespaces does not match"},
		"another region": {func(a *ecsAccount) { a.Spec.AllowedRegions = []string{"eu-*", "cn-beijing"} }, "may not be used for region cn-test-"},
		"another group":  {func(a *ecsAccount) { a.Spec.AllowedSecurityGroupIDs = []string{"sg-test-*"} }, "may not be used for security group sg-prod"},
		"a Secret from where none is read": {func(a *ecsAccount) {
			a.Spec.Credentials.SecretRef.Namespace = "kube-system"
		}, "Secrets are read from"},
		"no such Secret": {func(a *ecsAccount) { a.Spec.Credentials.SecretRef.Name = "none" }, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newAccountWorld(t)
			w.secret("keys", prodKey, prodSecret)
			prod := w.account(w.name("prod"), "keys", c.edit)
			w.policy("p", "sg-prod", "Drop", using(prod.Name))
			w.start()
			if p := w.awaitReason("p", v1alpha1.ReasonAccountNotReady); !strings.Contains(message(p), c.want) {
				t.Errorf("message %q, want a word of %q", message(p), c.want)
			}
			if n := w.calls(observe, "sg-prod"); n != 0 {
				t.Errorf("%d calls to the cloud", n)
			}
			// Allowed, it works without a restart.
			before := prod.DeepCopy()
			prod.Spec = v1alpha1.ECSAccountSpec{
				Credentials:             v1alpha1.AccountCredentials{SecretRef: &v1alpha1.SecretReference{Name: "keys", Namespace: w.namespace}},
				AllowedNamespaces:       &v1alpha1.AllowedNamespaces{All: true},
				AllowedRegions:          []string{"cn-*"},
				AllowedSecurityGroupIDs: []string{"sg-*"},
			}
			if err := api.Patch(t.Context(), prod, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
			w.awaitReason("p", v1alpha1.ReasonInSync)
		})
	}
}

func TestANamespaceThatIsLabelledLaterMayUseTheAccount(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys", func(a *ecsAccount) {
		a.Spec.AllowedNamespaces.Selector.MatchLabels = map[string]string{"account": "prod"}
	})
	w.policy("p", "sg-prod", "Drop", using(prod.Name))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonAccountNotReady)
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	if err := api.Patch(t.Context(), n, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"account":"prod"}}}`))); err != nil {
		t.Fatal(err)
	}
	w.awaitReason("p", v1alpha1.ReasonInSync)
}

func TestARevokedKeyCostsAHandfulOfCallsAndTheCorrectedOneBringsAllBack(t *testing.T) {
	t.Parallel()
	const resources = 100
	var groups []ecssim.Group
	for i := range resources {
		groups = append(groups, ecssim.Group{ID: fmt.Sprint("sg-", i), Policy: "Drop", Account: prodAccount})
	}
	w := newAccountWorld(t, groups...)
	w.secret("keys", prodKey, "not the secret")
	prod := w.account(w.name("prod"), "keys")
	for i := range resources {
		w.policy(fmt.Sprint("p-", i), fmt.Sprint("sg-", i), "Drop", using(prod.Name))
	}
	w.start()
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonAccessDenied)
	}
	a := w.awaitAccount(prod.Name, v1alpha1.ReasonAccessDenied)
	if ready := apimeta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "SignatureDoesNotMatch") {
		t.Errorf("the account says %q", ready.Message)
	}
	if n := w.sim.CallCount(""); n > 20 {
		t.Errorf("%d calls with a key that is refused", n)
	}
	w.updateSecret("keys", prodKey, prodSecret)
	for i := range resources {
		w.awaitReason(fmt.Sprint("p-", i), v1alpha1.ReasonInSync)
	}
	w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated)
}

func TestADeletedSecretOrAccountShowsInItsResources(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	secret := w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys")
	w.policy("p", "sg-prod", "Drop", using(prod.Name))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated)
	if err := api.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.awaitAccount(prod.Name, v1alpha1.ReasonCredentialsNotFound)
	w.awaitReason("p", v1alpha1.ReasonAccountNotReady)
	w.secret("keys", prodKey, prodSecret)
	w.awaitReason("p", v1alpha1.ReasonInSync)
	if err := api.Delete(t.Context(), prod); err != nil {
		t.Fatal(err)
	}
	if p := w.awaitReason("p", v1alpha1.ReasonAccountNotReady); !strings.Contains(message(p), "does not exist") {
		t.Errorf("message %q", message(p))
	}
}

func TestARotatedKeyIsUsedForTheNextCall(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	w.secret("keys", prodKey, prodSecret)
	prod := w.account(w.name("prod"), "keys")
	w.policy("p", "sg-prod", "Drop", using(prod.Name))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	const nextKey = "LTAInextkeyid000000002"
	w.sim.PutKey(ecssim.Key{ID: nextKey, Secret: "nextsecret0123456789", Account: prodAccount})
	w.updateSecret("keys", nextKey, "nextsecret0123456789")
	w.eventually("the new key was checked", func() bool {
		for _, c := range w.sim.Calls() {
			if c.AccessKeyID == nextKey {
				return true
			}
		}
		return false
	}, func() string { return "" })
	w.sim.DeleteKey(prodKey)
	w.reconcileNow("p")
	w.awaitReason("p", v1alpha1.ReasonInSync)
}

func TestARoleIsTakenOnWithTheKeysOfTheSecret(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	const arn = "acs:ram::" + prodAccount + ":role/sgp"
	w.sim.PutRole(ecssim.Role{ARN: arn, ExternalID: "outside", TrustedKeys: []string{testKey}})
	w.secret("keys", testKey, testSecret)
	prod := w.account(w.name("prod"), "keys", func(a *ecsAccount) {
		a.Spec.Credentials.AssumeRole = &v1alpha1.AssumeRole{RoleARN: arn, ExternalID: "inside"}
	})
	w.policy("p", "sg-prod", "Drop", using(prod.Name))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonAccessDenied)
	w.awaitAccount(prod.Name, v1alpha1.ReasonAccessDenied)
	before := prod.DeepCopy()
	prod.Spec.Credentials.AssumeRole.ExternalID = "outside"
	if err := api.Patch(t.Context(), prod, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	w.awaitReason("p", v1alpha1.ReasonInSync)
	if a := w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated); a.Status.AccountID != prodAccount {
		t.Errorf("account id %q", a.Status.AccountID)
	}
}
