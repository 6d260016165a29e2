package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/internal/ecssim"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"manager": main, "kubectl-alicloud_sgp": main})
}

// TestCommands runs the binary itself against a simulator: one for each script of
// testdata/script, with what simCommand adds.
func TestCommands(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			sim := ecssim.New(ecssim.Options{Keys: []ecssim.Key{{ID: "LTAItest", Secret: "very-secret"}}})
			url, stop, err := sim.Start()
			if err != nil {
				return err
			}
			env.Defer(stop)
			env.Values["sim"] = sim
			env.Values["docs"] = filepath.Join(here, "docs")
			env.Setenv("CLOUD", "--ecs-endpoint="+url)
			env.Setenv("FAST", "--ecs-qps=10000")
			env.Setenv("PLUGIN", filepath.Join(here, "hack", "krew"))
			if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" { // the tests' kubectl
				env.Setenv("PATH", assets+string(os.PathListSeparator)+env.Getenv("PATH"))
			}
			env.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAItest")
			env.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "very-secret")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"sim": simCommand, "interrupt": interruptCommand, "interrupt-after": interruptAfterCommand, "lines": linesCommand, "pipeline": pipelineCommand},
	})
}

// simCommand changes the world of a script:
//
//	sim group ID [policy=Drop] [name=TEXT] [region=ID] [vpc=ID] [tag=K=V] [enterprise] [managed]
//	sim groups N
//	sim fault KIND [action=NAME] [group=ID] [code=CODE] [status=N] [times=N] [skip=N]
//	sim deny ACTION
//	sim limit QPS
//	sim await ACTION N: until so many calls were made
//	sim release
//	sim calls ACTION N: fails unless so many were made
func simCommand(ts *testscript.TestScript, _ bool, args []string) {
	sim := ts.Value("sim").(*ecssim.Server)
	option := func(name, otherwise string) string {
		for _, arg := range args[1:] {
			if key, value, _ := strings.Cut(arg, "="); key == name {
				return value
			}
		}
		return otherwise
	}
	has := func(word string) bool { return strings.Contains(" "+strings.Join(args, " ")+" ", " "+word+" ") }
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		ts.Check(err)
		return n
	}
	made := func() int { return callsOf(sim, args[1]) }
	switch args[0] {
	case "group":
		g := ecssim.Group{Region: option("region", "cn-hangzhou"), ID: args[1], Policy: option("policy", "Accept"), VpcID: option("vpc", ""),
			Name: strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\u2028`, "\u2028").Replace(option("name", "")), Enterprise: has("enterprise"), Managed: has("managed")}
		if key, value, tagged := strings.Cut(option("tag", ""), "="); tagged {
			g.Tags = map[string]string{key: value}
		}
		sim.PutGroup(g)
	case "groups":
		for i := range number(args[1]) {
			sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: fmt.Sprintf("sg-%05d", i), Name: fmt.Sprintf("group %d", i)})
		}
	case "fault":
		sim.Inject(ecssim.Fault{Kind: ecssim.FaultKind(args[1]), Action: option("action", ""), GroupID: option("group", ""), Code: option("code", ""),
			Status: number(option("status", "0")), Times: number(option("times", "0")), Skip: number(option("skip", "0"))})
	case "deny":
		sim.PutKey(ecssim.Key{ID: "LTAItest", Secret: "very-secret", Deny: []string{args[1]}})
	case "limit":
		sim.SetLimits([]ecssim.Limit{{QPS: float64(number(args[1])), Burst: 1}})
	case "await":
		for made() < number(args[2]) {
			time.Sleep(time.Millisecond)
		}
	case "release":
		sim.Release()
	case "calls":
		if n := made(); n != number(args[2]) {
			ts.Fatalf("%d calls of %s, want %s", n, args[1], args[2])
		}
	default:
		ts.Fatalf("sim %s", args[0])
	}
}

func callsOf(sim *ecssim.Server, action string) (n int) {
	for _, call := range sim.Calls() {
		if call.Action == action {
			n++
		}
	}
	return n
}

// interruptCommand sends a signal to every background command, as Ctrl-C does.
func interruptCommand(ts *testscript.TestScript, _ bool, _ []string) {
	for _, command := range ts.BackgroundCmds() {
		ts.Check(command.Process.Signal(syscall.SIGINT))
	}
}

// interruptAfterCommand is `interrupt-after ACTION N FILE`: after so many further
// calls the process whose id is in a file gets a signal, as by Ctrl-C. It returns at once,
// for commands that run in the foreground, as they must on a terminal.
func interruptAfterCommand(ts *testscript.TestScript, _ bool, args []string) {
	sim, file := ts.Value("sim").(*ecssim.Server), ts.MkAbs(args[2])
	after, err := strconv.Atoi(args[1])
	ts.Check(err)
	after += callsOf(sim, args[0])
	over := make(chan struct{})
	ts.Defer(func() { close(over) })
	go func() {
		for callsOf(sim, args[0]) < after {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
		}
		text, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGINT)
		}
	}()
}

// linesCommand is `lines N FILE REGEXP-FREE-TEXT`: so many lines of a file, or of a
// folder's files, hold a text.
func linesCommand(ts *testscript.TestScript, _ bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	n := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		ts.Check(err)
		for line := range strings.SplitSeq(string(text), "\n") {
			if strings.Contains(line, args[2]) {
				n++
			}
		}
	}
	if want, _ := strconv.Atoi(args[0]); n != want {
		ts.Fatalf("%d lines of %s hold %q, want %d", n, args[1], args[2], want)
	}
}

// pipelineCommand is `pipeline FILE SCRIPT`: writes the script of a pipeline in docs/ci
// that runs a diff.
func pipelineCommand(ts *testscript.TestScript, _ bool, args []string) {
	text, err := os.ReadFile(filepath.Join(ts.Value("docs").(string), "ci", args[0]))
	ts.Check(err)
	var pipeline any
	ts.Check(yaml.Unmarshal(text, &pipeline))
	var find func(any)
	find = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, inner := range value {
				find(inner)
			}
		case []any:
			for _, inner := range value {
				find(inner)
			}
		case string:
			if strings.Contains(value, `"$SGP" diff `) {
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(value), 0o600))
			}
		}
	}
	find(pipeline)
}
