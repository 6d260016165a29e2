package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/cluster"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/manifests"
)

// auditOptions are the flags of audit.
type auditOptions struct {
	cloudFlags
	sourceFlags
	cluster cluster.Options
	output  string
}

const auditHelp = `Audit says of each security group what is declared, what was observed, since when and by
which RequestId, and whose job it is. A summary comes first. It writes nothing but the
report.

It reads the SecurityGroupPolicies of the cluster that kubectl would use, of all
namespaces unless -n names one; what was observed is what their statuses say, which is
true while a manager runs: the report says when each was last alive. So it is with the
verdict whether the members of a group are isolated, where spec.verifyIsolation asks for
it. With -f, -R or -k it reads manifests instead, such as an import, and observes their
groups itself, with the keys of the environment.

Exit code: 0 the report is whole, 1 something could not be read, 2 a wrong flag, 130
stopped by a signal. What is not as declared is in the report, and no failure.`

const auditExample = `  # a page to file
  %[1]s audit > audit.md
  # a table for a spreadsheet, of one namespace
  %[1]s audit -n net -o csv
  # what was imported, against the cloud of today
  %[1]s audit -R groups -o json`

func (p Process) auditCommand() *cobra.Command {
	o := &auditOptions{}
	name, _ := displayName(p.Args)
	command := &cobra.Command{
		Use: "audit [-n NAMESPACE] [-f FILE | -R DIR | -k DIR]", Short: "Report what is declared and observed of each group, and whose job it is",
		Long: auditHelp, Example: fmt.Sprintf(auditExample, name), DisableFlagsInUseLine: true,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return p.runAudit(c.Context(), o) },
	}
	f := command.Flags()
	f.SortFlags = false
	f.StringVarP(&o.output, "output", "o", "markdown", "markdown, csv or json.")
	f.StringVarP(&o.cluster.Namespace, "namespace", "n", "", "Namespace of the resources; all by default.")
	f.StringVarP(&o.cluster.Selector, "selector", "l", "", "Labels of the resources, such as team=web; all by default.")
	f.StringVar(&o.cluster.Kubeconfig, "kubeconfig", "", "Kubeconfig file; what kubectl would read by default.")
	f.StringVar(&o.cluster.Context, "context", "", "Context of the kubeconfig; its current one by default.")
	o.sourceFlags.register(f)
	o.cloudFlags.register(f)
	return command
}

// States of a group in an audit.
const (
	// stateAsDeclared is a group that is as declared.
	stateAsDeclared = "AsDeclared"
	// stateDiffers is a group that was observed to be otherwise.
	stateDiffers = "Differs"
	// stateNotKnown is a group that was not observed, or not since the last edit.
	stateNotKnown = "NotKnown"
	// stateSuspended is a group that nobody looks at.
	stateSuspended = "Suspended"
)

// audited is what is known of a group.
type audited struct {
	RegionID         string `json:"regionId"`
	SecurityGroupID  string `json:"securityGroupId"`
	Namespace        string `json:"namespace,omitempty"`
	Name             string `json:"name"`
	Account          string `json:"account"`
	ManagementPolicy string `json:"managementPolicy"`
	State            string `json:"state"`
	Declared         string `json:"declared"`
	Observed         string `json:"observed,omitempty"`
	// Since is from when on the group is as observed: when the operator changed it, or
	// the resource's condition.
	Since string `json:"since,omitempty"`
	// ChangedBy is the ECSAccount of the operator's change; empty if it found the
	// group so.
	ChangedBy string `json:"changedBy,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	// Job says who has to see to it.
	Job        string `json:"job"`
	DeclaredBy string `json:"declaredBy,omitempty"`
	Ready      string `json:"ready,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Message    string `json:"message,omitempty"`
	// Isolated is the verdict where the present spec asks for one: True, False or Unknown.
	Isolated string `json:"isolated,omitempty"`
	// Evidence is what the verdict follows from.
	Evidence string `json:"evidence,omitempty"`
	// ConfirmBy is when the change is put back unless somebody confirms it.
	ConfirmBy string `json:"confirmBy,omitempty"`
}

