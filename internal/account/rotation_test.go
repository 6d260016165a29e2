package account

import (
	"context"
	"errors"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// rotate writes other keys into the Secret.
func (w *world) rotate(t *testing.T, id, value string) {
	t.Helper()
	s := &corev1.Secret{}
	if err := w.cluster.Get(t.Context(), client.ObjectKey{Namespace: "sgp-system", Name: "keys"}, s); err != nil {
		t.Fatal(err)
	}
	s.Data["accessKeyId"], s.Data["accessKeySecret"] = []byte(id), []byte(value)
	if err := w.cluster.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// edit changes the spec of an account as the API server would take it.
func (w *world) edit(t *testing.T, edit func(*v1alpha1.ECSAccountSpec)) {
	t.Helper()
	a := &v1alpha1.ECSAccount{}
	if err := w.cluster.Get(t.Context(), client.ObjectKey{Name: "prod"}, a); err != nil {
		t.Fatal(err)
	}
	edit(&a.Spec)
	a.Generation++
	if err := w.cluster.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

func (w *world) client(t *testing.T) *ecs.Client {
	t.Helper()
	c, _, err := w.Client(t.Context(), policy("prod", "sg-1"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) lastKey(t *testing.T) string {
	t.Helper()
	calls := w.sim.Calls()
	if len(calls) == 0 {
		t.Fatal("no call")
	}
	return calls[len(calls)-1].AccessKeyID
}

func prodWithSecret(t *testing.T, id, value string) *world {
	t.Helper()
	return newWorld(t, worldOptions{objects: []client.Object{account("prod", withSecret), keySecretOf(id, value)}})
}

// What a client has learnt of ECS's rate would be lost with it.
func TestARotatedSecretIsUsedByTheSameClient(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, otherID, otherSecret)
	w.sim.PutKey(ecssim.Key{ID: otherID, Secret: otherSecret, Account: cloudAccount})
	before := w.client(t)
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil || w.lastKey(t) != otherID {
		t.Fatalf("used %s: %v", w.lastKey(t), err)
	}
	w.rotate(t, keyID, keySecret)
	w.sim.DeleteKey(otherID)
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil || w.lastKey(t) != keyID {
		t.Errorf("used %s: %v", w.lastKey(t), err)
	}
	if w.client(t) != before {
		t.Error("another Secret has made another client")
	}
}

func TestASecretThatIsRotatedTwice(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, keyID, wrongSecret)
	w.client(t)
	w.rotate(t, otherID, otherSecret)
	w.client(t)
	w.rotate(t, keyID, keySecret)
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil || w.lastKey(t) != keyID {
		t.Errorf("used %s: %v", w.lastKey(t), err)
	}
}

func TestARotatedSecretClosesTheBreaker(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, keyID, wrongSecret)
	everybody(t, w)
	w.rotate(t, keyID, keySecret)
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
		t.Errorf("the new key is held back: %v", err)
	}
}

func TestACallUnderWayDuringARotation(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, keyID, keySecret)
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
		t.Fatal(err)
	}
	l := w.leases["prod"]
	old, err := l.Credential(t.Context(), region)
	if err != nil {
		t.Fatal(err)
	}
	w.rotate(t, otherID, otherSecret)
	w.client(t)
	for range breakerLimit {
		l.Judge(region, old, refusal())
	}
	if got, err := l.Credential(t.Context(), region); err != nil || got.AccessKeyID != otherID {
		t.Errorf("the end of the old key is held against the new one: %v", err)
	}
}

