package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// importOptions are the flags of import.
type importOptions struct {
	cloudFlags
	selection
	target
	tags               []string
	account, namespace string
	enforce            bool
}

// ownAccount is the account whose keys are the process's own.
const ownAccount = "env"

const importHelp = `Import reads the inner access policy of security groups and writes a
SecurityGroupPolicy for each, at the value that it has: applied, they change nothing.
They have managementPolicy Observe, so that the operator reports a difference and
writes nothing to the cloud, unless --enforce says otherwise.

It calls ECS alone, by DescribeSecurityGroups and DescribeSecurityGroupAttribute, and
never a cluster. Its credentials are those that the manager has of its own, from the
environment: ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET, RRSA, or --instance-role.
Advanced (enterprise) groups and those of cloud products have no policy that could be
declared: they are left out, and counted.

Exit code: 0 every group that was asked for is written, 1 some or all are not (what
could be read is written; the others are named), 2 a wrong flag, 130 stopped by a
signal.`

const importExample = `  # to standard output
  %[1]s import --region cn-hangzhou
  # a folder for kustomize, of two regions, for the ECSAccount prod in namespace net
  %[1]s import --region cn-hangzhou,cn-beijing --account prod -n net -f groups
  # only what is tagged and named so
  %[1]s import --region cn-hangzhou --tag env=prod --name 'web-*' -o web.yaml`

func (p Process) importCommand() *cobra.Command {
	o := &importOptions{}
	name, _ := displayName(p.Args)
	command := &cobra.Command{
		Use: "import --region REGION [-f DIR | -o FILE]", Short: "Write manifests for the security groups that there are",
		Long: importHelp, Example: fmt.Sprintf(importExample, name), DisableFlagsInUseLine: true,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return p.runImport(c.Context(), o) },
	}
	f := command.Flags()
	f.SortFlags = false
	f.StringSliceVar(&o.regions, "region", nil, "Region of the groups; repeatable, or separated by commas. Required.")
	f.StringVar(&o.account, "account", ownAccount, "Name of the ECSAccount for the manifests' accountRef; env leaves it out, for the account called default. Whatever it is, the keys of the import come from the environment: use those of that account.")
	f.StringVar(&o.vpc, "vpc", "", "Only groups of this VPC.")
	f.StringArrayVar(&o.tags, "tag", nil, "Only groups with this tag, KEY=VALUE, or KEY for any value; repeatable: all must match.")
	f.StringVar(&o.name, "name", "", "Only groups of this name; * stands for any characters and ? for one.")
	f.StringVarP(&o.namespace, "namespace", "n", "", "Namespace of the manifests; none by default.")
	f.StringVarP(&o.folder, "folder", "f", "", "Folder for a file for each group and a kustomization.yaml; it must be empty or not exist.")
	f.StringVarP(&o.file, "output", "o", "", "File for all manifests; it must not exist. Without -f and -o, or with -, they go to standard output.")
	f.BoolVar(&o.enforce, "enforce", false, "Write managementPolicy Enforce: the operator will keep the groups at today's values.")
	f.BoolVar(&o.force, "force", false, "Overwrite. Other files of the folder stay, and are not in its kustomization.yaml.")
	o.register(f)
	completeRegions(command)
	_, _ = command.MarkFlagDirname("folder"), command.MarkFlagFilename("output", "yaml", "yml")
	return command
}

