package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgp-operator/sgp-operator/internal/conformance"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/version"
)

// conformanceOptions are the flags of conformance.
type conformanceOptions struct {
	cloudFlags
	region, vpc, secondKeyTag, cleanUp string
	aboveRate                          int
	dryRun                             bool
}

const (
	maxAboveRate = 10000
	// patience is how long a change may take to show, and watch for how long a group is
	// watched for a change that should not come.
	patience = 30 * time.Second
	watch    = time.Second
	// callsInStore are enough to see a change that shows soon.
	callsInStore = 5
	// allRuns is --cleanup for every run that has surely ended.
	allRuns = "all"
)

const conformanceHelp = `Conformance checks what this project assumes of ECS against the ECS that it is given,
and prints a report in Markdown. It makes security groups of its own in a VPC, without
members, named sgp-conformance-... and tagged sgp-operator-conformance, writes to those
alone, and deletes them in the end, also after Ctrl-C (a second Ctrl-C leaves them).

Its credentials are those that the manager has of its own, from the environment:
ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET, RRSA, or --instance-role. A second key, which may
read groups and not change them, is taken from SGP_SECOND_ACCESS_KEY_ID and
SGP_SECOND_ACCESS_KEY_SECRET (and SGP_SECOND_SECURITY_TOKEN). No key is printed.

Exit code: 0 all that was checked is as assumed, 1 something differs, or could not be
checked or deleted, 2 a wrong flag, 130 stopped by a signal.`

const conformanceExample = `  # what is checked, without a call
  %[1]s conformance --dry-run
  # all of it, and how many reads pass at once
  %[1]s conformance --region cn-hangzhou --vpc vpc-bp1abc --above-rate 500 > report.md
  # what a run has left that was killed
  %[1]s conformance --region cn-hangzhou --cleanup all`

func (p Process) conformanceCommand() *cobra.Command {
	o := &conformanceOptions{}
	name, _ := displayName(p.Args)
	command := &cobra.Command{
		Use: "conformance --region REGION --vpc VPC", Short: "Check what is assumed of ECS against the real one, on groups of its own",
		Long: conformanceHelp, Example: fmt.Sprintf(conformanceExample, name), DisableFlagsInUseLine: true,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return p.runConformance(c.Context(), name, o) },
	}
	f := command.Flags()
	f.SortFlags = false
	f.StringVar(&o.region, "region", "", "Region of the groups. Required.")
	f.StringVar(&o.vpc, "vpc", "", "VPC of the groups. Required.")
	f.IntVar(&o.aboveRate, "above-rate", 0, "Make up to so many reads at once, until one is refused for rate. Others who call ECS for this account are refused meanwhile as well.")
	f.StringVar(&o.secondKeyTag, "second-key-tag", "", "KEY=VALUE: the second key may change policies under this tag alone, by the condition acs:ResourceTag.")
	f.BoolVar(&o.dryRun, "dry-run", false, "List the checks, and call nothing.")
	f.StringVar(&o.cleanUp, "cleanup", "", "Check nothing; delete what the run of this id has left, or all, for what all runs have that began more than an hour ago.")
	o.register(f)
	return command
}

func (p Process) runConformance(ctx context.Context, name string, o *conformanceOptions) error {
	if o.dryRun {
		_, err := io.WriteString(p.Stdout, conformance.List())
		return err
	}
	if err := o.complete(); err != nil {
		return err
	}
	client, err := o.client(p, []string{o.region})
	if err != nil {
		return err
	}
	run := conformance.Options{
		Region: o.region, VPC: o.vpc, AboveRate: o.aboveRate, Version: version.Get().String(), Now: p.Now, Patience: patience, Watch: watch,
		Breath: min(watch, time.Duration(callsInStore/o.qps*float64(time.Second))),
	}
	run.Clients.Own = client
	if o.cleanUp != "" {
		return p.cleanUp(ctx, run, o)
	}
	if err := o.addClients(p, &run); err != nil {
		return err
	}
	run.SecondKeyTag.Key, run.SecondKeyTag.Value, _ = strings.Cut(o.secondKeyTag, "=")
	run.Begun = func(id string) {
		p.say("run %s: makes security groups named sgp-conformance-%s-* in %s of %s, writes to no others, and deletes them in the end, also after Ctrl-C", id, id, o.vpc, o.region)
	}
	report, err := conformance.Run(ctx, run)
	if len(report.Findings) > 0 {
		if _, printErr := io.WriteString(p.Stdout, report.Markdown()); printErr != nil {
			p.sayLeft(name, o, report)
			return printErr
		}
	}
	p.sayLeft(name, o, report)
	return outcome(ctx, report, err)
}

