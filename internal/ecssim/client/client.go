// Package client speaks to the control API of a simulator in another process: it
// sets up groups, keys and roles, makes calls go wrong, and tells what was called
// and changed. Its methods are those of ecssim.Server, with a context and an error.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// prefix is where the control API lies.
const prefix = "/_sim/"

// maxAnswer is above the largest answer there is, the log of many calls.
const maxAnswer = 1 << 30

// Client is a simulator elsewhere. Use New.
type Client struct {
	baseURL string
	http    *http.Client
}

// New returns a client of the simulator at a base URL such as http://127.0.0.1:18080.
func New(baseURL string) *Client {
	// Not by a proxy: the simulator is on this machine.
	return &Client{strings.TrimSuffix(baseURL, "/"), &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute}}}
}

// URL is the base URL, which is also the endpoint of ECS and STS.
func (c *Client) URL() string { return c.baseURL }

// GroupURL is where the control API has a group, for people who use curl.
func (c *Client) GroupURL(region, id string) string {
	return c.baseURL + prefix + groupRoute(region, id)
}

// Error is a refusal by the control API.
type Error struct {
	Method, Path string
	// Status is the HTTP status: 404 for what does not exist, 400 for a wrong value.
	Status int
	// Message is the simulator's: what is wrong, and what to write instead.
	Message string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("simulator: %s %s: %d: %s", e.Method, e.Path, e.Status, e.Message)
}

// Healthy returns nil if the simulator is up.
func (c *Client) Healthy(ctx context.Context) error {
	var answer struct{ Status string }
	if err := c.call(ctx, http.MethodGet, "healthz", nil, &answer); err != nil {
		return err
	}
	if answer.Status != "ok" {
		return fmt.Errorf("simulator: %s is not one, or not up: status %q", c.baseURL, answer.Status)
	}
	return nil
}

// Groups lists all groups.
func (c *Client) Groups(ctx context.Context) (groups []ecssim.Group, err error) {
	return groups, c.call(ctx, http.MethodGet, "groups", nil, &groups)
}

// PutGroups creates groups, or replaces them.
func (c *Client) PutGroups(ctx context.Context, groups ...ecssim.Group) error {
	return c.call(ctx, http.MethodPost, "groups", list(groups), nil)
}

// Group is a group as it really is.
func (c *Client) Group(ctx context.Context, region, id string) (group ecssim.Group, err error) {
	return group, c.call(ctx, http.MethodGet, groupRoute(region, id), nil, &group)
}

// DeleteGroup removes a group.
func (c *Client) DeleteGroup(ctx context.Context, region, id string) error {
	return c.call(ctx, http.MethodDelete, groupRoute(region, id), nil, nil)
}

// SetPolicy changes a group behind everyone's back.
func (c *Client) SetPolicy(ctx context.Context, region, id string, policy ecssim.Policy) error {
	return c.call(ctx, http.MethodPut, groupRoute(region, id)+"/policy", map[string]string{"policy": policy}, nil)
}

// Effects lists the changes of a group's policy, oldest first.
func (c *Client) Effects(ctx context.Context, region, id string) (effects []ecssim.Effect, err error) {
	return effects, c.call(ctx, http.MethodGet, route("effects", region, id), nil, &effects)
}

// PutInstances creates instances, or replaces them.
func (c *Client) PutInstances(ctx context.Context, instances ...ecssim.Instance) error {
	return c.call(ctx, http.MethodPost, "instances", list(instances), nil)
}

// DeleteInstance removes an instance and its interfaces.
func (c *Client) DeleteInstance(ctx context.Context, region, id string) error {
	return c.call(ctx, http.MethodDelete, route("instances", region, id), nil, nil)
}

// PutInterfaces creates interfaces, or replaces them.
func (c *Client) PutInterfaces(ctx context.Context, interfaces ...ecssim.Interface) error {
	return c.call(ctx, http.MethodPost, "interfaces", list(interfaces), nil)
}

// DeleteInterface removes an interface.
func (c *Client) DeleteInterface(ctx context.Context, region, id string) error {
	return c.call(ctx, http.MethodDelete, route("interfaces", region, id), nil, nil)
}

