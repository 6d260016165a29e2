package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	// stepDeadline is how long a thing may take before it counts as not happened.
	stepDeadline = 30 * time.Second
	// tourDeadline keeps a tour on which nothing happens from taking one
	// stepDeadline after the other.
	tourDeadline = 2 * time.Minute
)

var errTour = errors.New("not everything happened as it should, see above")

type policy = v1alpha1.SecurityGroupPolicy

// tour is the way through what the operator does.
type tour struct {
	*stage
	board *board
	// samples by the name of the policy.
	policies map[string]*policy
	checks   []check
	// accountSeen is the reason of the ECSAccount that was shown last.
	accountSeen string
}

type check struct {
	what string
	err  error
}

func newTour(ctx context.Context, s *stage) (*tour, error) {
	t := &tour{stage: s, board: newBoard(s.out), policies: map[string]*policy{}}
	for _, sample := range s.samples {
		if sample.policy != nil {
			t.policies[sample.policy.Name] = sample.policy
		}
	}
	for _, name := range []string{unchangedGroup, changedGroup, observedGroup, borrowedGroup, missingGroup, lentGroup, refusedGroup} {
		if t.policies[name] == nil {
			return nil, fmt.Errorf("config/samples has no policy %s", name)
		}
	}
	go t.board.follow(ctx, s.Client)
	return t, nil
}