// auditReport is the answer of audit. Its form changes with its version only.
type auditReport struct {
	Version string `json:"version"`
	Time    string `json:"time"`
	Source  string `json:"source"`
	Summary struct {
		Groups     int `json:"groups"`
		AsDeclared int `json:"asDeclared"`
		Differs    int `json:"differs"`
		NotKnown   int `json:"notKnown"`
		Suspended  int `json:"suspended"`
		Accept     int `json:"accept"`
		Drop       int `json:"drop"`
		Observe    int `json:"observeOnly"`
		// Isolated and NotIsolated are those whose verdict says so.
		Isolated    int `json:"isolated"`
		NotIsolated int `json:"notIsolated"`
		Problems    int `json:"problems"`
	} `json:"summary"`
	Managers []string            `json:"managers"`
	Groups   []audited           `json:"groups"`
	Problems []manifests.Problem `json:"problems"`
}

const auditVersion = "sgp-operator.audit/v1"

func (p Process) runAudit(ctx context.Context, o *auditOptions) error {
	write, known := map[string]func(*auditReport) error{"markdown": p.auditMarkdown, "csv": p.auditCSV, "json": p.auditJSON}[o.output]
	if !known {
		return misused("--output %q: use markdown, csv or json", o.output)
	}
	r := &auditReport{Version: auditVersion, Time: p.Now().UTC().Format(time.RFC3339), Managers: []string{}, Groups: []audited{}, Problems: []manifests.Problem{}}
	read := r.readCluster
	if o.given() {
		read = r.readManifests
		if o.cluster != (cluster.Options{}) {
			return misused("-n, -l, --kubeconfig and --context are about a cluster, and -f, -R and -k read none")
		}
	}
	if err := read(ctx, p, o); err != nil {
		if ctx.Err() != nil && !errors.Is(err, errStopped) {
			return fmt.Errorf("%w while reading the cluster; nothing was reported", errStopped)
		}
		return err
	}
	r.summarize()
	if err := write(r); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		for i := range r.Problems {
			_, _ = fmt.Fprintln(p.Stderr, r.Problems[i].String())
		}
		return fmt.Errorf("%d manifests or groups could not be read, as said above", len(r.Problems))
	}
	return nil
}

// readManifests takes what manifests declare, and observes the groups.
func (r *auditReport) readManifests(ctx context.Context, p Process, o *auditOptions) error {
	declared, _, err := p.observed(ctx, &o.cloudFlags, &o.sourceFlags, o.output == "json")
	if err != nil {
		return err
	}
	r.Source = "manifests in " + o.String() + ", and the cloud"
	r.Problems = append(r.Problems, declared.problems...)
	for i := range declared.declarations {
		one := &declared.declarations[i]
		if one.err != nil {
			r.Problems = append(r.Problems, one.failed())
		}
		a := described(&one.Policy)
		a.Observed, a.DeclaredBy = one.observed, one.String()
		switch {
		case one.Policy.Spec.Suspend:
			a.State, a.Job = stateSuspended, "nobody: it is suspended"
		case one.observed == "":
			a.State, a.Job = stateNotKnown, "whoever reads this: "+one.failed().Message
		default:
			a.State, a.Job = compared(a.Declared, a.Observed), "the operator, once this is applied"
			if a.ManagementPolicy == string(v1alpha1.ManagementObserve) {
				a.Job = "people: the operator only reports"
			}
		}
		r.Groups = append(r.Groups, a)
	}
	sortProblems(r.Problems)
	return nil
}

