package conformance

import (
	"context"
	"errors"
	"strings"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// refusal is the check that ECS refuses a call with a code. The parameters are made when
// the groups are there.
func refusal(id string, source Source, what, code, action string, with func(*run) params) Check {
	return Check{id, what + ": `" + code + "`", source, func(ctx context.Context, r *run) (seen, error) {
		p := with(r)
		if id, named := p["SecurityGroupId"]; named && id == "" {
			return notChecked("there is no group to try it on")
		}
		var err error
		if action == actionCreate {
			_, err = r.create(ctx, p) // a group that is made all the same is deleted in the end
		} else {
			_, err = r.call(ctx, action, p)
		}
		return refusedWith(code, err)
	}}
}

// refusedWith compares a failure with the code that it should have.
func refusedWith(code string, err error) (seen, error) {
	if err == nil {
		return saw(false, "success")
	}
	if e, ok := errors.AsType[*ecs.Error](err); ok && e.Code == code {
		return saw(true, "%s", describe(e))
	}
	return seen{}, err
}

// accepted is the check that ECS takes a call.
func accepted(id string, source Source, what, action string, with func(*run) params) Check {
	return Check{id, what + ": success", source, func(ctx context.Context, r *run) (seen, error) {
		if _, err := r.call(ctx, action, with(r)); err != nil {
			return seen{}, err
		}
		return saw(true, "success")
	}}
}

// unknown is a question that no call of this suite can answer.
func unknown(id string, source Source, what, why string) Check {
	return Check{id, what, source, func(context.Context, *run) (seen, error) { return notChecked(why) }}
}

// on are the parameters of a call about the basic group, and pairs of others.
func on(pairs ...string) func(*run) params {
	return func(r *run) params { return r.with(append([]string{"SecurityGroupId", r.basic}, pairs...)...) }
}

// onAnother are the parameters of a call about what is no group.
func onAnother(id string, pairs ...string) func(*run) params {
	return func(r *run) params { return r.with(append([]string{"SecurityGroupId", id}, pairs...)...) }
}

// over are the parameters of a listing.
func over(pairs ...string) func(*run) params {
	return func(r *run) params { return r.with(pairs...) }
}

// malformed cannot be the id of a group.
const malformed = "no group!"

// nobodys has the form of a group's id. It is used in reads alone.
var nobodys = "sg-" + strings.Repeat("0", 20)
