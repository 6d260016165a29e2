package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

const (
	webGroup, dataGroup = "sg-bp1web", "sg-bp1data"
	// web and data are each the name of a source, of its Kustomization and of its policy.
	web, data = "web-tier", "data-tier"
)

func manifest(name, group, desired, more string) string {
	return fmt.Sprintf(`apiVersion: ecs.alibabacloud.com/v1alpha1
kind: SecurityGroupPolicy
metadata: {name: %s, namespace: %s}
spec: {regionId: %s, securityGroupId: %s, innerAccessPolicy: %s%s}
---
`, name, namespace, region, group, desired, more)
}

// applyAndWait has Flux apply a policy before there is an operator.
func (w *world) applyAndWait(ctx context.Context) error {
	revision, err := w.begin(ctx, web, kustomization(web), manifest(web, webGroup, "drop", ", deletionPolicy: Restore"))
	if err != nil {
		return err
	}
	err = w.until(ctx, "Flux waits", func(ctx context.Context) error {
		k, err := w.kustomization(ctx, web)
		if err == nil && !strings.Contains(k.condition("Reconciling", "message"), "health checks") {
			err = fmt.Errorf("it says %v", k.status())
		}
		return err
	})
	if err != nil {
		return err
	}
	if p, err := w.policy(ctx, web); err != nil || p.Status.ObservedGeneration != -1 {
		return fmt.Errorf("applied without an operator: %+v, %w", p, err)
	}
	w.saw("Flux applies the policy, and waits while its observedGeneration is -1")
	if err := w.startManager(ctx); err != nil {
		return err
	}
	if err := w.untilApplied(ctx, web, revision); err != nil {
		return err
	}
	p, err := w.policy(ctx, web)
	if err != nil || !apimeta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) || w.cloud(webGroup) != "Drop" {
		return fmt.Errorf("the Kustomization is Ready, and the policy is not: %+v, group %s, %w", p.Status, w.cloud(webGroup), err)
	}
	w.saw("the Kustomization becomes Ready when the policy is, and the group drops")
	return nil
}

// applyAgain has Flux apply what it has applied, over the operator's status and
// finalizer.
func (w *world) applyAgain(ctx context.Context) error {
	before, err := w.policy(ctx, web)
	if err != nil {
		return err
	}
	if err := w.untilAppliedAgain(ctx, web, "again"); err != nil {
		return err
	}
	after, err := w.policy(ctx, web)
	if err != nil || after.ResourceVersion != before.ResourceVersion || len(after.Finalizers) != 1 {
		return fmt.Errorf("the policy was written: %+v, then %+v, %w", before, after, err)
	}
	w.saw("Flux applies the policy again, and nothing is written")
	return nil
}