func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, keyID, keySecret)
	var busy sync.WaitGroup
	for range workers {
		busy.Go(func() {
			for range 20 {
				if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		w.rotate(t, keyID, keySecret)
	}
	busy.Wait()
}

func TestAChangedAccountMakesAnotherClient(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit    func(*v1alpha1.ECSAccountSpec)
		another bool
		want    settings
	}{
		"another endpoint": {func(s *v1alpha1.ECSAccountSpec) { s.Endpoint = "https://ecs-vpc.{region}.aliyuncs.com" }, true, settings{qps: 1e6, burst: 1e6}},
		"another rate":     {func(s *v1alpha1.ECSAccountSpec) { s.RateLimit = &v1alpha1.RateLimit{QPS: 7, Burst: 9} }, true, settings{qps: 7, burst: 9}},
		"a rate, no burst": {func(s *v1alpha1.ECSAccountSpec) { s.RateLimit = &v1alpha1.RateLimit{QPS: 7} }, true, settings{qps: 7, burst: 14}},
		"other regions":    {func(s *v1alpha1.ECSAccountSpec) { s.AllowedRegions = []string{"cn-*"} }, false, settings{qps: 1e6, burst: 1e6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := prodWithSecret(t, keyID, keySecret)
			before := w.client(t)
			w.edit(t, tt.edit)
			if another := w.client(t) != before; another != tt.another {
				t.Errorf("another client: %v, want %v", another, tt.another)
			}
			got := w.leases["prod"].settings
			got.endpoint = ecs.Endpoint{}
			if got != tt.want {
				t.Errorf("made for %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTheEndpointOfAnAccount(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, keyID, keySecret)
	elsewhere := newWorld(t, worldOptions{})
	w.edit(t, func(s *v1alpha1.ECSAccountSpec) { s.Endpoint = elsewhere.options.Endpoint.String() })
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil || len(elsewhere.sim.Calls()) != 1 {
		t.Errorf("%d calls there: %v", len(elsewhere.sim.Calls()), err)
	}
	w.edit(t, func(s *v1alpha1.ECSAccountSpec) { s.Endpoint = "http://ecs.example.com" })
	_, _, err := w.Client(t.Context(), policy("prod", "sg-1"))
	wantNotReady(t, err, `"prod"`, "not encrypted")
	w.options.AllowInsecure = true
	w.Forget("prod") // as after a restart with the flag
	w.client(t)
}

func TestADeletedSecretIsUsedNoLonger(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, keyID, keySecret)
	w.client(t)
	if err := w.cluster.Delete(t.Context(), keySecretOf("", "")); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.Client(t.Context(), policy("prod", "sg-1"))
	wantNotReady(t, err, "its Secret does not exist")
	w.keepsNoKeys(t)
	if err := w.cluster.Create(t.Context(), keySecretOf(keyID, keySecret)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
		t.Error(err)
	}
}

// keepsNoKeys holds a call that is under way against what is left of an account.
func (w *world) keepsNoKeys(t *testing.T) {
	t.Helper()
	if l := w.leases["prod"]; l != nil {
		got, err := l.Credential(t.Context(), region)
		if got != (ecs.Credential{}) || err == nil {
			t.Errorf("its keys are still kept: %v", err)
		}
	}
}

// What a client has learnt of ECS's rate would be lost with it, and the account would
// begin at the full rate again.
func TestASecretThatIsMadeAnewIsUsedByTheSameClient(t *testing.T) {
	t.Parallel()
	for name, loseKeys := range map[string]func(*testing.T, *world){
		"deleted": func(t *testing.T, w *world) {
			if err := w.cluster.Delete(t.Context(), keySecretOf("", "")); err != nil {
				t.Fatal(err)
			}
		},
		"emptied": func(t *testing.T, w *world) { w.rotate(t, "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := prodWithSecret(t, keyID, keySecret)
			before := w.client(t)
			if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
				t.Fatal(err)
			}
			loseKeys(t, w)
			_, _, err := w.Client(t.Context(), policy("prod", "sg-1"))
			wantNotReady(t, err, "its Secret ")
			w.keepsNoKeys(t)
			made := keySecretOf(keyID, keySecret)
			if err := client.IgnoreNotFound(w.cluster.Delete(t.Context(), made)); err != nil {
				t.Fatal(err)
			}
			made.ResourceVersion, made.UID = "", "anew"
			if err := w.cluster.Create(t.Context(), made); err != nil {
				t.Fatal(err)
			}
			if w.client(t) != before {
				t.Error("another client")
			}
			if _, err := w.observe(t, policy("prod", "sg-1")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnAccountThatIsGoneIsForgotten(t *testing.T) {
	t.Parallel()
	w := prodWithSecret(t, keyID, keySecret)
	w.client(t)
	w.Forget("another")
	if len(w.leases) != 1 {
		t.Error("the wrong one was forgotten")
	}
	w.Forget("prod")
	if len(w.leases) != 0 {
		t.Error("its keys are still kept")
	}
	w.client(t)
}

// blind is a cache without Secrets' metadata, or an API server that is away.
type blind struct {
	client.Reader
	err error
}

func (b blind) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if key.Name == "keys" {
		return b.err
	}
	return b.Reader.Get(ctx, key, into, opts...)
}

func TestAnAPIServerThatIsAwayIsNoVerdict(t *testing.T) {
	t.Parallel()
	away := errors.New("the API server is away")
	for name, hide := range map[string]func(*Options){
		"the metadata": func(o *Options) { o.Cache = blind{o.Cache, away} },
		"the Secret":   func(o *Options) { o.Live = blind{o.Live, away} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{objects: []client.Object{account("prod", withSecret), keySecretOf(keyID, keySecret)}, edit: hide})
			_, _, err := w.Client(t.Context(), policy("prod", "sg-1"))
			if _, verdict := errors.AsType[*NotReadyError](err); !errors.Is(err, away) || verdict {
				t.Errorf("got %v, want an error that is tried again", err)
			}
			wantWords(t, err, "Secret sgp-system/keys")
		})
	}
}
