package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/manifests"
	"github.com/sgp-operator/sgp-operator/internal/policy"
)

// diffOptions are the flags of diff.
type diffOptions struct {
	cloudFlags
	sourceFlags
	output string
}

const diffHelp = `Diff says what applying manifests would change in the cloud. It reads the manifests,
checks them by the CRDs' own schemas and rules, observes each security group by
DescribeSecurityGroupAttribute, looks up what kind those are that would change by
DescribeSecurityGroups, and decides as the operator does. It writes nothing, to
the cloud or to a cluster, and needs no cluster.

The differences go to standard output, as a unified diff or as JSON; a difference that
would only be reported (managementPolicy Observe) is a comment and no difference. What is
wrong goes to standard error, with file, line, field and remedy. KUBECTL_EXTERNAL_DIFF
names another program for the diff, as it does for kubectl.

The keys are those of the environment, as for import. They are one account's: where the
manifests name several, choose with --account.

Exit code: 0 nothing would change, 1 something would, 2 a manifest is wrong, a group could
not be read, or a flag is wrong; 130 stopped by a signal.`

const diffExample = `  # the manifests of a folder and of those below
  %[1]s diff -R groups
  # what kustomize builds, for a machine
  %[1]s diff -k overlays/prod -o json
  # whatever a template makes
  helm template . | %[1]s diff -f -`

// Exit codes of diff, as kubectl diff has them.
const (
	exitDiffers = 1
	exitTrouble = 2
)

func (p Process) diffCommand() *cobra.Command {
	o := &diffOptions{}
	name, _ := displayName(p.Args)
	command := &cobra.Command{
		Use: "diff -f FILE | -R DIR | -k DIR", Short: "Say what applying manifests would change in the cloud",
		Long: diffHelp, Example: fmt.Sprintf(diffExample, name), DisableFlagsInUseLine: true,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return p.runDiff(c.Context(), o) },
	}
	f := command.Flags()
	f.SortFlags = false
	o.sourceFlags.register(f)
	f.StringVarP(&o.output, "output", "o", "", "json for a machine; a unified diff by default.")
	o.cloudFlags.register(f)
	return command
}

// reasonChange is the reason of a group beside those of the API's conditions.
const reasonChange = "Change"

// comparison is a group, as it is and as it is declared.
type comparison struct {
	manifests.Place
	Namespace        string `json:"namespace,omitempty"`
	Name             string `json:"name"`
	Account          string `json:"account"`
	RegionID         string `json:"regionId"`
	SecurityGroupID  string `json:"securityGroupId"`
	Declared         string `json:"declared"`
	Observed         string `json:"observed,omitempty"`
	ManagementPolicy string `json:"managementPolicy"`
	Reason           string `json:"reason"`
}

// difference is the answer of diff. Its form changes with its version only.
type difference struct {
	Version string `json:"version"`
	Summary struct {
		Change        int `json:"change"`
		ToAccept      int `json:"toAccept"`
		ToDrop        int `json:"toDrop"`
		InSync        int `json:"inSync"`
		DriftDetected int `json:"driftDetected"`
		Suspended     int `json:"suspended"`
		OtherAccounts int `json:"otherAccounts"`
		Problems      int `json:"problems"`
	} `json:"summary"`
	Groups   []comparison        `json:"groups"`
	Problems []manifests.Problem `json:"problems"`
}

const diffVersion = "sgp-operator.diff/v1"

// runDiff never fails with the code that says that something differs.
func (p Process) runDiff(ctx context.Context, o *diffOptions) error {
	d, err := p.diff(ctx, o)
	switch {
	case err != nil:
		return exitError{exitTrouble, err}
	case len(d.Problems) > 0:
		return exitError{exitTrouble, nil}
	case d.Summary.Change > 0:
		return exitError{exitDiffers, nil}
	}
	return nil
}

func (p Process) diff(ctx context.Context, o *diffOptions) (*difference, error) {
	if !o.given() {
		return nil, misused("nothing to compare: name manifests with -f, -R or -k")
	}
	if o.output != "" && o.output != "json" {
		return nil, misused("--output %q: use json, or leave it out", o.output)
	}
	declared, client, err := p.observed(ctx, &o.cloudFlags, &o.sourceFlags, o.output == "json")
	if err != nil {
		return nil, err
	}
	if err := declared.refuse(ctx, client, p.Now()); err != nil {
		return nil, err
	}
	d := compare(declared, p.Now())
	return d, p.write(ctx, d, o.output)
}

// compare decides about each group as the operator does that has no record of it.
func compare(declared *declared, now time.Time) *difference {
	d := &difference{Version: diffVersion, Groups: []comparison{}, Problems: append([]manifests.Problem{}, declared.problems...)}
	for i := range declared.declarations {
		one := &declared.declarations[i]
		if one.err != nil {
			d.Problems = append(d.Problems, one.failed())
			continue
		}
		spec := &one.Policy.Spec
		c := comparison{
			Place: one.Place, Namespace: one.Policy.Namespace, Name: one.Policy.Name, Account: one.account(),
			RegionID: spec.RegionID, SecurityGroupID: spec.SecurityGroupID, ManagementPolicy: string(spec.ManagementPolicy),
			Declared: ecs.CanonicalPolicy(spec.InnerAccessPolicy), Observed: one.observed,
		}
		if spec.Suspend {
			c.Reason = v1alpha1.ReasonSuspended
			d.Summary.Suspended++
		} else {
			d.count(&c, one.plan(now))
		}
		d.Groups = append(d.Groups, c)
	}
	sortProblems(d.Problems)
	d.Summary.OtherAccounts, d.Summary.Problems = declared.others, len(d.Problems)
	return d
}

func (d *difference) count(c *comparison, plan policy.Plan) {
	if plan.Action == policy.InSync {
		c.Reason = v1alpha1.ReasonInSync
		d.Summary.InSync++
		return
	}
	if plan.Action == policy.Report {
		c.Reason = v1alpha1.ReasonDriftDetected
		d.Summary.DriftDetected++
		return
	}
	c.Reason = reasonChange
	d.Summary.Change++
	if c.Declared == ecs.Accept {
		d.Summary.ToAccept++
	} else {
		d.Summary.ToDrop++
	}
}
