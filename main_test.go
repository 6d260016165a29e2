package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAWrongFlagEndsItWithOneClearLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--ecs-qsp=5"}, "-ecs-qsp"},
		{[]string{"--ecs-qps=0"}, "--ecs-qps must be above 0"},
		{[]string{"--ecs-burst=0"}, "--ecs-burst at least 1"},
		{[]string{"--resync-interval=5s"}, "--resync-interval must be at least 30s"},
		{[]string{"--resync-interval=often"}, "resync-interval"},
		{[]string{"--ecs-timeout=1ms"}, "--ecs-timeout must be between 1s and 30s"},
		{[]string{"--ecs-timeout=31s"}, "--ecs-timeout must be between 1s and 30s"},
		{[]string{"--watch-label-selector=a in"}, "--watch-label-selector: "},
		{[]string{"--max-concurrent-reconciles=0"}, "--max-concurrent-reconciles must be at least 1"},
		{[]string{"--require-account", "--lend-own-credentials"}, "--require-account and --lend-own-credentials contradict each other"},
		{[]string{"--metrics-cert-path=/does/not/exist"}, "--metrics-cert-path: /does/not/exist must hold tls.crt and tls.key"},
		{[]string{"--metrics-cert-path=.", "--metrics-secure=false"}, "--metrics-cert-path needs --metrics-secure"},
		{[]string{"start"}, "unexpected argument \"start\""},
		{[]string{"--ecs-endpoint=http://ecs.example"}, "--ecs-endpoint: endpoint \"http://ecs.example\" is not encrypted"},
		{[]string{"--sts-endpoint=sts"}, "--sts-endpoint: endpoint \"sts\" must begin with https://"},
		{[]string{"--ecs-endpoint=https://ecs.{region}"}, "--ecs-endpoint: endpoint \"https://ecs.{region}\" needs a fixed domain"},
		{[]string{"--extra-regions=CN-hangzhou"}, "--extra-regions: \"CN-hangzhou\" is not a pattern of region ids"},
		{[]string{"--extra-regions=cn-hangzhou.evil.test"}, "--extra-regions: \"cn-hangzhou.evil.test\" is not a pattern of region ids"},
		{[]string{"--extra-regions=cn-test-*,oss-*"}, "--extra-regions: \"oss-*\" must begin with an area of Alibaba Cloud such as cn-"},
		{[]string{"--kubeconfig=/does/not/exist"}, "give --kubeconfig or KUBECONFIG"},
	} {
		err := run(t.Context(), c.args)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want a word of %q", c.args, err, c.want)
		}
	}
}

func TestTheSDKsDebugOutputIsRefused(t *testing.T) {
	t.Setenv("DEBUG", "dara")
	if err := run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "DEBUG") {
		t.Errorf("%v", err)
	}
}

func TestTheSameShardHasTheSameLeaseHoweverItIsWritten(t *testing.T) {
	for _, same := range [][][]string{
		{{"--watch-namespaces=a,b"}, {"--watch-namespaces=b,a"}, {"--watch-namespaces= b , a,a,"}},
		{{"--watch-label-selector=shard in (a,b),tier=x"}, {"--watch-label-selector=tier = x, shard in (b, a)"}, {"--watch-label-selector=tier==x,shard in (a,b)"}},
		{{}, {"--watch-namespaces=,"}, {"--watch-label-selector="}},
	} {
		ids := map[string][]string{}
		for _, args := range same {
			o, err := parse(args)
			if err != nil {
				t.Fatal(err)
			}
			ids[o.LeaderElectionID] = append(ids[o.LeaderElectionID], fmt.Sprint(args))
		}
		if len(ids) != 1 {
			t.Errorf("leases of their own: %v", ids)
		}
	}
}

// TestAnInstalledShardKeepsItsLease is for upgrades: while the old and the new manager
// run side by side, both must take the same one.
func TestAnInstalledShardKeepsItsLease(t *testing.T) {
	for arg, want := range map[string]string{
		"--watch-namespaces=team-a":                                     "sgp-operator-d577149e",
		"--watch-namespaces=team-a,team-b":                              "sgp-operator-ee9c4638",
		"--watch-label-selector=ecs.alibabacloud.com/shard=a":           "sgp-operator-6c86bf75",
		"--watch-label-selector=ecs.alibabacloud.com/shard notin (a,b)": "sgp-operator-5b0e2e15",
	} {
		if o, err := parse([]string{arg}); err != nil || o.LeaderElectionID != want {
			t.Errorf("%s: %s, %v; want %s", arg, o.LeaderElectionID, err, want)
		}
	}
}

func TestEachShardHasALeaseOfItsOwn(t *testing.T) {
	ids := map[string][]string{}
	for _, args := range [][]string{nil, {"--watch-label-selector=shard=a"}, {"--watch-label-selector=shard=b"}, {"--watch-namespaces=a"}, {"--watch-namespaces=a", "--watch-label-selector=shard=a"}} {
		o, err := parse(args)
		if err != nil {
			t.Fatal(err)
		}
		ids[o.LeaderElectionID] = append(ids[o.LeaderElectionID], fmt.Sprint(args))
	}
	if len(ids) != 5 {
		t.Errorf("shared leases: %v", ids)
	}
}

// What it asks for is the default by now.
func TestRequireAccountIsStillAccepted(t *testing.T) {
	for _, args := range [][]string{nil, {"--require-account"}, {"--require-account=false"}} {
		o, err := parse(args)
		if err != nil {
			t.Fatal(err)
		}
		if o.LendOwnCredentials || o.InstanceRole {
			t.Errorf("%v: the manager's own credentials are lent, or the node's", args)
		}
	}
	for flag, lines := range map[string]int{"--require-account": 1, "--require-account=false": 0} {
		if said := stderrOf(t, func() { _ = run(t.Context(), []string{flag, "--kubeconfig=/does/not/exist"}) }); strings.Count(said, "will go away") != lines {
			t.Errorf("%s says %q", flag, said)
		}
	}
	if o, err := parse([]string{"--lend-own-credentials", "--instance-role"}); err != nil || !o.LendOwnCredentials || !o.InstanceRole {
		t.Errorf("%+v, %v", o, err)
	}
}

// stderrOf is what a function writes to standard error.
func stderrOf(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	defer func(was *os.File) { os.Stderr = was }(os.Stderr)
	os.Stderr = file
	f()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
