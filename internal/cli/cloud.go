package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sgp-operator/sgp-operator/internal/account"
	"github.com/sgp-operator/sgp-operator/internal/ecs"
)

// cloudFlags say how the cloud is called. They are the manager's, with its defaults.
type cloudFlags struct {
	ecsEndpoint, stsEndpoint string
	insecure, instanceRole   bool
	extraRegions             []string
	qps                      float64
	burst                    int
	timeout                  time.Duration
}

func (c *cloudFlags) register(f *pflag.FlagSet) {
	f.StringVar(&c.ecsEndpoint, "ecs-endpoint", "", "Endpoint of ECS, such as https://ecs-vpc.{region}.aliyuncs.com; the public one of the region by default.")
	f.StringVar(&c.stsEndpoint, "sts-endpoint", "", "Endpoint of STS, likewise.")
	f.BoolVar(&c.insecure, "allow-insecure-endpoints", false, "Accept http:// endpoints beyond loopback.")
	f.StringSliceVar(&c.extraRegions, "extra-regions", nil, "Regions beside those that are known, separated by commas; * stands for any characters.")
	f.BoolVar(&c.instanceRole, "instance-role", false, "Take the credentials from the RAM role of this ECS instance, if there are no others.")
	f.Float64Var(&c.qps, "ecs-qps", 10, "Calls per second for each region and action.")
	f.IntVar(&c.burst, "ecs-burst", 20, "Calls at once for each region and action.")
	f.DurationVar(&c.timeout, "ecs-timeout", 10*time.Second, "Time limit of one call.")
}

// completeRegions lets a shell complete the last of the regions of --region.
func completeRegions(command *cobra.Command) {
	_ = command.RegisterFlagCompletionFunc("region", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndex(typed, ",")+1]
		var fit []string
		for _, region := range ecs.KnownRegions() {
			if strings.HasPrefix(before+region, typed) {
				fit = append(fit, before+region)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	})
}

// longestCall is what the manager allows too.
const longestCall = 30 * time.Second

// known are the regions that may be called.
func (c *cloudFlags) known() (ecs.Regions, error) {
	known, err := ecs.ParseRegions(c.extraRegions)
	if err != nil {
		return known, misused("--extra-regions: %w", err)
	}
	return known, nil
}

// client is what the flags and the environment say, for some regions.
func (c *cloudFlags) client(p Process, regions []string) (*ecs.Client, error) {
	// The SDK prints headers, keys included, if this variable names it.
	if p.Env("DEBUG") != "" {
		return nil, errors.New("the environment variable DEBUG must not be set: Alibaba Cloud's SDK would print credentials")
	}
	if c.qps <= 0 || c.burst < 1 {
		return nil, misused("--ecs-qps must be above 0 and --ecs-burst at least 1")
	}
	if c.timeout < time.Second || c.timeout > longestCall {
		return nil, misused("--ecs-timeout must be between 1s and %v", longestCall)
	}
	known, err := c.known()
	if err != nil {
		return nil, err
	}
	for _, region := range regions {
		if !known.Known(region) {
			return nil, misused("--region: %q is no region of ECS that is known; --extra-regions=%s adds it if it exists", region, region)
		}
	}
	forECS, err := ecs.ParseEndpoint(c.ecsEndpoint, c.insecure)
	if err != nil {
		return nil, misused("--ecs-endpoint: %w", err)
	}
	forSTS, err := ecs.ParseEndpoint(c.stsEndpoint, c.insecure)
	if err != nil {
		return nil, misused("--sts-endpoint: %w", err)
	}
	accounts, err := account.New(account.Options{
		Endpoint: forECS, STSEndpoint: forSTS, Regions: known, Timeout: c.timeout, QPS: c.qps, Burst: c.burst,
		InstanceRole: c.instanceRole, Env: p.Env, Now: p.Now,
	})
	if err != nil {
		return nil, err
	}
	return accounts.Own()
}

const (
	// maxFailures is how often in a row a call may fail by what passes, and
	// maxRefusals how often for rate, to which the client adapts.
	maxFailures = 5
	maxRefusals = 20
	firstPause  = 250 * time.Millisecond
	maxPause    = 10 * time.Second
)

// persist makes a call until it succeeds, or fails by something that does not pass.
func persist(ctx context.Context, call func() (wait time.Duration, err error)) error {
	failures, refusals := 0, 0
	for {
		wait, err := call()
		if ctx.Err() != nil {
			return errStopped
		}
		if err != nil {
			e, ok := errors.AsType[*ecs.Error](err)
			switch {
			case ok && e.Class == ecs.Throttled && refusals < maxRefusals:
				refusals++
			case ok && e.Class == ecs.Unavailable && failures < maxFailures:
				wait = min(max(firstPause<<failures, e.RetryAfter), maxPause)
				failures++
			default:
				return err
			}
		} else if wait == 0 {
			return nil
		}
		if !pause(ctx, wait) {
			return errStopped
		}
	}
}

// pause waits, and tells whether it did to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
