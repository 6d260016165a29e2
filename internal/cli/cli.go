// Package cli holds the commands beside the manager: they read the cloud, manifests or a
// cluster, and write files and reports. Data goes to standard output, everything else to
// standard error. They call the cloud through the packages that the manager uses, decide
// by the same, know no controllers, and never write to a cluster.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Process is what a command has of the process that it runs in.
type Process struct {
	// Args are those of the process, its name included.
	Args []string
	// Env finds an environment variable.
	Env            func(string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Now is the clock.
	Now func() time.Time
	// Manager runs the manager, with its flags. Its flag.ErrHelp is no failure.
	Manager func(ctx context.Context, args []string) error
}

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitStopped = 130 // as a shell has it for Ctrl-C
)

// usageError is a mistake in the command line, which has had no effect.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func misused(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errStopped is the end of a command by a signal.
var errStopped = errors.New("stopped")

// exitError ends a command with a code of its own; without an error nothing more is said.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

// Main runs the command that the arguments name, the manager if they name none, and
// returns the exit code. As a plugin of kubectl it runs no manager.
func Main(ctx context.Context, p Process) int {
	name, plugin := displayName(p.Args)
	args := p.Args[min(1, len(p.Args)):]
	if !plugin && (len(args) == 0 || strings.HasPrefix(args[0], "-")) {
		return p.report("manager", p.Manager(ctx, args))
	}
	root := p.commands(name, plugin) //nolint:contextcheck // cobra hands each command its context
	root.SetArgs(args)
	ran, err := root.ExecuteContextC(ctx)
	said := name
	if ran != nil {
		said = ran.CommandPath()
	}
	return p.report(said, err)
}

// report ends a command with one line where it has failed.
func (p Process) report(command string, err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	own, coded := errors.AsType[exitError](err)
	if coded && own.error == nil {
		return own.code
	}
	_, _ = fmt.Fprintf(p.Stderr, "%s: %s\n", command, strings.ReplaceAll(err.Error(), "\n", " "))
	_, misuse := errors.AsType[usageError](err)
	switch {
	case misuse:
		return exitUsage
	case errors.Is(err, errStopped):
		return exitStopped
	case coded:
		return own.code
	}
	return exitFailed
}

// displayName is how users call the binary: kubectl runs kubectl-alicloud_sgp for
// `kubectl alicloud-sgp`.
func displayName(args []string) (name string, plugin bool) {
	if len(args) == 0 {
		return "manager", false
	}
	base := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	if rest, ok := strings.CutPrefix(base, "kubectl-"); ok {
		return "kubectl " + strings.ReplaceAll(strings.ReplaceAll(rest, "-", " "), "_", "-"), true
	}
	return "manager", false
}

func (p Process) commands(name string, plugin bool) *cobra.Command {
	root := &cobra.Command{
		Use: name, Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:         "Inner access policies of Alibaba Cloud ECS security groups",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.CompletionOptions.DisableDefaultCmd = plugin // kubectl asks by itself, see docs/cli.md
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return misused("%w; see %s --help", err, c.CommandPath()) })
	root.AddCommand(p.importCommand(), p.diffCommand(), p.auditCommand(), p.conformanceCommand(), p.versionCommand())
	if plugin {
		return root
	}
	manager := &cobra.Command{
		Use: "manager", Short: "Run the operator; the default without a command", DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error { return p.Manager(c.Context(), args) },
	}
	root.AddCommand(manager)
	// What is no command is the manager's to refuse.
	root.DisableFlagParsing, root.Args, root.RunE = true, cobra.ArbitraryArgs, manager.RunE
	return root
}

// noArguments refuses what follows no flag.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misused("unexpected argument %q: every option begins with -", args[0])
	}
	return nil
}
