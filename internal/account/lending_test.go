package account

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A delete and a create, as of a tool that replaces what it cannot change.
func TestADefaultAccountThatIsGoneForAMomentLendsNothing(t *testing.T) {
	t.Parallel()
	w := ownKeys(t)
	stranger := policy("", "sg-1")
	stranger.Namespace = "stranger"
	if _, err := w.observe(t, stranger); err != nil {
		t.Fatalf("nothing is lent although there has been no default account: %v", err)
	}
	a := account("default", withSecret)
	if err := w.cluster.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	_, err := w.observe(t, stranger)
	wantNotReady(t, err, `"default"`, `namespace "stranger"`)
	if err := w.cluster.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = w.observe(t, stranger)
		wantNotReady(t, err, "was deleted")
		w.clock.Advance(lendAfter / 2)
	}
	if _, err := w.observe(t, stranger); err != nil {
		t.Errorf("the default account is gone for good: %v", err)
	}
}

func TestNothingIsLentByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{
		env:     map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": keyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": keySecret},
		objects: []client.Object{account("prod")},
		edit:    func(o *Options) { o.LendOwn = false },
	})
	_, err := w.observe(t, policy("", "sg-1"))
	wantNotReady(t, err, `ECSAccount "default"`, "administrator", "spec.accountRef")
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
		t.Errorf("an account without credentials uses the manager's own: %v", err)
	}
	if n := len(w.sim.Calls()); n != 1 {
		t.Errorf("%d calls, want the account's one", n)
	}
}
