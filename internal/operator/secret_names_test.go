package operator_test

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// Events of a cluster-wide object are in the namespace default, and a resource's status
// is its users' to read: neither is for administrators alone.
func TestNobodyLearnsTheNameOfASecretFromEventsOrResources(t *testing.T) {
	t.Parallel()
	const secretName = "hush-prod-keys"
	for name, edit := range map[string]func(*world, *ecsAccount){
		"missing": func(*world, *ecsAccount) {},
		"without keys": func(w *world, _ *ecsAccount) {
			s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName, Namespace: w.namespace}}
			if err := api.Create(w.t.Context(), s); err != nil {
				w.t.Fatal(err)
			}
		},
		"in another namespace": func(_ *world, a *ecsAccount) { a.Spec.Credentials.SecretRef.Namespace = "kube-system" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newAccountWorld(t)
			a := w.account(w.name("prod"), secretName, func(a *ecsAccount) { edit(w, a) })
			w.policy("p", "sg-prod", "Drop", using(a.Name))
			w.start()
			w.awaitAccount(a.Name, v1alpha1.ReasonCredentialsNotFound)
			status, _ := json.Marshal(w.awaitReason("p", v1alpha1.ReasonAccountNotReady).Status)
			if strings.Contains(string(status), secretName) {
				t.Errorf("the resource says %s", status)
			}
			w.awaitEvent("p", v1alpha1.ReasonAccountNotReady)
			for about, namespace := range map[string]string{a.Name: metav1.NamespaceDefault, "p": w.namespace} {
				var told []string
				w.eventually("an event about "+about, func() bool {
					list := &eventsv1.EventList{}
					if err := api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
						t.Fatal(err)
					}
					for _, e := range list.Items {
						if e.Regarding.Name == about {
							told = append(told, e.Note)
						}
					}
					return len(told) > 0
				}, func() string { return "none" })
				if all := strings.Join(told, "\n"); strings.Contains(all, secretName) {
					t.Errorf("the events about %s say %s", about, all)
				}
			}
		})
	}
}
