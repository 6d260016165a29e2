package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// board holds what the API server last said of each policy, and prints a line
// for each change that a person can see.
type board struct {
	out *screen

	mu       sync.Mutex
	policies map[string]*v1alpha1.SecurityGroupPolicy
	rows     map[string]string
	modified map[string]string
	failed   map[string]string
	// news is closed, and replaced, at each change.
	news chan struct{}
}

func newBoard(out *screen) *board {
	return &board{
		out:      out,
		policies: map[string]*v1alpha1.SecurityGroupPolicy{},
		rows:     map[string]string{},
		modified: map[string]string{},
		failed:   map[string]string{},
		news:     make(chan struct{}),
	}
}

const rowFormat = "%-16s %-13s %-7s %-8s %-7s %s"

func (b *board) header() {
	b.out.plain("   time  "+rowFormat, "POLICY", "GROUP", "WANTED", "IN ECS", "READY", "REASON")
}

// follow keeps the board current until the context ends.
func (b *board) follow(ctx context.Context, c client.WithWatch) {
	for ctx.Err() == nil {
		w, err := c.Watch(ctx, &v1alpha1.SecurityGroupPolicyList{})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		for event := range w.ResultChan() {
			if p, ok := event.Object.(*v1alpha1.SecurityGroupPolicy); ok {
				b.show(p, event.Type == watch.Deleted)
			}
		}
		w.Stop()
	}
}

func (b *board) show(p *v1alpha1.SecurityGroupPolicy, gone bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := p.Name
	if gone {
		delete(b.policies, name)
		delete(b.rows, name)
		b.out.line("%-16s deleted", name)
	} else {
		b.policies[name] = p
		if row := describe(p); row != b.rows[name] {
			b.rows[name] = row
			b.out.line("%s", row)
		}
		b.showDetails(p)
	}
	close(b.news)
	b.news = make(chan struct{})
}

// table prints every policy as it stands.
func (b *board) table() {
	b.header()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(b.rows)) {
		b.out.line("%s", b.rows[name])
	}
}

// showDetails prints what ECS answered, on a line of its own, once.
func (b *board) showDetails(p *v1alpha1.SecurityGroupPolicy) {
	const indent = "                 ↳ "
	if m := p.Status.LastModification; m != nil {
		text := fmt.Sprintf("changed %s → %s, cause %s, RequestId %s", m.From, m.To, m.Cause, m.RequestID)
		if text != b.modified[p.Name] {
			b.modified[p.Name] = text
			b.out.line("%s%s", indent, text)
		}
	}
	text := explain(p.Status.LastError)
	if text != b.failed[p.Name] {
		b.failed[p.Name] = text
		if text != "" {
			b.out.line("%s%s", indent, text)
		}
	}
}

func explain(e *v1alpha1.CallError) string {
	switch {
	case e == nil:
		return ""
	case e.Code == "":
		return fmt.Sprintf("%s got no answer: %s", e.Action, e.Message)
	case e.RequestID == "":
		return fmt.Sprintf("%s failed: %s (HTTP %d)", e.Action, e.Code, e.HTTPStatus)
	default:
		return fmt.Sprintf("%s failed: %s (HTTP %d), RequestId %s", e.Action, e.Code, e.HTTPStatus, e.RequestID)
	}
}

func describe(p *v1alpha1.SecurityGroupPolicy) string {
	ready, reason := "-", "not looked at yet"
	if c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		ready, reason = string(c.Status), c.Reason
		if word := inPlainWords[reason]; word != "" {
			reason += ": " + word
		}
	}
	if p.DeletionTimestamp != nil {
		reason = "being deleted"
	}
	observed := p.Status.InnerAccessPolicy
	if observed == "" {
		observed = "-"
	}
	return strings.TrimRight(fmt.Sprintf(rowFormat,
		p.Name, p.Spec.SecurityGroupID, p.Spec.InnerAccessPolicy, observed, ready, reason), " ")
}

var inPlainWords = map[string]string{
	v1alpha1.ReasonInSync:                "ECS is as declared",
	v1alpha1.ReasonProgressing:           "a change is under way",
	v1alpha1.ReasonDriftDetected:         "ECS differs; managementPolicy Observe leaves it alone",
	v1alpha1.ReasonSecurityGroupNotFound: "the region has no such group",
	v1alpha1.ReasonCloudUnavailable:      "the call failed, and is tried again",
	v1alpha1.ReasonAccessDenied:          "ECS refuses the credentials",
	v1alpha1.ReasonAccountNotReady:       "its ECSAccount cannot be used",
	v1alpha1.ReasonSuspended:             "left alone",
}

// await waits until the policy satisfies a condition; a policy that is gone is
// nil. It returns the last state, and whether it did.
func (b *board) await(ctx context.Context, name string, ok func(*v1alpha1.SecurityGroupPolicy) bool) (*v1alpha1.SecurityGroupPolicy, bool) {
	for {
		b.mu.Lock()
		p, news := b.policies[name], b.news
		b.mu.Unlock()
		if ok(p) {
			return p, true
		}
		select {
		case <-ctx.Done():
			return p, false
		case <-news:
		}
	}
}
