// Package cluster reads what a cluster declares, for people who want to know. It reads
// and never writes.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// Options say which cluster, and what of it.
type Options struct {
	// Kubeconfig is a file; what kubectl would read if it is empty.
	Kubeconfig string
	// Context of the kubeconfig; its current one if it is empty.
	Context string
	// Namespace of the resources; all if it is empty.
	Namespace string
	// Selector of the resources' labels; all if it is empty.
	Selector string
}

// Snapshot is what was read.
type Snapshot struct {
	// Server is the address of the API server.
	Server   string
	Policies []v1alpha1.SecurityGroupPolicy
	// Claims say who holds which group; nil if they may not be read.
	Claims []v1alpha1.SecurityGroupClaim
	// Managers are the leases of managers; nil if they may not be read.
	Managers []Manager
}

// Manager is the lease of one, or of those of a shard.
type Manager struct {
	// Lease is its namespace and name.
	Lease string
	// Renewed is when its holder was last alive.
	Renewed time.Time
	// Alive says that it was renewed lately enough to count.
	Alive bool
}

// page is how many resources are read at a time.
const page = 500

// leasePrefix is what the names of managers' leases begin with, unless they are told.
const leasePrefix = "sgp-operator"

// Read reads the resources of a cluster. Claims and leases are left out where they may
// not be read: resources alone say most of it.
func Read(ctx context.Context, o Options, now func() time.Time) (*Snapshot, error) {
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return nil, fmt.Errorf("--selector: %w", err)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to read: set KUBECONFIG, --kubeconfig or --context: %w", err)
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(coordinationv1.AddToScheme(scheme))
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Server: config.Host}
	options := []client.ListOption{client.InNamespace(o.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.Limit(page)}
	var policies v1alpha1.SecurityGroupPolicyList
	err = all(ctx, reader, &policies, func() { s.Policies = append(s.Policies, policies.Items...) }, options...)
	if err != nil {
		return nil, fmt.Errorf("the cluster's SecurityGroupPolicies cannot be read: %w", err)
	}
	var claims v1alpha1.SecurityGroupClaimList
	err = all(ctx, reader, &claims, func() { s.Claims = append(s.Claims, claims.Items...) }, client.Limit(page))
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("the cluster's SecurityGroupClaims cannot be read: %w", err)
	}
	return s, s.readManagers(ctx, reader, now())
}

// all reads a list page by page.
func all(ctx context.Context, reader client.Reader, list client.ObjectList, keep func(), options ...client.ListOption) error {
	for token := ""; ; {
		err := reader.List(ctx, list, append(options, client.Continue(token))...)
		if apierrors.IsResourceExpired(err) {
			return errors.New("its pages expired while they were read: try again")
		}
		if err != nil {
			return err
		}
		keep()
		if token = list.GetContinue(); token == "" {
			return nil
		}
	}
}

func (s *Snapshot) readManagers(ctx context.Context, reader client.Reader, now time.Time) error {
	var leases coordinationv1.LeaseList
	err := all(ctx, reader, &leases, func() {
		for i := range leases.Items {
			lease := &leases.Items[i]
			if !strings.HasPrefix(lease.Name, leasePrefix) || lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil {
				continue
			}
			renewed := lease.Spec.RenewTime.Time
			s.Managers = append(s.Managers, Manager{
				Lease: lease.Namespace + "/" + lease.Name, Renewed: renewed,
				Alive: now.Sub(renewed) < 2*time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second,
			})
		}
	}, client.Limit(page))
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}
