package main

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// The group of the demo's one node.
const (
	nodesGroup    = "cluster-nodes"
	nodesRegion   = "cn-beijing"
	nodesID       = "sg-2zenodes"
	nodesInstance = "i-2zenode1"
)

// ownGroup shows that a change which would cut the cluster off is held, and approved.
func (t *tour) ownGroup(ctx context.Context) error {
	t.out.heading("7. The cluster gets a node, on an ECS instance in the group %s, and somebody declares\n   Drop for that very group.", nodesID)
	t.board.header()
	if err := t.simulator.PutGroups(ctx, ecssim.Group{Region: nodesRegion, ID: nodesID, VpcID: "vpc-2zedemo"}); err != nil {
		return err
	}
	if err := t.simulator.PutInstances(ctx, ecssim.Instance{Region: nodesRegion, ID: nodesInstance, VpcID: "vpc-2zedemo", Groups: []string{nodesID}, Addresses: []string{"172.16.0.7"}}); err != nil {
		return err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Spec: corev1.NodeSpec{ProviderID: nodesRegion + "." + nodesInstance}}
	if err := t.Client.Create(ctx, node); err != nil {
		return err
	}
	like := t.policies[changedGroup]
	p := &policy{ObjectMeta: metav1.ObjectMeta{Name: nodesGroup, Namespace: like.Namespace},
		Spec: v1alpha1.SecurityGroupPolicySpec{RegionID: nodesRegion, SecurityGroupID: nodesID, InnerAccessPolicy: "Drop"}}
	t.policies[nodesGroup] = p
	if err := t.Client.Create(ctx, p.DeepCopy()); err != nil {
		return err
	}
	held, ok := t.expect(ctx, "a Drop that would cut the cluster off is held", nodesGroup, func(p *policy) bool {
		return notReady(p) == v1alpha1.ReasonApprovalRequired
	})
	if !ok {
		return nil
	}
	t.inECS(ctx, "and the group left as it was", held, "Accept")
	t.out.plain("\n   %s says:\n     %s\n", nodesGroup, apimeta.FindStatusCondition(held.Status.Conditions, v1alpha1.ConditionReady).Message)

	generation := strconv.FormatInt(held.Generation, 10)
	t.out.line("%-16s annotated: approve=%s", nodesGroup, generation)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationApprove, generation)
	if err := t.Client.Patch(ctx, held.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		return err
	}
	t.expect(ctx, "once it is approved, it is made", nodesGroup, changedBy(v1alpha1.CauseSpec))
	return nil
}
