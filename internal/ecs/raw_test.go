package ecs_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// A raw call sends what it is given, and is signed, limited and refused like any other.
func TestARawCallSendsNothingButItsParameters(t *testing.T) {
	c, sim := newClient(t)
	answer, err := c.Raw(t.Context(), "cn-hangzhou", ecs.ActionList, map[string]string{"RegionId": "cn-hangzhou", "MaxResults": "10"})
	if err != nil || answer.Status != 200 || answer.RequestID == "" || !strings.Contains(string(answer.Body), `"sg-1"`) {
		t.Errorf("got %+v, %v", answer, err)
	}
	_, err = c.Raw(t.Context(), "cn-hangzhou", ecs.ActionModify, map[string]string{"SecurityGroupId": "sg-1"})
	_ = wantError(t, err, ecs.Invalid, "MissingParamter.RegionId")
	_, err = c.Raw(t.Context(), "cn-nowhere", ecs.ActionList, nil)
	_ = wantError(t, err, ecs.Invalid, ecs.CodeUnknownRegion)
	if n := len(sim.Calls()); n != 2 {
		t.Errorf("%d calls were made, want 2", n)
	}
}

func TestARawCallIsNotRepeated(t *testing.T) {
	c, sim := newClient(t)
	sim.Inject(ecssim.Fault{Kind: ecssim.Error})
	_, err := c.Raw(t.Context(), "cn-hangzhou", ecs.ActionList, map[string]string{"RegionId": "cn-hangzhou"})
	_ = wantError(t, err, ecs.Unavailable, "InternalError")
	if n := len(sim.Calls()); n != 1 {
		t.Errorf("%d calls were made, want 1", n)
	}
}

func TestARawCallWaitsForTheRateAndCanBeStopped(t *testing.T) {
	c, sim := newClient(t, func(o *ecs.Options) { o.QPS, o.Burst = 0.001, 1 })
	ctx, cancel := context.WithCancel(t.Context())
	list := func() error {
		_, err := c.Raw(ctx, "cn-hangzhou", ecs.ActionList, map[string]string{"RegionId": "cn-hangzhou"})
		return err
	}
	if err := list(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- list() }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := len(sim.Calls()); n != 1 {
		t.Errorf("%d calls were made, want 1", n)
	}
}