// readCluster takes what a cluster declares, and what its statuses say.
func (r *auditReport) readCluster(ctx context.Context, p Process, o *auditOptions) error {
	s, err := cluster.Read(ctx, o.cluster, p.Now)
	if err != nil {
		return err
	}
	r.Source = "cluster " + s.Server
	if o.cluster.Namespace != "" {
		r.Source += ", namespace " + o.cluster.Namespace
	}
	if o.cluster.Selector != "" {
		r.Source += ", labels " + o.cluster.Selector
	}
	for _, m := range s.Managers {
		alive := "not alive"
		if m.Alive {
			alive = "alive"
		}
		r.Managers = append(r.Managers, fmt.Sprintf("%s: %s, last at %s", m.Lease, alive, m.Renewed.UTC().Format(time.RFC3339)))
	}
	holders := map[claims.Group]*v1alpha1.SecurityGroupClaim{}
	for i := range s.Claims {
		holders[claims.Of(&s.Claims[i])] = &s.Claims[i]
	}
	for i := range s.Policies {
		policy := &s.Policies[i]
		a := described(policy)
		a.fromStatus(policy)
		a.DeclaredBy = declaredBy(policy)
		a.Job = job(policy, holders[claims.GroupOf(policy)])
		r.Groups = append(r.Groups, a)
	}
	return nil
}

func described(p *v1alpha1.SecurityGroupPolicy) audited {
	a := audited{
		RegionID: p.Spec.RegionID, SecurityGroupID: p.Spec.SecurityGroupID, Namespace: p.Namespace, Name: p.Name,
		Account: v1alpha1.DefaultAccountName, Declared: ecs.CanonicalPolicy(p.Spec.InnerAccessPolicy),
		ManagementPolicy: cmp.Or(string(p.Spec.ManagementPolicy), string(v1alpha1.ManagementEnforce)),
	}
	if p.Spec.AccountRef != nil {
		a.Account = p.Spec.AccountRef.Name
	}
	return a
}

// fromStatus takes what the operator has recorded.
func (a *audited) fromStatus(p *v1alpha1.SecurityGroupPolicy) {
	status := &p.Status
	a.Observed = status.InnerAccessPolicy
	ready := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	if ready != nil {
		a.Ready, a.Reason, a.Message = string(ready.Status), ready.Reason, ready.Message
		a.Since = ready.LastTransitionTime.UTC().Format(time.RFC3339)
	}
	if last := status.LastModification; last != nil && last.To == a.Observed {
		a.Since, a.ChangedBy, a.RequestID = last.Time.UTC().Format(time.RFC3339), last.Account, last.RequestID
	}
	if c := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionIsolated); c != nil && p.Spec.VerifyIsolation && c.ObservedGeneration == p.Generation {
		a.Isolated, a.Evidence = string(c.Status), c.Message
	}
	if b := status.Rollback; awaitsConfirmation(p) {
		a.ConfirmBy = b.Deadline.UTC().Format(time.RFC3339)
	}
	switch {
	case p.Spec.Suspend:
		a.State = stateSuspended
	case a.Observed == "" || ready == nil || status.ObservedGeneration != p.Generation:
		a.State = stateNotKnown
	case compared(a.Declared, a.Observed) == stateAsDeclared && a.Ready != string(metav1.ConditionTrue):
		a.State = stateNotKnown // it was so when it was last observed
	default:
		a.State = compared(a.Declared, a.Observed)
	}
}

func compared(declared, observed string) string {
	if declared == observed {
		return stateAsDeclared
	}
	return stateDiffers
}

// summarize counts, and puts the groups into an order that does not change.
func (r *auditReport) summarize() {
	slices.SortFunc(r.Groups, func(a, b audited) int {
		return cmp.Or(strings.Compare(a.RegionID, b.RegionID), strings.Compare(a.SecurityGroupID, b.SecurityGroupID),
			strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	slices.Sort(r.Managers)
	s := &r.Summary
	s.Groups, s.Problems = len(r.Groups), len(r.Problems)
	for i := range r.Groups {
		a := &r.Groups[i]
		*map[string]*int{stateAsDeclared: &s.AsDeclared, stateDiffers: &s.Differs, stateNotKnown: &s.NotKnown, stateSuspended: &s.Suspended}[a.State]++
		switch a.Observed {
		case ecs.Accept:
			s.Accept++
		case ecs.Drop:
			s.Drop++
		}
		if a.ManagementPolicy == string(v1alpha1.ManagementObserve) {
			s.Observe++
		}
		switch a.Isolated {
		case string(metav1.ConditionTrue):
			s.Isolated++
		case string(metav1.ConditionFalse):
			s.NotIsolated++
		}
	}
}
