package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
			env.Values["interrupted"] = &[]*exec.Cmd{}
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
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sim": simCommand, "lines": linesCommand, "exits": exitsCommand, "interrupt": interruptCommand, "interrupt-after": interruptAfterCommand,
			"ended": endedCommand, "cleanup": cleanupCommand, "pipeline": pipelineCommand,
		},
	})
}

// simCommand changes the world of a script:
//
//	sim group ID [policy=Drop] [name=TEXT] [region=ID] [vpc=ID] [tag=K=V] [enterprise] [managed]
//	sim groups N [tag=K=V]
//	sim fault KIND [action=NAME] [group=ID] [code=CODE] [status=N] [times=N] [skip=N] [delay=TIME]
//	sim clear: no fault any more
//	sim deny ACTION
//	sim second ACTION: a second key, LTAIsecond, to which RAM refuses an action
//	sim lag READS: so many reads show the policy before a change
//	sim only ID...: fails unless these groups are there, never changed, and no others
//	sim limit QPS [action=NAME] [burst=N]
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
	tags := func() map[string]string {
		if key, value, tagged := strings.Cut(option("tag", ""), "="); tagged {
			return map[string]string{key: value}
		}
		return nil
	}
	made := func() int { return callsOf(sim, args[1]) }
	switch args[0] {
	case "group":
		g := ecssim.Group{Region: option("region", "cn-hangzhou"), ID: args[1], Policy: option("policy", "Accept"), VpcID: option("vpc", ""),
			Name: strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\u2028`, "\u2028").Replace(option("name", "")), Enterprise: has("enterprise"), Managed: has("managed"), Tags: tags()}
		sim.PutGroup(g)
	case "groups":
		for i := range number(args[1]) {
			sim.PutGroup(ecssim.Group{Region: "cn-hangzhou", ID: fmt.Sprintf("sg-%05d", i), Name: fmt.Sprintf("group %d", i), Tags: tags()})
		}
	case "fault":
		delay, err := time.ParseDuration(option("delay", "0"))
		ts.Check(err)
		sim.Inject(ecssim.Fault{Delay: delay, Kind: ecssim.FaultKind(args[1]), Action: option("action", ""), GroupID: option("group", ""), Code: option("code", ""),
			Status: number(option("status", "0")), Times: number(option("times", "0")), Skip: number(option("skip", "0"))})
	case "clear":
		sim.ClearFaults()
	case "deny":
		sim.PutKey(ecssim.Key{ID: "LTAItest", Secret: "very-secret", Deny: []string{args[1]}})
	case "second":
		sim.PutKey(ecssim.Key{ID: "LTAIsecond", Secret: "other-secret", Deny: []string{args[1]}})
	case "lag":
		sim.SetReadLag(ecssim.ReadLag{Reads: number(args[1])})
	case "only":
		var there []string
		for _, g := range sim.Groups() {
			there = append(there, g.ID)
			if effects := sim.Effects(g.Region, g.ID); len(effects) > 0 {
				ts.Fatalf("%s was changed: %+v", g.ID, effects)
			}
		}
		if !slices.Equal(there, slices.Sorted(slices.Values(args[1:]))) {
			ts.Fatalf("the groups are %v, want %v", there, args[1:])
		}
	case "limit":
		sim.SetLimits([]ecssim.Limit{{Action: option("action", ""), QPS: float64(number(args[1])), Burst: number(option("burst", "1"))}})
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
	interrupted := ts.Value("interrupted").(*[]*exec.Cmd)
	*interrupted = ts.BackgroundCmds()
	for _, command := range *interrupted {
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

// endedCommand is `ended CODE`: what was interrupted last, and waited for, has ended so.
func endedCommand(ts *testscript.TestScript, _ bool, args []string) {
	for _, command := range *ts.Value("interrupted").(*[]*exec.Cmd) {
		if code := strconv.Itoa(command.ProcessState.ExitCode()); code != args[0] {
			ts.Fatalf("exit code %s, want %s", code, args[0])
		}
	}
}

// exitsCommand is `exits CODE PROGRAM ARGS...`, as exec.
func exitsCommand(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		code = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
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

// cleanupCommand is `cleanup FILE`: runs the command by which standard error, kept in the
// file, tells how to delete what a run has left.
func cleanupCommand(ts *testscript.TestScript, _ bool, args []string) {
	_, told, found := strings.Cut(ts.ReadFile(args[0]), "delete all of this run with: ")
	if !found {
		ts.Fatalf("%s tells no command", args[0])
	}
	command, _, _ := strings.Cut(told, "\n")
	words := append(strings.Fields(command), ts.Getenv("CLOUD"))
	ts.Check(ts.Exec(words[0], words[1:]...))
}
