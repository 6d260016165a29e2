package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// simulator changes the groups behind the operator's back, as a person with the
// console or another tool would.
type simulator struct{ url string }

// setPolicy changes the inner access policy of a group.
func (s *simulator) setPolicy(ctx context.Context, spec v1alpha1.SecurityGroupPolicySpec, policy string) error {
	_, err := s.call(ctx, http.MethodPut, s.groupPath(spec)+"/policy", map[string]string{"policy": policy})
	return err
}

// create makes a basic group.
func (s *simulator) create(ctx context.Context, spec v1alpha1.SecurityGroupPolicySpec) error {
	_, err := s.call(ctx, http.MethodPost, "/_sim/groups",
		map[string]string{"region": spec.RegionID, "id": spec.SecurityGroupID, "policy": "Accept"})
	return err
}

// putKey has a key of an account accepted.
func (s *simulator) putKey(ctx context.Context, id, secret, account string) error {
	_, err := s.call(ctx, http.MethodPost, "/_sim/keys", map[string]string{"id": id, "secret": secret, "account": account})
	return err
}

// policy is what the group really has, whatever the operator thinks.
func (s *simulator) policy(ctx context.Context, spec v1alpha1.SecurityGroupPolicySpec) (string, error) {
	answer, err := s.call(ctx, http.MethodGet, s.groupPath(spec), nil)
	if err != nil {
		return "", err
	}
	var group struct {
		Policy string `json:"policy"`
	}
	return group.Policy, json.Unmarshal(answer, &group)
}

func (s *simulator) groupPath(spec v1alpha1.SecurityGroupPolicySpec) string {
	return "/_sim/groups/" + spec.RegionID + "/" + spec.SecurityGroupID
}

func (s *simulator) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("simulator: %s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(answer)))
	}
	return answer, nil
}
