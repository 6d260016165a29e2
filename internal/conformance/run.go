package conformance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

const (
	// namePrefix begins the name of every group that a run makes, and TagKey is the key
	// of its tag, whose value is the run's id.
	namePrefix = "sgp-conformance-"
	// TagKey marks the groups of a run. Its value is the run's id.
	TagKey = "sgp-operator-conformance"

	description = "Made by sgp-operator's conformance command for its own use. It may be deleted."
)

// Actions beside those of package ecs.
const (
	actionCreate = "CreateSecurityGroup"
	actionDelete = "DeleteSecurityGroup"
	actionTag    = "TagResources"
	actionUntag  = "UntagResources"
)

type params = map[string]string

// run is one run of the checks.
type run struct {
	Options
	id string

	// own are the groups that this run has made: true until one is deleted. Nothing
	// else is ever written to.
	own map[string]bool
	// unanswered says that a group may have been made whose id nobody knows.
	unanswered bool
	// basic has a policy that is changed, spare is deleted first, fixed is of type
	// enterprise. They stay the ids of groups of this run when those are gone.
	basic, spare, fixed string
	basicToken          string // that basic was made with
	// policy is the one that basic was set to last, empty if that is not known. It is
	// remembered, for reads may lag behind.
	policy string

	requestIDs []string // of the check under way
	measured   []Measurement
}

// timeForm begins the id of a run.
const timeForm = "20060102t150405"

func newRun(o Options) *run {
	return &run{
		Options: o, own: map[string]bool{},
		id: o.Now().UTC().Format(timeForm) + "-" + strings.ToLower(rand.Text()[:8]),
	}
}

// groupForm is that of the ids of groups: what does not have it names none.
var groupForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// errNotOwn keeps a call from being made.
var errNotOwn = errors.New("not sent: it would write to what this run has not made")

// allow tells whether a call touches nothing but what this run makes: it reads, it makes
// a group that bears this run's name and tag, or it writes to groups of this run.
func (r *run) allow(action string, p params) error {
	switch action {
	case actionCreate:
		if !strings.HasPrefix(p["SecurityGroupName"], r.name("")) || p["Tag.1.Key"] != TagKey || p["Tag.1.Value"] != r.id {
			return errNotOwn
		}
	case ecs.ActionModify, actionDelete, actionTag, actionUntag:
		for name, value := range p {
			if _, own := r.own[value]; (name == "SecurityGroupId" || strings.HasPrefix(name, "ResourceId.")) && !own && groupForm.MatchString(value) {
				return errNotOwn
			}
		}
	default:
		if !strings.HasPrefix(action, "Describe") {
			return errNotOwn
		}
	}
	return nil
}

const (
	maxFailures = 3  // in a row, of a call that gets no answer or an internal error
	maxRefusals = 20 // in a row, for rate
	firstPause  = 250 * time.Millisecond
)

// call makes a call with the run's own key.
func (r *run) call(ctx context.Context, action string, p params) (ecs.Answer, error) {
	return r.callBy(ctx, r.Clients.Own, action, p)
}

// callBy makes a call, and repeats it where its failure says nothing of what is checked.
func (r *run) callBy(ctx context.Context, client *ecs.Client, action string, p params) (ecs.Answer, error) {
	if err := r.allow(action, p); err != nil {
		return ecs.Answer{}, fmt.Errorf("%s: %w", action, err)
	}
	for failures, refusals := 0, 0; ; {
		answer, err := r.send(ctx, client, action, p)
		if err == nil {
			r.note(answer.RequestID)
			if action == ecs.ActionModify {
				r.policy = ""
			}
			return answer, nil
		}
		e, ok := errors.AsType[*ecs.Error](err)
		if !ok {
			return answer, err
		}
		r.note(e.RequestID)
		switch {
		case e.Class == ecs.Throttled && refusals < maxRefusals:
			refusals++ // the client waits before the next one
		case passes(e) && failures < maxFailures:
			pause(ctx, max(firstPause<<failures, e.RetryAfter))
			failures++
		default:
			return answer, err
		}
		if ctx.Err() != nil {
			return answer, err
		}
	}
}

// grace is how long the creation of a group goes on after Ctrl-C: one whose id nobody
// learns would have to be looked for.
const grace = 10 * time.Second

// send makes one call.
func (r *run) send(ctx context.Context, client *ecs.Client, action string, p params) (ecs.Answer, error) {
	if action != actionCreate {
		return client.Raw(ctx, r.Region, action, p)
	}
	outlasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { pause(outlasting, grace); cancel() })()
	return client.Raw(outlasting, r.Region, action, p)
}

// passes tells whether a failure comes from the way to ECS, or from its inside.
func passes(e *ecs.Error) bool {
	local := e.Code == ecs.CodeUnknownRegion || e.Code == ecs.CodeNoCredentials || e.Code == ecs.CodeCanceled
	return !local && (e.HTTPStatus == 0 || e.HTTPStatus >= 500)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *run) note(requestID string) {
	if requestID != "" {
		r.requestIDs = append(r.requestIDs, requestID)
	}
}

// name is the name of a group of this run.
func (r *run) name(suffix string) string { return namePrefix + r.id + "-" + suffix }

