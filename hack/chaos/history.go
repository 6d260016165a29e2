package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/hack/internal/rig"
)

// version is a resource as it was stored at one time.
type version struct {
	revision int64
	// at is when the history was told of it, a moment later.
	at     time.Time
	policy *v1alpha1.SecurityGroupPolicy
}

// life is a resource from its creation to its end.
type life struct {
	versions []version
	// ended is the version that it ended as, with the revision and time of the end;
	// nil while it exists.
	ended *version
}

// tenure is a claim from its creation to its end.
type tenure struct {
	claim    types.UID
	holder   types.UID
	from, to int64     // revisions; to is zero while it lasts
	since    time.Time // when the history was told of its beginning
	until    time.Time // and of its end
	// others are further holders that the same claim was made to name.
	others []types.UID
}

// history is every version of every resource and claim, in the order in which they
// were stored. It comes from etcd, because a watch of the API server has a gap where
// the API server was restarted.
type history struct {
	mu      sync.Mutex
	lives   map[types.UID]*life
	tenures map[string][]*tenure // by the claim's name
	// last is the last revision of what is stored now, by key.
	last map[string]int64
	err  error
}

const (
	stored         = "/registry/ecs.alibabacloud.com/"
	storedPolicies = stored + "securitygrouppolicies/"
	storedClaims   = stored + "securitygroupclaims/"
)

func newHistory() *history {
	return &history{lives: map[types.UID]*life{}, tenures: map[string][]*tenure{}, last: map[string]int64{}}
}

// etcdEvent is one change, as etcd's JSON gateway writes it.
type etcdEvent struct {
	Type string    `json:"type"` // DELETE, or none
	Now  etcdValue `json:"kv"`
	Was  etcdValue `json:"prev_kv"`
}

type etcdValue struct {
	Key      []byte `json:"key"`
	Value    []byte `json:"value"`
	Revision int64  `json:"mod_revision,string"`
}

// follow writes down what etcd stores, from its very beginning until the context ends.
func (h *history) follow(ctx context.Context, etcd string) {
	err := h.watch(ctx, etcd)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = fmt.Errorf("the watch of etcd has ended: %w", err)
}

func (h *history) watch(ctx context.Context, etcd string) error {
	question, err := json.Marshal(map[string]any{"create_request": map[string]any{
		"key": []byte(stored), "range_end": []byte(stored[:len(stored)-1] + "0"), "start_revision": "1", "prev_kv": true}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, etcd+"/v3/watch", bytes.NewReader(question))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return h.read(json.NewDecoder(response.Body))
}

func (h *history) read(answers *json.Decoder) error {
	for {
		var answer struct {
			Result struct {
				Canceled bool        `json:"canceled"`
				Reason   string      `json:"cancel_reason"`
				Events   []etcdEvent `json:"events"`
			} `json:"result"`
		}
		if err := answers.Decode(&answer); err != nil {
			return err
		}
		if answer.Result.Canceled {
			return errors.New(answer.Result.Reason)
		}
		now := time.Now()
		for _, e := range answer.Result.Events {
			if err := h.note(e, now); err != nil {
				return err
			}
		}
	}
}

func (h *history) note(e etcdEvent, now time.Time) error {
	key, object := string(e.Now.Key), e.Now.Value
	gone := e.Type == "DELETE"
	if gone {
		object = e.Was.Value
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last[key] = e.Now.Revision; gone {
		delete(h.last, key)
	}
	switch {
	case strings.HasPrefix(key, storedPolicies):
		p := &v1alpha1.SecurityGroupPolicy{}
		if err := json.Unmarshal(object, p); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		h.notePolicy(version{e.Now.Revision, now, p}, gone)
	case strings.HasPrefix(key, storedClaims):
		c := &v1alpha1.SecurityGroupClaim{}
		if err := json.Unmarshal(object, c); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		h.noteClaim(c, e.Now.Revision, now, gone)
	}
	return nil
}

func (h *history) notePolicy(v version, gone bool) {
	l := h.lives[v.policy.UID]
	if l == nil {
		l = &life{}
		h.lives[v.policy.UID] = l
	}
	if gone {
		l.ended = &v
		return
	}
	l.versions = append(l.versions, v)
}

func (h *history) noteClaim(c *v1alpha1.SecurityGroupClaim, revision int64, now time.Time, gone bool) {
	all, holder := h.tenures[c.Name], types.UID(c.Spec.Holder.UID)
	if len(all) == 0 || all[len(all)-1].claim != c.UID {
		h.tenures[c.Name] = append(all, &tenure{claim: c.UID, holder: holder, from: revision, since: now})
		return
	}
	t := all[len(all)-1]
	if holder != t.holder {
		t.others = append(t.others, holder)
	}
	if gone {
		t.to, t.until = revision, now
	}
}

// complete waits until the history holds what the API server has answered.
func (h *history) complete(ctx context.Context, s scene) error {
	for {
		missing, err := h.missing(s)
		if err != nil || missing == "" {
			return err
		}
		if err := rig.Pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("the history lacks %s: %w", missing, err)
		}
	}
}

func (h *history) missing(s scene) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range s.policies {
		if key := storedPolicies + p.Namespace + "/" + p.Name; h.older(key, p.ResourceVersion) {
			return key, h.err
		}
	}
	for _, c := range s.claims {
		if key := storedClaims + c.Name; h.older(key, c.ResourceVersion) {
			return key, h.err
		}
	}
	return "", h.err
}

func (h *history) older(key, resourceVersion string) bool {
	revision, err := strconv.ParseInt(resourceVersion, 10, 64)
	return err != nil || h.last[key] < revision
}

// nameOf is the name of a resource, for a message.
func (h *history) nameOf(uid types.UID) string {
	if l := h.lives[uid]; l != nil && len(l.versions) > 0 {
		return l.versions[0].policy.Name
	}
	return "a resource that never was (" + string(uid) + ")"
}

// of are the lives of a resource of the plan.
func (h *history) of(r *resource) (uid types.UID, found *life) {
	for uid, l := range h.lives {
		if len(l.versions) > 0 && l.versions[0].policy.Name == r.name && l.versions[0].policy.Namespace == r.namespace {
			return uid, l
		}
	}
	return "", nil
}
