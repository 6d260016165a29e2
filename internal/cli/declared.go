package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/claims"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/failures"
	"github.com/sgp-operator/sgp-operator/internal/manifests"
	"github.com/sgp-operator/sgp-operator/internal/policy"
	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// sourceFlags say where manifests are, and whose keys the environment holds.
type sourceFlags struct {
	manifests.Sources
	account string
}

func (s *sourceFlags) register(f *pflag.FlagSet) {
	f.StringArrayVarP(&s.Files, "filename", "f", nil, "File of manifests, or folder, whose own files count; - for standard input. Repeatable.")
	f.StringArrayVarP(&s.Trees, "recursive", "R", nil, "Folder of manifests, with the folders below. Repeatable.")
	f.StringArrayVarP(&s.Kustomizations, "kustomize", "k", nil, "Folder that kustomize builds. Repeatable.")
	f.StringVar(&s.account, "account", "", "Name of the ECSAccount whose keys the environment holds: only its resources are compared; env for the account called default. Needed where the manifests name several.")
}

func (s *sourceFlags) given() bool { return len(s.Files)+len(s.Trees)+len(s.Kustomizations) > 0 }

func (s *sourceFlags) String() string {
	return strings.Join(slices.Concat(s.Files, s.Trees, s.Kustomizations), ", ")
}

// declaration is a resource, and what was observed of its group.
type declaration struct {
	*manifests.Resource
	observed string
	err      error // why it was not observed
}

func (d *declaration) account() string {
	if ref := d.Policy.Spec.AccountRef; ref != nil {
		return ref.Name
	}
	return v1alpha1.DefaultAccountName
}

// declared is what manifests declare.
type declared struct {
	declarations []declaration
	problems     []manifests.Problem
	// others is how many resources are of other accounts, and left aside.
	others int
}

// read reads the manifests, and leaves aside what is of another account.
func (s *sourceFlags) read(ctx context.Context, p Process) (*declared, error) {
	resources, problems, err := s.load(ctx, p.Stdin)
	if err != nil {
		return nil, err
	}
	d := &declared{problems: problems}
	var accounts []string
	for i := range resources {
		one := declaration{Resource: &resources[i]}
		accounts = append(accounts, one.account())
		if s.account == "" || one.account() == s.account || s.account == ownAccount && one.account() == v1alpha1.DefaultAccountName {
			d.declarations = append(d.declarations, one)
		} else {
			d.others++
		}
	}
	slices.Sort(accounts)
	switch accounts = slices.Compact(accounts); {
	case len(resources) == 0 && len(problems) == 0:
		return nil, misused("there is no SecurityGroupPolicy in %s", s)
	case len(accounts) > 1 && s.account == "":
		return nil, misused("the manifests are of several accounts (%s), and the environment's keys of one: name it with --account, and compare each by itself", strings.Join(accounts, ", "))
	}
	return d, nil
}

// load reads the manifests. A pipe that says nothing keeps nobody from stopping.
func (s *sourceFlags) load(ctx context.Context, stdin io.Reader) ([]manifests.Resource, []manifests.Problem, error) {
	s.Stdin = stdin
	done := make(chan struct{})
	var found []manifests.Resource
	var wrong []manifests.Problem
	var failed error
	go func() {
		defer close(done)
		found, wrong, failed = manifests.Read(ctx, s.Sources)
	}()
	select {
	case <-done:
		return found, wrong, failed
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%w while reading the manifests", errStopped)
	}
}

// Reasons beside those of manifests and of the API's conditions.
const unknownRegion = "UnknownRegion"

// check finds what can be known to be wrong without the cloud: regions that nobody
// knows, and groups that two resources want.
func (d *declared) check(known ecs.Regions) {
	wanted := map[claims.Group]*manifests.Resource{}
	d.declarations = slices.DeleteFunc(d.declarations, func(one declaration) bool {
		spec := &one.Policy.Spec
		if !known.Known(spec.RegionID) {
			d.problems = append(d.problems, one.Problem("spec.regionId", unknownRegion, fmt.Sprintf("%q is no region of ECS that is known", spec.RegionID),
				"correct it, or add it with --extra-regions="+spec.RegionID+", here and in the manager"))
			return true
		}
		if !claims.Wants(&one.Policy) {
			return false
		}
		group := claims.GroupOf(&one.Policy)
		if first, twice := wanted[group]; twice {
			d.problems = append(d.problems, one.Problem("spec.securityGroupId", v1alpha1.ReasonConflict,
				fmt.Sprintf("%s in %s wants the same group: one of the two gets it, and the other waits", manifests.ResourceName(first.Policy.Namespace, first.Policy.Name), first),
				"remove one of them, or set its managementPolicy to Observe"))
			return true
		}
		wanted[group] = one.Resource
		return false
	})
}

