package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// The ECSAccount of config/samples, and its Secret. No key lies in a sample: the
// demo makes the Secret itself.
const (
	accountName     = "prod"
	secretName      = "prod-keys"
	secretNamespace = rig.ManagerNamespace
)

// secondAccount lends the keys of another account, which are wrong at first.
func (t *tour) secondAccount(ctx context.Context) error {
	t.out.heading("6. The ECSAccount %s lends the keys of another Alibaba Cloud account to the namespaces that\n"+
		"   it allows. At first its Secret holds a wrong key.", accountName)
	t.board.header()
	keys := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: secretNamespace, Name: secretName},
		StringData: map[string]string{"accessKeyId": prodKey, "accessKeySecret": "not-" + prodSecret},
	}
	if err := t.Client.Create(ctx, keys); err != nil {
		return err
	}
	if err := t.apply(ctx, func(s *sample) bool { return s.ofAccount() && s.policy == nil }); err != nil {
		return err
	}
	t.expectAccount(ctx, "an account with a wrong key is not Ready, and says why", func(a *v1alpha1.ECSAccount) bool {
		return accountReason(a, metav1.ConditionFalse) == v1alpha1.ReasonAccessDenied
	})
	// Only now, so that the manager knows of the account whatever else it says.
	if err := t.apply(ctx, func(s *sample) bool { return s.ofAccount() && s.policy != nil }); err != nil {
		return err
	}
	t.expect(ctx, "nor is a policy that uses it", lentGroup, func(p *policy) bool {
		return notReady(p) == v1alpha1.ReasonAccessDenied
	})
	if p, ok := t.expect(ctx, "a namespace that the account does not allow cannot use it", refusedGroup, func(p *policy) bool {
		return notReady(p) == v1alpha1.ReasonAccountNotReady
	}); ok {
		c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		t.out.plain("\n   %s, from the namespace %s, is refused:", p.Name, p.Namespace)
		t.out.plain("     %s\n", c.Message)
		t.inECS(ctx, "and its group is left alone", p, "Accept")
	}

	keys.StringData = map[string]string{"accessKeySecret": prodSecret}
	if err := t.Client.Update(ctx, keys); err != nil {
		return err
	}
	t.out.line("%-16s the Secret gets the right key", secretName)
	t.expectAccount(ctx, "a corrected Secret is used without a restart, and says whose it is", func(a *v1alpha1.ECSAccount) bool {
		return accountReason(a, metav1.ConditionTrue) == v1alpha1.ReasonAuthenticated && a.Status.AccountID == prodAccount
	})
	if p, ok := t.expect(ctx, "the policy that waited for it goes on by itself", lentGroup, changedBy(v1alpha1.CauseSpec)); ok {
		t.inECS(ctx, "and its group, in the other account, is Drop", p, "Drop")
	}
	return nil
}

// expectAccount waits for something to happen to the ECSAccount, showing each
// change, and remembers whether it did.
func (t *tour) expectAccount(ctx context.Context, what string, ok func(*v1alpha1.ECSAccount) bool) {
	deadline, cancel := context.WithTimeout(ctx, stepDeadline)
	defer cancel()
	c := check{what: what}
	_ = t.out.patiently("waiting for "+accountName, func() error {
		c.err = t.awaitAccount(deadline, ok)
		return nil
	})
	t.checks = append(t.checks, c)
}

func (t *tour) awaitAccount(ctx context.Context, ok func(*v1alpha1.ECSAccount) bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		a := &v1alpha1.ECSAccount{}
		if err := t.Client.Get(ctx, client.ObjectKey{Name: accountName}, a); err != nil && ctx.Err() == nil {
			return err
		}
		if c := apimeta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Reason != t.accountSeen {
			t.accountSeen = c.Reason
			t.out.line("%-16s ECSAccount, Ready %s, %s: %s", a.Name, c.Status, c.Reason, c.Message)
		}
		if ok(a) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not get there in time", accountName)
		case <-tick.C:
		}
	}
}

// accountReason is the reason of a Ready condition with this status.
func accountReason(a *v1alpha1.ECSAccount, status metav1.ConditionStatus) string {
	c := apimeta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Status != status {
		return ""
	}
	return c.Reason
}
