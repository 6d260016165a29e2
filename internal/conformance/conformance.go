// Package conformance checks what this project assumes of ECS against an ECS, the real
// one or the simulator: a list of checks, each of which says what is assumed, acts, and
// tells what it saw. It makes security groups of its own, writes to those alone, and
// deletes them. It is told which ECS by the clients that it is given.
package conformance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// Source says where an assumption comes from.
type Source string

const (
	// Documented is what Alibaba Cloud's pages, its SDKs, or errors that users have
	// published say.
	Documented Source = "documented"
	// Assumed is what no source says, or where sources disagree.
	Assumed Source = "assumed"
)

// Verdict compares what was seen with what is assumed.
type Verdict string

const (
	// Same is as assumed.
	Same Verdict = "same"
	// Different is not as assumed.
	Different Verdict = "different"
	// NotChecked needs what was not given, or what no call can tell.
	NotChecked Verdict = "not checked"
	// Failed could not be checked although it should have been.
	Failed Verdict = "could not be checked"
)

// Check is one assumption.
type Check struct {
	// ID names it, and stays the same.
	ID string
	// Assumed says what ECS is taken to do, in Markdown.
	Assumed string
	Source  Source

	do func(context.Context, *run) (seen, error)
}

// seen is what a check saw. Its text is a phrase of this package's, around codes, group
// policies and numbers: nothing else of an answer gets into a report.
type seen struct {
	verdict Verdict
	text    string
}

func saw(same bool, format string, args ...any) (seen, error) {
	s := seen{Different, fmt.Sprintf(format, args...)}
	if same {
		s.verdict = Same
	}
	return s, nil
}

func notChecked(reason string) (seen, error) { return seen{NotChecked, reason}, nil }

// Clients call ECS. All but Own may be nil: what needs them is not checked.
type Clients struct {
	// Own makes everything.
	Own *ecs.Client
	// Second has a key that may read groups, and not change their policy.
	Second *ecs.Client
	// UnknownKey signs with a key that there is not, WrongSecret with Own's key id and
	// another secret, and WrongToken with Own's key and a token that is none.
	UnknownKey, WrongSecret, WrongToken *ecs.Client
	// Fast has no rate limit to speak of.
	Fast *ecs.Client
}

// Tag of a group.
type Tag struct{ Key, Value string }

// Options of a run.
type Options struct {
	Region, VPC string
	Clients     Clients
	// AboveRate is how many calls Fast may make at once.
	AboveRate int
	// SecondKeyTag is the tag under which alone the second key may change policies, if
	// there is one.
	SecondKeyTag Tag
	// Version of this program.
	Version string
	// Now is the clock.
	Now func() time.Time
	// Patience is how long a change may take to show. Watch is for how long, at least,
	// reads are watched for a change that should not come.
	Patience, Watch time.Duration
	// Breath is what the rate limit needs to have calls in store, before something is
	// measured that must not wait for it.
	Breath time.Duration
	// Begun is told the id of the run before its first call.
	Begun func(id string)
}

// Checks are all checks, in the order in which they are made.
func Checks() []Check {
	return slices.Concat(creating, reading, changing, repeating, enterprise, listing, tagging, keys, rate, deleting, elsewhere)
}

// Run makes all checks, or those that ctx leaves time for, and deletes what they made. An
// error says that nothing could be checked; what was made by then is in the report all
// the same.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := newRun(o)
	if o.Begun != nil {
		o.Begun(r.id)
	}
	report := &Report{RunID: r.id, Region: o.Region, VPC: o.VPC, Began: o.Now().UTC(), Version: o.Version}
	host, err := o.Clients.Own.Host(o.Region)
	if err != nil {
		return report, err
	}
	report.Host = host
	if err = r.prepare(ctx); err == nil {
		report.Findings = r.check(ctx, Checks())
	}
	report.Measured = r.measured
	report.Left = r.cleanUp(ctx)
	report.Made = len(r.own)
	return report, err
}

// check makes checks until they end or ctx does.
func (r *run) check(ctx context.Context, checks []Check) (findings []Finding) {
	for _, c := range checks {
		if ctx.Err() != nil {
			break
		}
		r.requestIDs = nil
		what, err := c.do(ctx, r)
		if ctx.Err() != nil {
			break // what a check saw before it was stopped says nothing
		}
		if err != nil {
			what = judge(err)
		}
		findings = append(findings, Finding{Check: c, Verdict: what.verdict, Seen: what.text, RequestIDs: r.requestIDs})
	}
	return findings
}