// observed reads manifests, checks them, and observes their groups.
func (p Process) observed(ctx context.Context, cloud *cloudFlags, sources *sourceFlags, machine bool) (*declared, *ecs.Client, error) {
	known, err := cloud.known()
	if err != nil {
		return nil, nil, err
	}
	declared, err := sources.read(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	declared.check(known)
	client, err := cloud.client(p, nil)
	if err != nil {
		return nil, nil, err
	}
	return declared, client, declared.observe(ctx, client, cloud.qps, newProgress(p, machine))
}

// observe reads the groups of all resources that are not suspended. What fails is kept
// with the resource.
func (d *declared) observe(ctx context.Context, client *ecs.Client, qps float64, progress *progress) error {
	type target struct {
		group
		of *declaration
	}
	byRegion := map[string][]target{}
	total := 0
	for i := range d.declarations {
		one := &d.declarations[i]
		if spec := &one.Policy.Spec; !spec.Suspend {
			g := group{region: spec.RegionID, id: spec.SecurityGroupID, owner: spec.OwnerAccount}
			byRegion[g.region] = append(byRegion[g.region], target{g, one})
			total++
		}
	}
	f := fetch{client: client, qps: qps, progress: progress}
	progress.reading(total)
	regions := make([][]group, 0, len(byRegion))
	for _, targets := range byRegion {
		groups := make([]group, len(targets))
		for i, t := range targets {
			groups[i] = t.group
		}
		regions = append(regions, groups)
	}
	f.readAll(ctx, regions)
	progress.end()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %d of %d groups were read", errStopped, progress.reads.Load(), total)
	}
	given := map[string]error{}
	for _, failed := range f.found.failures {
		if failed.id == "" {
			given[failed.region] = failed.err
		}
	}
	for _, groups := range regions {
		for i, g := range groups {
			one := byRegion[g.region][i].of
			one.observed, one.err = g.policy, g.err
			if g.policy == "" && g.err == nil {
				one.err = given[g.region]
			}
		}
	}
	return nil
}

// plan is what the operator would do that has no record of the group.
func (d *declaration) plan(now time.Time) policy.Plan {
	spec := &d.Policy.Spec
	intent := policy.Intent{Value: ecs.CanonicalPolicy(spec.InnerAccessPolicy), Enforce: spec.ManagementPolicy != v1alpha1.ManagementObserve}
	return policy.Decide(intent, policy.Record{}, d.observed, now)
}

// refuse finds the groups whose change ECS would refuse for what they are: an observation
// does not show it.
func (d *declared) refuse(ctx context.Context, client *ecs.Client, now time.Time) error {
	changes := map[string]map[string]*declaration{}
	for i := range d.declarations {
		one := &d.declarations[i]
		if spec := &one.Policy.Spec; one.observed != "" && one.plan(now).Action == policy.Modify {
			if changes[spec.RegionID] == nil {
				changes[spec.RegionID] = map[string]*declaration{}
			}
			changes[spec.RegionID][spec.SecurityGroupID] = one
		}
	}
	for region, groups := range changes {
		for ids := range slices.Chunk(slices.Sorted(maps.Keys(groups)), ecs.MaxListed) {
			if err := refuseSome(ctx, client, region, ids, groups); err != nil {
				return err
			}
		}
	}
	return nil
}

func refuseSome(ctx context.Context, client *ecs.Client, region string, ids []string, groups map[string]*declaration) error {
	listing := client.ListOf(region, ids)
	for !listing.Done() {
		var page []ecs.Listed
		err := persist(ctx, func() (wait time.Duration, err error) {
			page, wait, err = listing.Next(ctx, ratelimit.Edit)
			return wait, err
		})
		if errors.Is(err, errStopped) {
			return err
		}
		if err != nil {
			for _, id := range ids {
				groups[id].err = err
			}
			return nil
		}
		for _, g := range page {
			if one := groups[g.SecurityGroupID]; one != nil && g.Enterprise {
				one.err = &ecs.Error{Action: ecs.ActionList, Class: ecs.UnsupportedGroup}
			} else if one != nil && g.Managed {
				one.err = &ecs.Error{Action: ecs.ActionList, Class: ecs.ManagedGroup}
			}
		}
	}
	return nil
}

// failed is what a resource's failure says, by the words that its status would have.
func (d *declaration) failed() manifests.Problem {
	group := ecs.Group{RegionID: d.Policy.Spec.RegionID, SecurityGroupID: d.Policy.Spec.SecurityGroupID}
	kind := failures.Of(d.err)
	reason, message := failures.Words(kind, d.err, group, "ECS says: "+explain(d.err))
	field := "spec.securityGroupId"
	switch kind {
	case policy.NotFound, policy.UnsupportedGroup, policy.ManagedGroup, policy.Invalid:
	case policy.Unavailable, policy.Throttled, policy.Denied, policy.TokenRejected, policy.NoAccount, policy.NotAllowed:
		field, message = "", explain(d.err) // the manifest is not to blame
	}
	p := d.Problem(field, reason, message, "")
	if e, ok := errors.AsType[*ecs.Error](d.err); ok {
		p.Code, p.RequestID = e.Code, e.RequestID
	}
	return p
}

// sortProblems orders them by where they stand.
func sortProblems(problems []manifests.Problem) {
	slices.SortStableFunc(problems, func(a, b manifests.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}