var (
	// accountForm is that of an ECSAccount's name, and namespaceForm of a namespace's.
	accountForm   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
	namespaceForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// complete checks the flags, and brings them into the form that they are used in.
func (o *importOptions) complete() error {
	slices.Sort(o.regions)
	o.regions = slices.Compact(o.regions)
	if len(o.regions) == 0 {
		return misused("--region is missing: name at least one, such as --region cn-hangzhou")
	}
	if !accountForm.MatchString(o.account) {
		return misused("--account %q: use env, or the name of an ECSAccount: lower-case letters, digits, hyphens and dots", o.account)
	}
	if o.namespace != "" && !namespaceForm.MatchString(o.namespace) {
		return misused("--namespace %q: use lower-case letters, digits and hyphens, 63 at most", o.namespace)
	}
	if _, err := path.Match(o.name, ""); err != nil {
		return misused("--name %q is no pattern: use * and ? for what may differ", o.name)
	}
	o.selection.tags = map[string]*string{}
	for _, tag := range o.tags {
		key, value, hasValue := strings.Cut(tag, "=")
		if key == "" {
			return misused("--tag %q: use KEY=VALUE, or KEY", tag)
		}
		o.selection.tags[key] = nil
		if hasValue {
			o.selection.tags[key] = &value
		}
	}
	return o.check()
}

func (o *importOptions) stamp() stamp {
	s := stamp{namespace: o.namespace, management: v1alpha1.ManagementObserve}
	if o.enforce {
		s.management = v1alpha1.ManagementEnforce
	}
	if o.account != ownAccount {
		s.account = o.account
	}
	return s
}

func (p Process) runImport(ctx context.Context, o *importOptions) error {
	if err := o.complete(); err != nil {
		return err
	}
	client, err := o.client(p, o.regions)
	if err != nil {
		return err
	}
	progress := newProgress(p, false)
	f := fetch{client: client, qps: o.qps, progress: progress}
	found, err := f.run(ctx, &o.selection)
	if err != nil {
		if found.wanted == 0 {
			return fmt.Errorf("%w while listing: %d groups were listed; nothing was written", err, progress.lists.Load())
		}
		return fmt.Errorf("%w: %d of %d groups were read; nothing was written", err, progress.reads.Load(), found.wanted)
	}
	all := nameAll(found.groups)
	written, err := o.write(ctx, all, o.stamp(), p.Stdout)
	if err != nil {
		return fmt.Errorf("%w: %d of %d manifests were written to %s", err, written, len(all), o.target)
	}
	found.summarize(p.Stderr, written, o.target)
	return found.incomplete(written)
}

// incomplete is what of the groups is missing in what was written.
func (f *found) incomplete(written int) error {
	unread, unlisted := f.wanted-written, f.unlisted()
	switch {
	case len(f.failures) == 0:
		return nil
	case unlisted == "":
		return fmt.Errorf("%d of %d groups could not be read, as said above", unread, f.wanted)
	case unread == 0:
		return fmt.Errorf("not all groups are known of %s, as said above", unlisted)
	}
	return fmt.Errorf("%d of %d groups could not be read, as said above; not all groups are known of %s", unread, f.wanted, unlisted)
}

// unlisted names the regions of which not every group is known.
func (f *found) unlisted() string {
	var regions []string
	for _, failed := range f.failures {
		if e, ok := errors.AsType[*ecs.Error](failed.err); failed.id == "" && ok && e.Action == ecs.ActionList {
			regions = append(regions, failed.region)
		}
	}
	return strings.Join(regions, ", ")
}

// maxNamed is how many groups are named for each reason of a failure.
const maxNamed = 5

// summarize tells what was done, what was left out, and what has failed.
func (f *found) summarize(w io.Writer, written int, to target) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	for _, reason := range byReason(f.failures) {
		say("%s", reason)
	}
	say("%d of %d groups written to %s", written, f.wanted, to)
	for _, left := range []struct {
		n   int
		why string
	}{
		{f.enterprise, "advanced (enterprise), always isolated"},
		{f.managed, "managed by a cloud product"},
		{f.gone, "deleted meanwhile"},
	} {
		if left.n > 0 {
			say("left out: %d %s", left.n, left.why)
		}
	}
	if written == 0 && len(f.failures) == 0 {
		say("nothing to write: there are no groups that match")
	}
}

// byReason puts failures of the same kind into one line each, in a stable order.
func byReason(failures []failure) (lines []string) {
	type reason struct{ region, action, code string }
	named := map[reason][]string{}
	first := map[reason]failure{}
	var order []reason
	for _, f := range failures {
		r := reason{region: f.region}
		if e, ok := errors.AsType[*ecs.Error](f.err); ok {
			r.action, r.code = e.Action, e.Code
		}
		if _, known := first[r]; !known {
			first[r] = f
			order = append(order, r)
		}
		if f.id != "" {
			named[r] = append(named[r], f.id)
		}
	}
	for _, r := range order {
		line := r.region + ": " + explain(first[r].err)
		if ids := named[r]; len(ids) > 0 {
			line += "; not read: " + strings.Join(ids[:min(len(ids), maxNamed)], ", ")
			if more := len(ids) - maxNamed; more > 0 {
				line += fmt.Sprintf(" and %d more", more)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// explain tells an error, and what to do about it.
func explain(err error) string {
	e, ok := errors.AsType[*ecs.Error](err)
	if !ok {
		return err.Error()
	}
	switch {
	case e.Class == ecs.Denied && !e.RefusesCredential():
		return e.Error() + ": allow ecs:" + cmp.Or(e.Action, "DescribeSecurityGroups") + " to the key in RAM"
	case e.Class == ecs.Denied:
		return e.Error() + ": the credentials are refused; check them, and that a temporary key has not expired"
	}
	return e.Error()
}
