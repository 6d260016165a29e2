package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

const (
	// cleanUpTime bounds what is done after Ctrl-C.
	cleanUpTime = 30 * time.Second
	// maxAge is the age from which a run has surely ended.
	maxAge = time.Hour
)

// Left is a group that could not be deleted. Without an ID it may exist or not: its
// creation was not answered, and it could not be looked for.
type Left struct {
	ID  string
	Err error
}

// cleanUp deletes the groups of this run, also after ctx has ended, and returns those
// that are left. It looks for them by their tag too: of a call that got no answer nobody
// knows whether it made one.
func (r *run) cleanUp(ctx context.Context) (left []Left) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	if err := r.adopt(ctx, func(run string) bool { return run == r.id }); err != nil && r.unanswered {
		left = append(left, Left{Err: err})
	}
	return append(left, r.deleteAll(ctx)...)
}

// deleteAll deletes all groups that are this run's.
func (r *run) deleteAll(ctx context.Context) (left []Left) {
	for _, id := range slices.Sorted(maps.Keys(r.own)) {
		if !r.own[id] {
			continue
		}
		if err := r.delete(ctx, id); err != nil {
			left = append(left, Left{id, err})
		}
	}
	return left
}

// delete deletes a group; one that is gone is none to delete.
func (r *run) delete(ctx context.Context, id string) error {
	_, err := r.call(ctx, actionDelete, r.with("SecurityGroupId", id))
	if e, ok := errors.AsType[*ecs.Error](err); ok && e.Class == ecs.NotFound {
		err = nil
	}
	if err == nil {
		r.own[id] = false
	}
	return err
}

// adopt takes the groups of runs as this run's own. Both the tag and the name have to say
// that a run has made them.
func (r *run) adopt(ctx context.Context, wanted func(run string) bool) error {
	for token := ""; ; {
		answer, err := r.call(ctx, ecs.ActionList, r.with("Tag.1.Key", TagKey, "MaxResults", "100", "NextToken", token))
		if err != nil {
			return err
		}
		var page groupList
		if json.Unmarshal(answer.Body, &page) != nil {
			return errors.New("DescribeSecurityGroups: the answer does not hold security groups")
		}
		for _, g := range page.SecurityGroups.SecurityGroup {
			run := g.tags()[TagKey]
			_, known := r.own[g.SecurityGroupID]
			if !known && groupForm.MatchString(g.SecurityGroupID) && runTime(run) != (time.Time{}) && wanted(run) && strings.HasPrefix(g.SecurityGroupName, namePrefix+run+"-") {
				r.own[g.SecurityGroupID] = true
			}
		}
		if page.NextToken == "" || page.NextToken == token {
			return nil
		}
		token = page.NextToken
	}
}

// runTime is when a run began, by its id, and zero for what is no id of a run.
func runTime(id string) time.Time {
	began, _, _ := strings.Cut(id, "-")
	t, err := time.Parse(timeForm, began)
	if err != nil {
		return time.Time{}
	}
	return t
}

// IsRun tells whether a text is the id of a run.
func IsRun(id string) bool { return !runTime(id).IsZero() }

// CleanUp deletes the groups that an earlier run has left in a region, or those of all
// runs that began more than an hour ago if it is empty. It needs no more of the options
// than the region, the client and the clock.
func CleanUp(ctx context.Context, o Options, earlier string) (deleted int, left []Left, err error) {
	r := newRun(o)
	err = r.adopt(ctx, func(run string) bool {
		if earlier != "" {
			return run == earlier
		}
		return o.Now().Sub(runTime(run)) > maxAge
	})
	if err != nil {
		return 0, nil, fmt.Errorf("nothing was deleted: %w", err)
	}
	left = r.deleteAll(ctx)
	return len(r.own) - len(left), left, nil
}

// groupList is an answer of DescribeSecurityGroups.
type groupList struct {
	NextToken      string
	TotalCount     *int
	SecurityGroups struct{ SecurityGroup []listed }
}

type listed struct {
	SecurityGroupID   string `json:"SecurityGroupId"`
	SecurityGroupName string
	SecurityGroupType string
	VpcID             string `json:"VpcId"`
	Tags              struct {
		Tag []struct{ TagKey, TagValue string }
	}
}

func (l listed) tags() map[string]string {
	tags := map[string]string{}
	for _, tag := range l.Tags.Tag {
		tags[tag.TagKey] = tag.TagValue
	}
	return tags
}