// with are the parameters of a call: the region, and pairs of a name and a value. A pair
// with an empty value is left out, the region too.
func (r *run) with(pairs ...string) params {
	p := params{"RegionId": r.Region}
	for i := 0; i+1 < len(pairs); i += 2 {
		p[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "" {
			delete(p, pairs[i])
		}
	}
	return p
}

// group are the parameters that create a group, and pairs that add to them or replace some.
func (r *run) group(suffix string, pairs ...string) params {
	return r.with(append([]string{
		"SecurityGroupName", r.name(suffix), "Description", description, "VpcId", r.VPC,
		"Tag.1.Key", TagKey, "Tag.1.Value", r.id, "ClientToken", ecs.NewClientToken(),
	}, pairs...)...)
}

// create makes a group, or has ECS refuse to.
func (r *run) create(ctx context.Context, p params) (id string, err error) {
	answer, err := r.call(ctx, actionCreate, p)
	if err != nil {
		e, ok := errors.AsType[*ecs.Error](err)
		r.unanswered = r.unanswered || ok && (e.HTTPStatus == 0 || e.HTTPStatus >= 500)
		return "", err
	}
	var body struct {
		SecurityGroupID string `json:"SecurityGroupId"`
	}
	if json.Unmarshal(answer.Body, &body) != nil || !groupForm.MatchString(body.SecurityGroupID) {
		return "", errors.New("CreateSecurityGroup: the answer does not hold the id of a group")
	}
	if _, known := r.own[body.SecurityGroupID]; !known {
		r.own[body.SecurityGroupID] = true
	}
	return body.SecurityGroupID, nil
}

// prepare makes the basic groups, without which nothing can be checked.
func (r *run) prepare(ctx context.Context) (err error) {
	p := r.group("basic")
	r.basicToken = p["ClientToken"]
	if r.basic, err = r.create(ctx, p); err == nil && ctx.Err() == nil {
		r.spare, err = r.create(ctx, r.group("spare"))
	}
	return err
}

// modify sets the basic group's policy.
func (r *run) modify(ctx context.Context, policy, token string) (requestID string, err error) {
	answer, err := r.call(ctx, ecs.ActionModify, r.with("SecurityGroupId", r.basic, "InnerAccessPolicy", policy, "ClientToken", token))
	if err == nil {
		r.policy = ecs.CanonicalPolicy(policy)
	}
	return answer.RequestID, err
}

// cheapest are the parameters by which the operator reads a group's policy.
func (r *run) cheapest(group string) params {
	return r.with("SecurityGroupId", group, "MaxResults", "10", "Direction", "ingress")
}

// read reads a group's policy. What is none comes back as a word for it, so that
// nothing of an answer gets into the report unseen.
func (r *run) read(ctx context.Context, group string) (policy string, err error) {
	answer, err := r.call(ctx, ecs.ActionObserve, r.cheapest(group))
	if err != nil {
		return "", err
	}
	var body struct{ InnerAccessPolicy string }
	switch err := json.Unmarshal(answer.Body, &body); {
	case err != nil || body.InnerAccessPolicy == "":
		return "no policy", nil
	case ecs.CanonicalPolicy(body.InnerAccessPolicy) == "":
		return "another policy", nil
	}
	return body.InnerAccessPolicy, nil
}

// await reads the basic group until it has a policy, and tells how often. Not shown is 0.
func (r *run) await(ctx context.Context, policy string) (reads int, err error) {
	return r.until(ctx, func() (bool, error) {
		got, err := r.read(ctx, r.basic)
		return got == policy, err
	})
}

// until asks until the answer is yes, and tells how often; 0 is never, within Patience.
func (r *run) until(ctx context.Context, ask func() (bool, error)) (times int, err error) {
	for end := r.Now().Add(r.Patience); ; {
		times++
		yes, err := ask()
		if yes || err != nil {
			return times, err
		}
		if !r.Now().Before(end) || ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

// be brings the basic group to a policy, from wherever the checks before have left it,
// and waits until reads show it.
func (r *run) be(ctx context.Context, policy string) error {
	if r.policy != policy {
		if _, err := r.modify(ctx, policy, ecs.NewClientToken()); err != nil {
			return err
		}
	}
	if reads, err := r.await(ctx, policy); err != nil || reads > 0 {
		return err
	}
	return fmt.Errorf("the group does not become %s within %v", policy, r.Patience)
}

// stays reads the basic group for a while, and returns the first policy that is another
// than the given one.
func (r *run) stays(ctx context.Context, policy string) (got string, err error) {
	for end, reads := r.Now().Add(r.Watch), 0; reads < 3 || r.Now().Before(end); reads++ {
		if got, err = r.read(ctx, r.basic); err != nil || got != policy {
			return got, err
		}
		pause(ctx, r.Watch/5)
	}
	return policy, nil
}

// describe is a failure as a report shows it: its code, never its message.
func describe(e *ecs.Error) string {
	if e.HTTPStatus == 0 {
		return "`" + e.Code + "`"
	}
	return fmt.Sprintf("`%s` (HTTP %d)", e.Code, e.HTTPStatus)
}

// judge is what the failure of a call says of the check that made it.
func judge(err error) seen {
	e, ok := errors.AsType[*ecs.Error](err)
	switch {
	case !ok:
		return seen{Failed, err.Error()}
	case e.Code == "InvalidAction.NotFound":
		return seen{NotChecked, "this service does not have the action " + e.Action}
	case e.Class == ecs.Denied && !e.RefusesCredential():
		return seen{Failed, e.Action + ": " + describe(e) + ": allow ecs:" + e.Action + " to the key in RAM"}
	case e.RefusesCredential(), e.Class == ecs.NoCredentials:
		return seen{Failed, e.Action + ": " + describe(e) + ": the credentials are refused; check them, and that a temporary key has not expired"}
	case e.Class == ecs.Throttled || passes(e) || e.HTTPStatus == 0:
		return seen{Failed, e.Action + ": " + describe(e)}
	}
	return seen{Different, e.Action + ": " + describe(e)}
}
