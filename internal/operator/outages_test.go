package operator_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	contract "github.com/sgp-operator/sgp-operator/internal/policy"
)

// Another account's word that it has no such group says nothing of the group that was
// changed.
func TestADeletionWithRestoreIsNotReleasedByAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.secret("keys", prodKey, prodSecret)
	w.secret("other-keys", testKey, testSecret)
	prod, other := w.account(w.name("prod"), "keys"), w.account(w.name("other"), "other-keys")
	w.policy("p", "sg-prod", "Drop", using(prod.Name), restore)
	w.start()
	w.awaitReason("p", v1alpha1.ReasonInSync)
	w.edit("p", using(other.Name))
	w.awaitReason("p", v1alpha1.ReasonSecurityGroupNotFound)
	w.deletePolicy("p")
	w.await("p", "the deletion was reconciled", func(p *policy) bool {
		return !p.DeletionTimestamp.IsZero() && p.Status.ObservedGeneration == p.Generation
	})
	w.reconcileNow("p")
	w.awaitReason("p", v1alpha1.ReasonSecurityGroupNotFound)
	w.cloudIs("sg-prod", "Drop", 1)
	fake.SetTime(fake.Now().Add(contract.Lag)) // before that, a read proves nothing
	w.edit("p", using(prod.Name))
	w.awaitGone("p")
	w.cloudIs("sg-prod", "Accept", 2)
}

// The account is Ready with either key, so that only the Secret tells of the change.
func TestAPermittedKeyOfTheSameAccountWakesWhomTheOldOneWasRefused(t *testing.T) {
	t.Parallel()
	w := newAccountWorld(t)
	const weakKey = "LTAIweakkeyid000000003"
	w.sim.PutKey(ecssim.Key{ID: weakKey, Secret: "weaksecret0123456789", Account: prodAccount})
	w.sim.Inject(ecssim.Fault{Kind: ecssim.Error, AccessKeyID: weakKey, Action: observe, Status: 403, Code: "Forbidden.RAM"})
	w.secret("keys", weakKey, "weaksecret0123456789")
	prod := w.account(w.name("prod"), "keys")
	w.policy("p", "sg-prod", "Drop", using(prod.Name))
	w.start()
	w.awaitReason("p", v1alpha1.ReasonAccessDenied)
	before := w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated)
	w.updateSecret("keys", prodKey, prodSecret)
	w.awaitReason("p", v1alpha1.ReasonInSync) // its own retry would be 5 minutes off
	w.cloudIs("sg-prod", "Drop", 1)
	if after := w.awaitAccount(prod.Name, v1alpha1.ReasonAuthenticated); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the account tells of it too: %+v, then %+v", before.Status, after.Status)
	}
}

// outage is a reader of the API server that fails for one kind while it is away.
type outage struct {
	client.Reader

	kind string
	away atomic.Bool
}

func (o *outage) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	kind := into.GetObjectKind().GroupVersionKind().Kind
	if _, secret := into.(*corev1.Secret); secret {
		kind = "Secret"
	}
	if o.away.Load() && kind == o.kind {
		return errors.New("Get: dial tcp 10.0.0.1:443: connect: connection refused")
	}
	return o.Reader.Get(ctx, key, into, opts...)
}

func TestAnAPIServerThatIsAwayShowsInTheStatusAndTheLog(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"Secret", "Namespace"} {
		t.Run("while a "+kind+" is read", func(t *testing.T) {
			t.Parallel()
			w := newAccountWorld(t)
			w.secret("keys", prodKey, prodSecret)
			prod := w.account(w.name("prod"), "keys")
			server := &outage{kind: kind}
			server.away.Store(true)
			w.options.Replace.Accounts = func(o *account.Options) {
				// A Secret is read live, a Namespace from the cache.
				if kind == "Secret" {
					server.Reader, o.Live = o.Live, server
				} else {
					server.Reader, o.Cache = o.Cache, server
				}
			}
			logs := &locked{}
			w.log = zap.New(zap.WriteTo(logs))
			w.policy("p", "sg-prod", "Drop", using(prod.Name))
			w.start()
			p := w.awaitReason("p", v1alpha1.ReasonCloudUnavailable)
			if e := p.Status.LastError; e == nil || e.Code != v1alpha1.CodeAPIServerUnavailable || e.Message == "" || e.Time.IsZero() {
				t.Errorf("lastError %+v", e)
			}
			if !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReconciling) {
				t.Errorf("conditions %+v", p.Status.Conditions)
			}
			w.awaitEvent("p", v1alpha1.ReasonCloudUnavailable)
			w.reconcileNow("p")
			var lines []string
			for line := range strings.Lines(logs.String()) {
				if strings.Contains(line, `"namespace":"`+w.namespace) && strings.Contains(line, `"name":"p"`) {
					lines = append(lines, line)
				}
			}
			if len(lines) != 1 || !strings.Contains(lines[0], v1alpha1.CodeAPIServerUnavailable) || !strings.Contains(lines[0], `"reason":"CloudUnavailable"`) {
				t.Errorf("lines of the log: %q", lines)
			}
			server.away.Store(false)
			w.edit("p", func(p *policy) {
				metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, "again")
			})
			if p := w.awaitReason("p", v1alpha1.ReasonInSync); p.Status.LastError != nil {
				t.Errorf("lastError %+v", p.Status.LastError)
			}
		})
	}
}