// PutPrefixLists creates prefix lists, or replaces them.
func (c *Client) PutPrefixLists(ctx context.Context, lists ...ecssim.PrefixList) error {
	return c.call(ctx, http.MethodPost, "prefixlists", list(lists), nil)
}

// PutKeys has keys accepted.
func (c *Client) PutKeys(ctx context.Context, keys ...ecssim.Key) error {
	return c.call(ctx, http.MethodPost, "keys", list(keys), nil)
}

// DeleteKey removes a key.
func (c *Client) DeleteKey(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, route("keys", id), nil, nil)
}

// PutRoles creates roles, or replaces them.
func (c *Client) PutRoles(ctx context.Context, roles ...ecssim.Role) error {
	return c.call(ctx, http.MethodPost, "roles", list(roles), nil)
}

// Calls lists the calls of an action that arrived at a time or later, oldest first;
// an empty action and a zero time match all.
func (c *Client) Calls(ctx context.Context, action string, since time.Time) (calls []ecssim.Call, err error) {
	query := url.Values{}
	if action != "" {
		query.Set("action", action)
	}
	if !since.IsZero() {
		query.Set("since", since.Format(time.RFC3339Nano))
	}
	return calls, c.call(ctx, http.MethodGet, "calls?"+query.Encode(), nil, &calls)
}

// ResetCalls empties that list.
func (c *Client) ResetCalls(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "calls", nil, nil)
}

// Inject adds faults, and returns their numbers.
func (c *Client) Inject(ctx context.Context, faults ...ecssim.Fault) ([]int, error) {
	var answer struct {
		IDs []int `json:"ids"`
	}
	return answer.IDs, c.call(ctx, http.MethodPost, "faults", list(faults), &answer)
}

// ClearFaults ends all faults; calls that hang stay so until Release.
func (c *Client) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "faults", nil, nil)
}

// SetLimits replaces all limits; none ends them.
func (c *Client) SetLimits(ctx context.Context, limits ...ecssim.Limit) error {
	return c.call(ctx, http.MethodPut, "limits", list(limits), nil)
}

// Consume uses up n calls of a quota, as another tool of the account would.
func (c *Client) Consume(ctx context.Context, account, region, action string, n int) error {
	return c.call(ctx, http.MethodPost, "consume", map[string]any{"account": account, "region": region, "action": action, "n": n}, nil)
}

// SetReadLag makes reads show changes late; the zero value ends that.
func (c *Client) SetReadLag(ctx context.Context, lag ecssim.ReadLag) error {
	return c.call(ctx, http.MethodPut, "readlag", lag, nil)
}

// SetLatency makes every call take at least d.
func (c *Client) SetLatency(ctx context.Context, d time.Duration) error {
	return c.call(ctx, http.MethodPut, "latency", map[string]string{"latency": d.String()}, nil)
}

// Release lets every call that hangs continue at once.
func (c *Client) Release(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "release", nil, nil)
}

// list is never null, which the control API refuses.
func list[T any](values []T) []T { return append([]T{}, values...) }

// route joins names, which may hold any character, to a path.
func route(names ...string) string {
	for i, name := range names {
		names[i] = url.PathEscape(name)
	}
	return strings.Join(names, "/")
}

func groupRoute(region, id string) string { return route("groups", region, id) }

// call sends a request, and decodes the answer if there is something to decode into.
func (c *Client) call(ctx context.Context, method, route string, body, into any) error {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return fmt.Errorf("simulator: %s %s%s: %w", method, prefix, route, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.baseURL+prefix+route, bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("simulator: %s %s%s: %w", method, prefix, route, err)
	}
	if response.StatusCode/100 != 2 {
		return refusal(&Error{Method: method, Path: prefix + route, Status: response.StatusCode}, answer)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("simulator: %s %s%s: the answer is not the control API's: %w", method, prefix, route, err)
	}
	return nil
}

// refusal takes the message from the answer, or the answer itself if it has none.
func refusal(e *Error, answer []byte) *Error {
	var told struct{ Error string }
	if e.Message = strings.TrimSpace(string(answer[:min(len(answer), 200)])); json.Unmarshal(answer, &told) == nil && told.Error != "" {
		e.Message = told.Error
	}
	return e
}