// take goes through every step, also when one did not happen.
func (t *tour) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, tourDeadline, fmt.Errorf("the tour took longer than %s", tourDeadline))
	defer cancel()
	for _, step := range []func(context.Context) error{
		t.importGroups, t.applySamples, t.drift, t.heal, t.restore, t.secondAccount, t.ownGroup,
	} {
		t.pause(ctx)
		err := step(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	for _, c := range t.checks {
		if c.err != nil {
			return errTour
		}
	}
	return nil
}

// pause lets a person read what one part of the tour has shown before the next.
func (t *tour) pause(ctx context.Context) {
	if once() {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
}

func (t *tour) applySamples(ctx context.Context) error {
	t.out.heading("2. The samples of config/samples are applied; each line below is a change as it happens.")
	t.board.header()
	if err := t.apply(ctx, func(s *sample) bool { return !s.ofAccount() }); err != nil {
		return err
	}

	t.expect(ctx, "a group that is as declared is Ready, and nothing was changed", unchangedGroup, func(p *policy) bool {
		return ready(p) == v1alpha1.ReasonInSync && p.Status.LastModification == nil
	})
	t.expect(ctx, "a group that differs was changed, and its RequestId is in the status", changedGroup, changedBy(v1alpha1.CauseSpec))
	t.expect(ctx, "so was the group that is to be put back at deletion", borrowedGroup, changedBy(v1alpha1.CauseSpec))
	if p, ok := t.expect(ctx, "under Observe the difference is reported", observedGroup, func(p *policy) bool {
		return notReady(p) == v1alpha1.ReasonDriftDetected
	}); ok {
		t.inECS(ctx, "and the group left as it was", p, "Accept")
	}
	if p, ok := t.expect(ctx, "a group that does not exist fails with the code of ECS", missingGroup, func(p *policy) bool {
		return notReady(p) == v1alpha1.ReasonSecurityGroupNotFound && p.Status.LastError != nil &&
			p.Status.LastError.Code == "InvalidSecurityGroupId.NotFound" && p.Status.LastError.RequestID != ""
	}); ok {
		t.out.plain("\n   %s failed; its status.lastError says:", missingGroup)
		t.out.plain("     action: %s", p.Status.LastError.Action)
		t.out.plain("     code: %s", p.Status.LastError.Code)
		t.out.plain("     message: %s", p.Status.LastError.Message)
		t.out.plain("     requestId: %s", p.Status.LastError.RequestID)
	}
	return nil
}

// apply creates the samples that are chosen.
func (t *tour) apply(ctx context.Context, chosen func(*sample) bool) error {
	for _, s := range t.samples {
		if !chosen(&s) {
			continue
		}
		if err := t.create(ctx, []rig.Manifest{s.Manifest}); err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) create(ctx context.Context, manifests []rig.Manifest) error {
	for _, m := range manifests {
		if err := t.Client.Create(ctx, m.Object.DeepCopy()); err != nil {
			return fmt.Errorf("%s: %w", m.File, err)
		}
	}
	return nil
}

func (t *tour) drift(ctx context.Context) error {
	p := t.policies[unchangedGroup]
	t.out.heading("3. Somebody sets the group of %s to Drop by hand. The operator would see it within\n"+
		"   the resync interval; an annotation asks it to observe at once.", unchangedGroup)
	t.board.header()
	if err := t.simulator.SetPolicy(ctx, p.Spec.RegionID, p.Spec.SecurityGroupID, ecssim.Drop); err != nil {
		return err
	}
	t.out.line("%-16s set to Drop behind the operator's back", p.Spec.SecurityGroupID)
	if err := t.askToObserve(ctx, p); err != nil {
		return err
	}
	if p, ok := t.expect(ctx, "a drift made by hand was put right, with its RequestId", unchangedGroup, changedBy(v1alpha1.CauseDrift)); ok {
		t.inECS(ctx, "and the group really is Accept again", p, "Accept")
	}
	return nil
}

func (t *tour) heal(ctx context.Context) error {
	p := t.policies[missingGroup]
	t.out.heading("4. The group that %s names is created after all.", missingGroup)
	t.board.header()
	if err := t.simulator.PutGroups(ctx, ecssim.Group{Region: p.Spec.RegionID, ID: p.Spec.SecurityGroupID}); err != nil {
		return err
	}
	t.out.line("%-16s created in %s, with Accept", p.Spec.SecurityGroupID, p.Spec.RegionID)
	if err := t.askToObserve(ctx, p); err != nil {
		return err
	}
	t.expect(ctx, "the failed policy healed once its group existed", missingGroup, func(p *policy) bool {
		return changedBy(v1alpha1.CauseSpec)(p) && p.Status.LastError == nil
	})
	return nil
}

func (t *tour) restore(ctx context.Context) error {
	p := t.policies[borrowedGroup].DeepCopy()
	t.out.heading("5. %s has deletionPolicy Restore, and is deleted.", borrowedGroup)
	t.board.header()
	if err := t.Client.Delete(ctx, p); err != nil {
		return err
	}
	if _, ok := t.expect(ctx, "a policy with deletionPolicy Restore could be deleted", borrowedGroup, func(p *policy) bool {
		return p == nil
	}); ok {
		t.inECS(ctx, "and its group got its original value back", p, "Accept")
	}
	return nil
}

// askToObserve sets the annotation that has the cloud observed at once.
func (t *tour) askToObserve(ctx context.Context, p *policy) error {
	now := time.Now().Format(time.RFC3339Nano)
	t.out.line("%-16s annotated: reconcile-requested-at=%s", p.Name, now)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReconcileRequestedAt, now)
	return t.Client.Patch(ctx, p.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// expect waits for something to happen to a policy, and remembers whether it did.
func (t *tour) expect(ctx context.Context, what, name string, ok func(*policy) bool) (*policy, bool) {
	deadline, cancel := context.WithTimeout(ctx, stepDeadline)
	defer cancel()
	c := check{what: what}
	var p *policy
	_ = t.out.patiently("waiting for "+name, func() error {
		var happened bool
		if p, happened = t.board.await(deadline, name, ok); !happened {
			c.err = fmt.Errorf("%s did not get there in time", name)
		}
		return nil
	})
	t.checks = append(t.checks, c)
	return p, c.err == nil
}

// inECS asks the simulator itself.
func (t *tour) inECS(ctx context.Context, what string, p *policy, want string) {
	group, err := t.simulator.Group(ctx, p.Spec.RegionID, p.Spec.SecurityGroupID)
	if err == nil && group.Policy != want {
		err = fmt.Errorf("%s is %s", p.Spec.SecurityGroupID, group.Policy)
	}
	t.checks = append(t.checks, check{what: what, err: err})
}

// summary says what happened and what did not, and shows what kubectl shows.
func (t *tour) summary(ctx context.Context) {
	t.out.heading("What should happen, and did:")
	for _, c := range t.checks {
		if c.err == nil {
			t.out.plain("  ✓ %s", c.what)
		} else {
			t.out.plain("  ✗ %s: %v", c.what, c.err)
		}
	}
	kubectl := t.kubectl()
	if kubectl == "" {
		t.out.heading("How things stand:")
		t.board.table()
		return
	}
	for _, args := range [][]string{{"get", "sgp", "-A"}, {"get", "sgclaim"}, {"get", "ecsaccount"}} {
		cmd := exec.CommandContext(ctx, kubectl, args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+t.Kubeconfig)
		text, err := cmd.CombinedOutput()
		t.out.heading("kubectl %s", strings.Join(args, " "))
		t.out.plain("%s", strings.TrimRight(string(text), "\n"))
		if err != nil {
			t.out.plain("%v", err)
		}
	}
}

func (t *tour) howToLook() {
	t.howToImport()
	p := t.policies[changedGroup]
	t.out.heading("Look around:")
	t.out.plain("  kubectl get securitygrouppolicies.ecs.alibabacloud.com -A -o wide")
	t.out.plain("  kubectl -n %s describe securitygrouppolicies.ecs.alibabacloud.com %s", p.Namespace, changedGroup)
	t.out.plain("  kubectl -n %s get events.events.k8s.io", p.Namespace)
	t.out.plain("  kubectl explain securitygrouppolicies.ecs.alibabacloud.com.spec")
	t.out.plain("Make a drift of your own, and have it observed:")
	t.out.plain(`  curl -X PUT %s/policy -H 'Content-Type: application/json' -d '{"policy":"Accept"}'`, t.simulator.GroupURL(p.Spec.RegionID, p.Spec.SecurityGroupID))
	t.out.plain(`  kubectl -n %s annotate securitygrouppolicies.ecs.alibabacloud.com %s --overwrite %s="$(date)"`, p.Namespace, changedGroup, v1alpha1.AnnotationReconcileRequestedAt)
	t.out.plain("Let %s use the account %s after all:", refusedGroup, accountName)
	t.out.plain("  kubectl label namespace %s ecs.alibabacloud.com/account=%s", t.policies[refusedGroup].Namespace, accountName)
	t.out.plain("\nChanges go on being shown here. Ctrl-C ends the demo and everything that it has started.")
	t.board.header()
}

// ready is the reason of a Ready condition that is True, and notReady of one that
// is False, both of the present spec only.
func ready(p *policy) string    { return reason(p, metav1.ConditionTrue) }
func notReady(p *policy) string { return reason(p, metav1.ConditionFalse) }

func reason(p *policy, status metav1.ConditionStatus) string {
	if p == nil || p.Status.ObservedGeneration != p.Generation {
		return ""
	}
	c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Status != status {
		return ""
	}
	return c.Reason
}

// changedBy is true of a policy that is Ready after a change with this cause.
func changedBy(cause v1alpha1.ModificationCause) func(*policy) bool {
	return func(p *policy) bool {
		if ready(p) != v1alpha1.ReasonInSync || p.Status.LastModification == nil {
			return false
		}
		return p.Status.LastModification.Cause == cause && p.Status.LastModification.RequestID != ""
	}
}
