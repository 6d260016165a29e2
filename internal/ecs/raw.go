package ecs

import (
	"context"
	"maps"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ratelimit"
)

// Answer is a successful answer as it came. Its body is a text from outside, which
// nothing has been taken out of.
type Answer struct {
	RequestID string
	Status    int
	Body      []byte
}

// Raw makes one call of any action with these parameters and no others, RegionId
// included, so that what ECS makes of wrong ones can be checked. The region says where
// it goes. It waits for the rate limit as long as ctx lasts, and repeats nothing. Its
// errors are of type *Error.
func (c *Client) Raw(ctx context.Context, region, action string, params map[string]string) (Answer, error) {
	for {
		answer, wait, err := c.rawOnce(ctx, region, action, maps.Clone(params))
		if err != nil {
			return Answer{}, err
		}
		if wait == 0 {
			return Answer{RequestID: answer.requestID, Status: answer.status, Body: answer.body}, nil
		}
		if err := sleep(ctx, wait); err != nil {
			return Answer{}, lost(action, err)
		}
	}
}

func (c *Client) rawOnce(ctx context.Context, region, action string, params map[string]string) (*answer, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout+MaxWait)
	defer cancel()
	return c.callAs(ctx, action, Group{RegionID: region}, ratelimit.Edit, params)
}

// Host is where the calls for a region go.
func (c *Client) Host(region string) (string, error) {
	_, host, err := c.target("", region)
	return host, err
}
