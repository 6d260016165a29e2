package operator_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
	contract "github.com/sgp-operator/sgp-operator/internal/policy"
)

// theGroup is the group of the subject.
const theGroup = "sg-bp1web"

// stateWorld has a group that accepts.
func stateWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, ecssim.Group{ID: theGroup, Policy: "Accept"})
}

// subject makes the resource whose state is recorded: it wants its group to drop.
func (w *world) subject(edits ...func(*policy)) *policy {
	w.t.Helper()
	return w.policy(subject, theGroup, "Drop", edits...)
}

func accept(p *policy) { p.Spec.InnerAccessPolicy = "Accept" }

// inState is a world whose subject has come to a reason.
func inState(reason string, edits ...func(*policy)) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := stateWorld(t)
		w.subject(edits...)
		w.start()
		w.awaitReason(subject, reason)
		return w
	}
}

// withGroup is a world in which the subject's group is another one.
func withGroup(g ecssim.Group, reason string, edits ...func(*policy)) func(*testing.T) *world {
	return func(t *testing.T) *world {
		g.ID = theGroup
		w := newWorld(t, g)
		w.subject(edits...)
		w.start()
		w.awaitReason(subject, reason)
		return w
	}
}

// withFault is a world in which calls fail from the beginning.
func withFault(f ecssim.Fault, reason string) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := stateWorld(t)
		w.sim.Inject(f)
		w.subject()
		w.start()
		w.awaitReason(subject, reason)
		t.Cleanup(w.sim.Release)
		return w
	}
}

// whileDeleted is a world in which the subject, which is to be restored, is deleted
// after something has happened that keeps it.
func whileDeleted(reason string, happens func(*world)) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := inState(v1alpha1.ReasonInSync, restore)(t)
		happens(w)
		w.deletePolicy(subject)
		w.awaitReason(subject, reason)
		t.Cleanup(w.sim.Release)
		return w
	}
}

func refused(status int, code, message string) ecssim.Fault {
	return ecssim.Fault{Kind: ecssim.Error, Status: status, Code: code, Message: message}
}

var (
	refusedByRAM = refused(403, "Forbidden.RAM", "User not authorized to operate on the specified resource, or this API doesn't support RAM.")
	unavailable  = refused(503, "ServiceUnavailable", "The request has failed due to a temporary failure of the server.")
	throttling   = ecssim.Fault{Kind: ecssim.Throttle}
)

var policyStates = map[string]func(*testing.T) *world{
	"not-reconciled": func(t *testing.T) *world {
		w := stateWorld(t)
		w.subject()
		return w
	},
	"in-sync":                     inState(v1alpha1.ReasonInSync),
	"in-sync-restore":             inState(v1alpha1.ReasonInSync, restore),
	"progressing":                 withFault(ecssim.Fault{Kind: ecssim.HangBefore, Action: modify}, v1alpha1.ReasonProgressing),
	"drift-detected":              inState(v1alpha1.ReasonDriftDetected, observeOnly),
	"suspended-never-observed":    inState(v1alpha1.ReasonSuspended, suspendIt),
	"suspended-in-sync":           suspendedAfter(suspendIt),
	"suspended-edited":            suspendedAfter(suspendIt, accept),
	"throttled":                   withFault(throttling, v1alpha1.ReasonThrottled),
	"throttled-still-ready":       stillReady(throttling),
	"cloud-unavailable":           withFault(unavailable, v1alpha1.ReasonCloudUnavailable),
	"cloud-unavailable-ready":     stillReady(unavailable),
	"security-group-not-found":    withGroup(ecssim.Group{Region: "cn-elsewhere"}, v1alpha1.ReasonSecurityGroupNotFound),
	"unsupported-group-type":      withGroup(ecssim.Group{Policy: "Drop", Enterprise: true}, v1alpha1.ReasonUnsupportedSecurityGroupType, accept),
	"managed-by-cloud-product":    withGroup(ecssim.Group{Policy: "Accept", Managed: true}, v1alpha1.ReasonManagedByCloudProduct),
	"invalid-request":             inState(v1alpha1.ReasonInvalidRequest, func(p *policy) { p.Spec.RegionID = "cn-nowhere" }),
	"access-denied":               withFault(refusedByRAM, v1alpha1.ReasonAccessDenied),
	"account-not-ready":           inState(v1alpha1.ReasonAccountNotReady, using("missing")),
	"conflict":                    heldByAnother,
	"contested":                   contestedState,
	"edited":                      editedState,
	"deleting-restore-under-way":  whileDeleted(v1alpha1.ReasonProgressing, func(w *world) { w.sim.Inject(ecssim.Fault{Kind: ecssim.HangBefore, Action: modify}) }),
	"deleting-restore-throttled":  whileDeleted(v1alpha1.ReasonThrottled, func(w *world) { w.sim.Inject(throttling) }),
	"deleting-restore-refused":    whileDeleted(v1alpha1.ReasonAccessDenied, func(w *world) { w.sim.Inject(refusedByRAM) }),
	"deleting-restore-suspended":  whileDeleted(v1alpha1.ReasonSuspended, func(w *world) { w.edit(subject, suspendIt) }),
	"deleting-finalizer-of-other": heldByAFinalizer,
}

