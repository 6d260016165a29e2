package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

// errUsage marks what the caller of the command can mend.
var errUsage = errors.New("see --help")

type config struct {
	addr    string
	tlsCert string
	options ecssim.Options
	limits  []ecssim.Limit
}

func parse(args []string, stderr io.Writer) (*config, error) {
	c := &config{options: ecssim.Options{CallLog: callLog}}
	flags := flag.NewFlagSet("ecs-simulator", flag.ContinueOnError)
	flags.StringVar(&c.addr, "addr", "127.0.0.1:18080", "`host:port` to listen on; port 0 chooses a free one")
	flags.StringVar(&c.tlsCert, "tls-cert", "", "serve HTTPS with a fresh certificate and write it to this `file`")
	// Kept as text at first: the flag package would repeat a bad one, secret and
	// all.
	var keys []string
	flags.Func("access-key", "`AK:SECRET[:TOKEN]` that may call; repeatable", func(text string) error {
		keys = append(keys, text)
		return nil
	})
	flags.Func("group", "`REGION/ID=Policy[,type=enterprise][,managed][,rules=N][,account=ID][,vpc=ID][,name=TEXT]`; repeatable", c.addGroup)
	flags.Func("role", "`ARN[,external-id=TEXT][,oidc-provider=ARN]` to assume; repeatable", c.addRole)
	controlFrom := flags.String("control-from", "loopback", "`who` may use the control API, which asks for no credentials: loopback, or any")
	flags.DurationVar(&c.options.Latency, "latency", 0, "what every call takes")
	qps := flags.Float64("qps", 0, "calls per second for each account, region and action; 0: no limit")
	window := flags.Int("window-limit", 0, "calls per clock minute for each account, region and action; 0: no limit")
	// The package prints an error and the whole usage; one line says it better.
	flags.Usage = func() {}
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stderr)
		fmt.Fprintln(stderr, "ecs-simulator serves a simulated ECS and STS, and a control API below /_sim/.")
		flags.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w; %w", err, errUsage)
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: everything is a flag; %w", flags.Arg(0), errUsage)
	case *controlFrom != "loopback" && *controlFrom != "any":
		return nil, fmt.Errorf("--control-from %q: use loopback or any; %w", *controlFrom, errUsage)
	case *qps < 0 || math.IsInf(*qps, 0) || math.IsNaN(*qps):
		return nil, fmt.Errorf("--qps %v: use 0 or more; %w", *qps, errUsage)
	case *window < 0:
		return nil, fmt.Errorf("--window-limit %d: use 0 or more; %w", *window, errUsage)
	case c.options.Latency < 0:
		return nil, fmt.Errorf("--latency %v: use 0 or more; %w", c.options.Latency, errUsage)
	}
	if _, _, err := net.SplitHostPort(c.addr); err != nil {
		return nil, fmt.Errorf("--addr %q: use host:port, such as 127.0.0.1:18080; %w", c.addr, errUsage)
	}
	for _, key := range keys {
		if err := c.addKey(key); err != nil {
			return nil, err
		}
	}
	c.options.ControlFromAny = *controlFrom == "any"
	c.limit(*qps, *window)
	return c, nil
}

// limit tells callers in every way that ECS has when to come back.
func (c *config) limit(qps float64, window int) {
	if qps == 0 && window == 0 {
		return
	}
	c.limits = []ecssim.Limit{{
		PerWindow: window, Window: time.Minute, QPS: qps, Burst: int(math.Ceil(qps)),
		RetryAfter: true, AcsRetryAfter: true, RateLimitHeader: true,
	}}
}

func (c *config) addKey(text string) error {
	id, rest, _ := strings.Cut(text, ":")
	secret, token, hasToken := strings.Cut(rest, ":")
	if id == "" || secret == "" || hasToken && token == "" {
		return fmt.Errorf("--access-key: use AK:SECRET or AK:SECRET:TOKEN; %w", errUsage)
	}
	for _, key := range c.options.Keys {
		if key.ID == id {
			return fmt.Errorf("--access-key: %s is given twice; %w", id, errUsage)
		}
	}
	c.options.Keys = append(c.options.Keys, ecssim.Key{ID: id, Secret: secret, Token: token})
	return nil
}

func (c *config) addGroup(text string) error {
	const form = "use REGION/ID=Accept or REGION/ID=Drop, such as cn-hangzhou/sg-1=Accept"
	location, options, ok := strings.Cut(text, "=")
	region, id, hasID := strings.Cut(location, "/")
	if !ok || !hasID || region == "" || id == "" {
		return errors.New(form)
	}
	parts := strings.Split(options, ",")
	group := ecssim.Group{Region: region, ID: id}
	for _, policy := range []string{ecssim.Accept, ecssim.Drop} {
		if strings.EqualFold(parts[0], policy) {
			group.Policy = policy
		}
	}
	if group.Policy == "" {
		return fmt.Errorf("policy %q: %s", parts[0], form)
	}
	for _, part := range parts[1:] {
		if err := setGroupOption(&group, part); err != nil {
			return err
		}
	}
	if err := group.Validate(); err != nil {
		return err
	}
	c.options.Groups = append(c.options.Groups, group)
	return nil
}

func setGroupOption(group *ecssim.Group, option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "type":
		if value != "enterprise" && value != "normal" {
			return fmt.Errorf("type %q: use enterprise or normal", value)
		}
		group.Enterprise = value == "enterprise"
	case "managed":
		if value != "" {
			return fmt.Errorf("%s: write managed without a value", option)
		}
		group.Managed = true
	case "rules":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("rules %q: use a number of 0 or more", value)
		}
		group.Rules = n
	case "account":
		group.Account = value
	case "vpc":
		group.VpcID = value
	case "name":
		group.Name = value
	default:
		return fmt.Errorf("option %q: use type=enterprise, managed, rules=N, account=ID, vpc=ID or name=TEXT", option)
	}
	return nil
}

func (c *config) addRole(text string) error {
	parts := strings.Split(text, ",")
	role := ecssim.Role{ARN: parts[0]}
	if err := role.Validate(); err != nil {
		return err
	}
	for _, part := range parts[1:] {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "external-id":
			role.ExternalID = value
		case "oidc-provider":
			role.OIDCProviderARN = value
		default:
			return fmt.Errorf("option %q: use external-id=TEXT or oidc-provider=ARN", part)
		}
	}
	c.options.Roles = append(c.options.Roles, role)
	return nil
}
