// Package account finds the credentials for a SecurityGroupPolicy and hands out a
// client of ECS that signs with them. Whoever asks learns whether an account may
// be used, never what its keys are. It knows neither what a policy is for nor how
// a request looks.
//
// Tokens are fetched through the client that serves ECS (package ecs) rather than
// the providers of Alibaba Cloud's credentials library: those have no lock, no
// context and a transport for each refresh, so that they would need the whole
// session of this package around them all the same.
package account

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// Options of a Resolver.
type Options struct {
	// Endpoint of ECS for the manager's own chain.
	Endpoint ecs.Endpoint
	// STSEndpoint overrides the token service's; the environment's
	// ALIBABA_CLOUD_STS_ENDPOINT holds where it is the zero value.
	STSEndpoint ecs.Endpoint
	// Timeout of one call.
	Timeout time.Duration
	// QPS and Burst bound the calls per account, region and action.
	QPS   float64
	Burst int
	// RequireAccount refuses the manager's own chain.
	RequireAccount bool
	// Env looks up an environment variable.
	Env func(string) string
	// Now is the clock.
	Now func() time.Time
}

// NotReadyError says why an account cannot be used, in words fit to be shown.
type NotReadyError struct{ Reason string }

func (e *NotReadyError) Error() string { return e.Reason }

// Resolver finds the client for a resource.
type Resolver struct {
	options Options
	own     *ecs.Client
	ownErr  error
}

// New returns a Resolver. An error names what in the environment cannot be used.
func New(options Options) (*Resolver, error) {
	sts, err := stsFromEnvironment(options)
	if err != nil {
		return nil, err
	}
	r := &Resolver{options: options}
	chain, err := ownChain(options.Env, sts)
	if err != nil {
		r.ownErr = &NotReadyError{Reason: err.Error()}
		return r, nil
	}
	r.own = ecs.New(ecs.Options{
		Credentials: newSession(chain, options.Timeout, options.Now),
		Endpoint:    options.Endpoint,
		Timeout:     options.Timeout,
		QPS:         options.QPS, Burst: options.Burst, Now: options.Now,
	})
	return r, nil
}

// Client returns the client for a resource, or a NotReadyError.
func (r *Resolver) Client(_ context.Context, p *v1alpha1.SecurityGroupPolicy) (*ecs.Client, error) {
	switch {
	case p.Spec.AccountRef != nil:
		return nil, &NotReadyError{Reason: fmt.Sprintf("ECSAccount %q does not exist", p.Spec.AccountRef.Name)}
	case r.options.RequireAccount:
		return nil, &NotReadyError{Reason: "spec.accountRef is missing: this manager does not lend its own credentials (--require-account)"}
	case r.ownErr != nil:
		return nil, r.ownErr
	}
	return r.own, nil
}

// stsFromEnvironment honours what the webhook of RRSA sets.
func stsFromEnvironment(o Options) (ecs.STS, error) {
	s := ecs.STS{Endpoint: o.STSEndpoint, Region: o.Env("ALIBABA_CLOUD_STS_REGION"), Timeout: o.Timeout}
	if o.STSEndpoint != (ecs.Endpoint{}) {
		return s, nil
	}
	host := o.Env("ALIBABA_CLOUD_STS_ENDPOINT")
	if host == "" && s.Region != "" && strings.EqualFold(o.Env("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"), "true") {
		host = "sts-vpc.{region}.aliyuncs.com"
	}
	if host == "" {
		return s, nil
	}
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	endpoint, err := ecs.ParseEndpoint(host, false)
	if err != nil {
		return s, fmt.Errorf("ALIBABA_CLOUD_STS_ENDPOINT: %w", err)
	}
	s.Endpoint = endpoint
	return s, nil
}