func suspendedAfter(edits ...func(*policy)) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := inState(v1alpha1.ReasonInSync)(t)
		for _, edit := range edits {
			w.edit(subject, edit)
		}
		w.awaitReason(subject, v1alpha1.ReasonSuspended)
		return w
	}
}

// stillReady is a world in which calls fail after an observation that is young.
func stillReady(f ecssim.Fault) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := inState(v1alpha1.ReasonInSync)(t)
		w.sim.Inject(f)
		w.edit(subject, func(p *policy) {
			metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, "2026-01-01T00:00:00Z")
		})
		w.await(subject, "the failure shows", func(p *policy) bool { return p.Status.LastError != nil })
		return w
	}
}

func heldByAnother(t *testing.T) *world {
	w := stateWorld(t)
	w.policy("first", theGroup, "Accept")
	w.start()
	w.awaitReason("first", v1alpha1.ReasonInSync)
	w.awaitHolder(theGroup, "first")
	w.subject()
	w.awaitReason(subject, v1alpha1.ReasonConflict)
	return w
}

func contestedState(t *testing.T) *world {
	w := stateWorld(t)
	fake := testclock.NewFakePassiveClock(time.Now())
	w.clock = fake
	w.subject()
	w.start()
	w.awaitReason(subject, v1alpha1.ReasonInSync)
	for range contract.ContestLimit {
		fake.SetTime(fake.Now().Add(contract.Lag)) // before that, a difference may be an old read
		w.sim.SetPolicy(w.region, theGroup, "Accept")
		w.reconcileNow(subject)
		w.awaitReason(subject, v1alpha1.ReasonInSync)
	}
	fake.SetTime(fake.Now().Add(contract.Lag))
	w.sim.SetPolicy(w.region, theGroup, "Accept")
	const at = "2026-01-01T00:00:00Z"
	w.edit(subject, func(p *policy) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, at)
	})
	w.awaitReason(subject, v1alpha1.ReasonContested)
	w.await(subject, "the request was handled", func(p *policy) bool { return p.Status.LastHandledReconcileAt == at })
	return w
}

// editedState has a spec that no manager has seen.
func editedState(t *testing.T) *world {
	w := stateWorld(t)
	w.subject()
	stop := w.start()
	w.awaitReason(subject, v1alpha1.ReasonInSync)
	stop()
	w.edit(subject, accept)
	return w
}

func heldByAFinalizer(t *testing.T) *world {
	w := inState(v1alpha1.ReasonInSync, func(p *policy) { p.Finalizers = []string{"example.com/audit"} })(t)
	w.deletePolicy(subject)
	return w
}

// ofAccount is a world with an account that has come to a reason.
func ofAccount(reason, keySecret string, fault *ecssim.Fault, edits ...func(*ecsAccount)) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := newAccountWorld(t)
		if fault != nil {
			w.sim.Inject(*fault)
		}
		w.secret("keys", prodKey, keySecret)
		a := w.account(w.name(subject), "keys", edits...)
		w.start()
		w.awaitAccount(a.Name, reason)
		return w
	}
}

func withRole(arn string) func(*ecsAccount) {
	return func(a *ecsAccount) {
		a.Spec.Credentials.AssumeRole = &v1alpha1.AssumeRole{RoleARN: arn}
	}
}

var accountStates = map[string]func(*testing.T) *world{
	"not-reconciled": func(t *testing.T) *world {
		w := newAccountWorld(t)
		w.account(w.name(subject), "keys")
		return w
	},
	"authenticated":         ofAccount(v1alpha1.ReasonAuthenticated, prodSecret, nil),
	"not-verified":          ofAccount(v1alpha1.ReasonNotVerified, prodSecret, &unavailable),
	"cloud-unavailable":     ofAccount(v1alpha1.ReasonCloudUnavailable, prodSecret, &unavailable, withRole("acs:ram::"+prodAccount+":role/sgp")),
	"access-denied":         ofAccount(v1alpha1.ReasonAccessDenied, "not the secret", nil),
	"credentials-not-found": ofAccount(v1alpha1.ReasonCredentialsNotFound, prodSecret, nil, func(a *ecsAccount) { a.Spec.Credentials.SecretRef.Name = "missing" }),
	"invalid-spec": ofAccount(v1alpha1.ReasonInvalidSpec, prodSecret,
		new(refused(400, "InvalidParameter.RoleArn", "The parameter RoleArn is wrongly formed.")), withRole("acs:ram::"+prodAccount+":role/-")),
	"edited": func(t *testing.T) *world {
		w := newAccountWorld(t)
		w.secret("keys", prodKey, prodSecret)
		a := w.account(w.name(subject), "keys")
		stop := w.start()
		a = w.awaitAccount(a.Name, v1alpha1.ReasonAuthenticated)
		stop()
		before := a.DeepCopy()
		a.Spec.AllowedRegions = []string{"cn-*"}
		if err := api.Patch(t.Context(), a, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		return w
	},
}