// approve annotates a policy as kubectl does, and under a name of its own.
func (w *world) approve(ctx context.Context) error {
	for manager, kept := range map[client.FieldOwner]bool{"kubectl-annotate": false, "approver": true} {
		p, err := w.policy(ctx, web)
		if err != nil {
			return err
		}
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"%d"}}}`, v1alpha1.AnnotationApprove, p.Generation)
		if err := w.cluster.Client.Patch(ctx, p, client.RawPatch(types.MergePatchType, patch), manager); err != nil {
			return err
		}
		if err := w.untilAppliedAgain(ctx, web, string(manager)); err != nil {
			return err
		}
		if p, err = w.policy(ctx, web); err != nil {
			return err
		}
		if _, has := p.Annotations[v1alpha1.AnnotationApprove]; has != kept {
			return fmt.Errorf("the annotation that %s has set is there after Flux has applied again: %v", manager, has)
		}
	}
	w.saw("Flux removes an approval that kubectl has set, and leaves one that has a field manager of its own")
	return nil
}

// failEarly adds a policy of a group that does not exist.
func (w *world) failEarly(ctx context.Context) error {
	_, err := w.publish(ctx, web, "v2", manifest(web, webGroup, "drop", ", deletionPolicy: Restore")+manifest("lost", "sg-none", "drop", ""))
	if err != nil {
		return err
	}
	if err := w.untilFailed(ctx, web, "lost"); err != nil {
		return err
	}
	w.saw("the Kustomization fails early on a policy that is Stalled")
	return nil
}

// prune takes both policies from the source.
func (w *world) prune(ctx context.Context) error {
	revision, err := w.publish(ctx, web, "v3", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: rest, namespace: "+namespace+"}\n")
	if err != nil {
		return err
	}
	err = w.until(ctx, "Flux prunes", func(ctx context.Context) error {
		p, err := w.policy(ctx, web)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it is there: %+v", p.ObjectMeta)
		}
		return err
	})
	if err != nil {
		return err
	}
	if w.cloud(webGroup) != "Accept" {
		return errors.New("the policy is gone, and the original value is not back")
	}
	if err := w.untilApplied(ctx, web, revision); err != nil {
		return err
	}
	w.saw("Flux prunes the policies, and Restore puts the original value back before the resource goes")
	return nil
}

// observe has Flux judge by the expressions that docs/gitops.md recommends.
func (w *world) observe(ctx context.Context) error {
	expressions := &unstructured.Unstructured{}
	text, err := os.ReadFile(filepath.Join(w.root, "config", "flux", "health-check-exprs.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, expressions)
	}
	if err != nil {
		return err
	}
	list, _, err := unstructured.NestedSlice(expressions.Object, "spec", "healthCheckExprs")
	if err != nil {
		return err
	}
	k := kustomization(data)
	k.Object["spec"].(map[string]any)["healthCheckExprs"] = list
	if _, err := w.begin(ctx, data, k, manifest(data, dataGroup, "drop", ", managementPolicy: Observe")); err != nil {
		return err
	}
	if err := w.untilFailed(ctx, data, data); err != nil {
		return err
	}
	w.saw("with the expressions, it fails early on a difference that is only observed")
	return nil
}

func (w *world) suspend(ctx context.Context) error {
	revision, err := w.publish(ctx, data, "v2", manifest(data, dataGroup, "drop", ", suspend: true"))
	if err != nil {
		return err
	}
	if err := w.untilApplied(ctx, data, revision); err != nil {
		return err
	}
	if w.cloud(dataGroup) != "Accept" {
		return errors.New("a suspended policy has changed its group")
	}
	w.saw("with the expressions, it is Ready with a suspended policy")
	return nil
}

// uninstall deletes a Kustomization that waits for its policies, of which one takes a
// while to put the original value back.
func (w *world) uninstall(ctx context.Context) error {
	revision, err := w.publish(ctx, data, "v3", manifest(data, dataGroup, "drop", ", deletionPolicy: Restore"))
	if err != nil {
		return err
	}
	if err := w.untilApplied(ctx, data, revision); err != nil {
		return err
	}
	w.sim.Inject(ecssim.Fault{Kind: ecssim.HangBefore, GroupID: dataGroup, Action: "ModifySecurityGroupPolicy", Times: 1, Delay: 3 * time.Second})
	k := kustomization(data)
	patch := []byte(`{"spec":{"deletionPolicy":"WaitForTermination"}}`)
	if err := w.cluster.Client.Patch(ctx, k, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	if err := w.cluster.Client.Delete(ctx, k); err != nil {
		return err
	}
	err = w.until(ctx, "the Kustomization goes", func(ctx context.Context) error {
		k, err := w.kustomization(ctx, data)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it says %v", k.status())
		}
		return err
	})
	if err != nil {
		return err
	}
	if p, err := w.policy(ctx, data); !apierrors.IsNotFound(err) || w.cloud(dataGroup) != "Accept" {
		return fmt.Errorf("the Kustomization is gone before its policy: %+v, group %s, %w", p, w.cloud(dataGroup), err)
	}
	w.saw("a Kustomization with deletionPolicy WaitForTermination goes after its policies have put back the original values")
	return nil
}
