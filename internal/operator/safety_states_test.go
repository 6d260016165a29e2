package operator_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// safetyStates are those of a SecurityGroupPolicy whose change is held, put back or
// waited with, and of one that asks whether its members are isolated.
var safetyStates = map[string]func(*testing.T) *world{
	"approval-required-by-account": heldByItsAccount,
	"approval-required-by-cluster": heldForTheCluster,
	"waiting-for-change-budget":    waitingForTheBudget,
	"in-sync-unconfirmed":          inState(v1alpha1.ReasonInSync, rollbackAfter(15*time.Minute)),
	"rolled-back":                  rolledBack,
	"drift-detected-not-isolated":  differingWithVerdict,
	"in-sync-isolated":             withVerdict(metav1.ConditionTrue, v1alpha1.ReasonNoPath),
	"in-sync-not-isolated":         withVerdict(metav1.ConditionFalse, v1alpha1.ReasonPathFound, ecssim.Rule{ID: "sgr-bp1ssh", Protocol: "TCP", Ports: "22/22", CIDR: "10.0.0.0/8"}),
	"in-sync-isolation-unknown":    withVerdict(metav1.ConditionUnknown, v1alpha1.ReasonMembersUnread),
}

// heldForTheCluster has a node of the operator's cluster in the subject's group.
func heldForTheCluster(t *testing.T) *world {
	const node = "i-bp1node"
	w := newWorld(t, ecssim.Group{ID: theGroup, Policy: "Accept", VpcID: "vpc-1"})
	w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: node, VpcID: "vpc-1", Groups: []string{theGroup}})
	w.node(node)
	w.subject()
	w.start()
	w.awaitReason(subject, v1alpha1.ReasonApprovalRequired)
	return w
}

func heldByItsAccount(t *testing.T) *world {
	w := newAccountWorld(t, ecssim.Group{ID: theGroup, Policy: "Accept", Account: prodAccount})
	w.secret("keys", prodKey, prodSecret)
	w.account(w.name("prod"), "keys", func(a *ecsAccount) { a.Spec.ChangeApproval = []string{"Drop"} })
	w.subject(using(w.name("prod")))
	w.start()
	w.awaitReason(subject, v1alpha1.ReasonApprovalRequired)
	return w
}

func waitingForTheBudget(t *testing.T) *world {
	w := stateWorld(t)
	w.options.ChangeBudget = 2
	for _, name := range []string{"first", "second"} {
		w.sim.PutGroup(ecssim.Group{Region: w.region, ID: "sg-" + name, Policy: "Accept"})
		w.policy(name, "sg-"+name, "Drop")
	}
	w.start()
	for _, name := range []string{"first", "second"} {
		w.awaitReason(name, v1alpha1.ReasonInSync)
	}
	w.subject()
	w.awaitReason(subject, v1alpha1.ReasonApprovalRequired)
	return w
}

// rolledBack has the deadline pass between two managers.
func rolledBack(t *testing.T) *world {
	w := stateWorld(t)
	clock := testclock.NewFakePassiveClock(time.Now())
	w.clock = clock
	w.subject(rollbackAfter(15 * time.Minute))
	stop := w.start()
	w.awaitReason(subject, v1alpha1.ReasonInSync)
	stop()
	clock.SetTime(clock.Now().Add(16 * time.Minute))
	w.start()
	w.awaitReason(subject, v1alpha1.ReasonRolledBack)
	return w
}

// withVerdict has two instances in the subject's group, which has some rules. Where
// nothing can be known, it is because the interfaces may not be read.
func withVerdict(status metav1.ConditionStatus, reason string, rules ...ecssim.Rule) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := newWorld(t, ecssim.Group{ID: theGroup, Policy: "Accept", VpcID: "vpc-1", OwnRules: rules})
		for id, address := range map[string]string{"i-bp1a": "10.0.0.1", "i-bp1b": "10.0.0.2"} {
			w.sim.PutInstance(ecssim.Instance{Region: w.region, ID: id, VpcID: "vpc-1", Groups: []string{theGroup}, Addresses: []string{address}})
		}
		if status == metav1.ConditionUnknown {
			w.sim.PutKey(ecssim.Key{ID: testKey, Secret: testSecret, Deny: []string{ecs.ActionInterfaces}})
		}
		w.subject(verified)
		w.start()
		w.awaitReason(subject, v1alpha1.ReasonInSync)
		w.awaitIsolated(subject, status, reason)
		return w
	}
}

// differingWithVerdict has an Accept that the operator only reports.
func differingWithVerdict(t *testing.T) *world {
	w := inState(v1alpha1.ReasonDriftDetected, observeOnly, verified)(t)
	w.awaitIsolated(subject, metav1.ConditionFalse, v1alpha1.ReasonNotDrop)
	return w
}