// complete checks the flags.
func (o *conformanceOptions) complete() error {
	switch key, _, pair := strings.Cut(o.secondKeyTag, "="); {
	case o.region == "":
		return misused("--region is missing: name one, such as --region cn-hangzhou")
	case o.cleanUp != "" && o.cleanUp != allRuns && !conformance.IsRun(o.cleanUp):
		return misused("--cleanup %q: use the id of a run as its report has it, or all", o.cleanUp)
	case o.cleanUp != "":
		return nil
	case o.vpc == "":
		return misused("--vpc is missing: name the VPC for the groups, such as --vpc vpc-bp1abc; they have no members, and are deleted in the end")
	case o.aboveRate < 0 || o.aboveRate > maxAboveRate:
		return misused("--above-rate must be between 0, for none, and %d", maxAboveRate)
	case o.secondKeyTag != "" && (!pair || key == ""):
		return misused("--second-key-tag %q: use KEY=VALUE, as the condition of the second key's permission has it", o.secondKeyTag)
	}
	return nil
}

// The manager's variables for a key, and those of the second one.
const (
	envKeyID, envSecret, envToken          = "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN" //nolint:gosec // names of variables
	secondKeyID, secondSecret, secondToken = "SGP_SECOND_ACCESS_KEY_ID", "SGP_SECOND_ACCESS_KEY_SECRET", "SGP_SECOND_SECURITY_TOKEN"          //nolint:gosec // likewise
)

// addClients adds those that sign with other keys, or call faster.
func (o *conformanceOptions) addClients(p Process, run *conformance.Options) (err error) {
	signing := func(id, secret, token string) (client *ecs.Client) {
		if err == nil {
			client, err = o.client(p.withEnv(map[string]string{envKeyID: id, envSecret: secret, envToken: token}), []string{o.region})
		}
		return client
	}
	id, secret := p.Env(secondKeyID), p.Env(secondSecret)
	switch {
	case (id == "") != (secret == ""):
		return misused("of %s and %s only one is set: set both or none", secondKeyID, secondSecret)
	case id == "" && o.secondKeyTag != "":
		return misused("--second-key-tag needs a second key: set %s and %s", secondKeyID, secondSecret)
	case id != "":
		run.Clients.Second = signing(id, secret, p.Env(secondToken))
	}
	run.Clients.UnknownKey = signing("LTAI"+rand.Text()[:20], rand.Text(), "")
	if own := p.Env(envKeyID); own != "" {
		run.Clients.WrongSecret = signing(own, rand.Text(), p.Env(envToken))
		run.Clients.WrongToken = signing(own, p.Env(envSecret), rand.Text())
	}
	if err == nil && o.aboveRate > 0 {
		fast := o.cloudFlags
		fast.qps, fast.burst = maxAboveRate, o.aboveRate
		run.Clients.Fast, err = fast.client(p, []string{o.region})
	}
	return err
}

// withEnv is the process with some variables of the environment replaced.
func (p Process) withEnv(values map[string]string) Process {
	env := p.Env
	p.Env = func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return env(name)
	}
	return p
}

func (p Process) say(format string, args ...any) { _, _ = fmt.Fprintf(p.Stderr, format+"\n", args...) }

// sayLeft names the groups that could not be deleted, and how to delete them.
func (p Process) sayLeft(name string, o *conformanceOptions, report *conformance.Report) {
	for _, left := range report.Left {
		if left.ID == "" {
			p.say("a group of this run may be left: it could not be looked for: %s", explain(left.Err))
			continue
		}
		p.say("left behind: %s: %s; delete it with: aliyun ecs DeleteSecurityGroup --RegionId %s --SecurityGroupId %s", left.ID, explain(left.Err), o.region, left.ID)
	}
	if len(report.Left) > 0 {
		p.say("or delete all of this run with: %s conformance --region %s --cleanup %s", name, o.region, report.RunID)
	}
}

// outcome is how a run has ended.
func outcome(ctx context.Context, report *conformance.Report, err error) error {
	deleted := "what it made is deleted"
	switch n := len(report.Left); {
	case report.Made == 0 && n == 0:
		deleted = "nothing was made"
	case n > 0:
		deleted = fmt.Sprintf("%d of %d groups could not be deleted, as said above", n, report.Made)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %d of %d checks were made; %s", errStopped, len(report.Findings), len(conformance.Checks()), deleted)
	}
	if err != nil {
		return fmt.Errorf("nothing could be checked: %s; %s", explain(err), deleted)
	}
	different, failed := report.Count(conformance.Different), report.Count(conformance.Failed)
	if different == 0 && failed == 0 && len(report.Left) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checks saw something different, %d could not be made; %s", different, len(report.Findings), failed, deleted)
}

func (p Process) cleanUp(ctx context.Context, run conformance.Options, o *conformanceOptions) error {
	earlier := o.cleanUp
	if earlier == allRuns {
		earlier = ""
	}
	deleted, left, err := conformance.CleanUp(ctx, run, earlier)
	for _, l := range left {
		p.say("left behind: %s: %s", l.ID, explain(l.Err))
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %d groups were deleted", errStopped, deleted)
	case err != nil:
		return errors.New(explain(err))
	}
	p.say("%d groups deleted", deleted)
	if len(left) > 0 {
		return fmt.Errorf("%d groups could not be deleted, as said above", len(left))
	}
	return nil
}
