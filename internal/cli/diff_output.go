package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
	"github.com/sgp-operator/sgp-operator/internal/manifests"
)

// write shows the differences, and on standard error what is wrong, and a summary.
func (p Process) write(ctx context.Context, d *difference, form string) error {
	if form == "json" {
		encoder := json.NewEncoder(p.Stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(d)
	}
	var err error
	if external := p.Env("KUBECTL_EXTERNAL_DIFF"); external != "" && d.Summary.Change > 0 {
		err = p.external(ctx, d, strings.Fields(external))
	} else {
		err = d.unified(p.Stdout, p.colours())
	}
	for i := range d.Problems {
		_, _ = fmt.Fprintln(p.Stderr, d.Problems[i].String())
	}
	_, _ = fmt.Fprintln(p.Stderr, d)
	return err
}

// String is the summary.
func (d *difference) String() string {
	s := &d.Summary
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{s.ToAccept, "would change to Accept (connects the members, and overrides every custom rule)"},
		{s.ToDrop, "would change to Drop (isolates the members, save for what custom rules allow)"},
		{s.InSync, "as declared"},
		{s.DriftDetected, "would be reported, not changed (managementPolicy Observe)"},
		{s.Suspended, "suspended"},
		{s.OtherAccounts, "of other accounts, not compared"},
		{s.Problems, "wrong or not read"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return strings.Join(parts, "; ")
}

// palette are the escapes of a terminal; empty where there is none.
type palette struct{ bold, red, green, cyan, reset string }

// colours are used on a terminal, unless NO_COLOR is set.
func (p Process) colours() palette {
	if file, ok := p.Stdout.(*os.File); !ok || p.Env("NO_COLOR") != "" || p.Env("TERM") == "dumb" || !term.IsTerminal(int(file.Fd())) {
		return palette{}
	}
	return palette{"\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[0m"}
}

// unified writes a diff of a line for each group that would change.
func (d *difference) unified(w io.Writer, c palette) error {
	out := bufio.NewWriter(w)
	for i := range d.Groups {
		g := &d.Groups[i]
		resource := manifests.ResourceName(g.Namespace, g.Name)
		switch g.Reason {
		case reasonChange:
			_, _ = fmt.Fprintf(out, "%s--- cloud: %s in %s%s\n%s+++ %s: %s%s\n%s@@ -1 +1 @@%s\n%s-innerAccessPolicy: %s%s\n%s+innerAccessPolicy: %s%s\n",
				c.bold, g.SecurityGroupID, g.RegionID, c.reset, c.bold, g.Place, resource, c.reset, c.cyan, c.reset, c.red, g.Observed, c.reset, c.green, g.Declared, c.reset)
		case v1alpha1.ReasonDriftDetected:
			_, _ = fmt.Fprintf(out, "# %s: %s: %s in %s is %s and stays so: managementPolicy Observe reports that it is not %s\n",
				g.Place, resource, g.SecurityGroupID, g.RegionID, g.Observed, g.Declared)
		}
	}
	return out.Flush()
}

// external has another program compare two folders, with a file for each group that
// would change.
func (p Process) external(ctx context.Context, d *difference, command []string) error {
	folder, err := os.MkdirTemp("", "sgp-diff-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	cloud, declared := filepath.Join(folder, "CLOUD"), filepath.Join(folder, "DECLARED")
	if err := errors.Join(os.Mkdir(cloud, 0o700), os.Mkdir(declared, 0o700)); err != nil {
		return err
	}
	for i := range d.Groups {
		if g := &d.Groups[i]; g.Reason == reasonChange {
			name := g.RegionID + "." + g.SecurityGroupID + ".yaml"
			for in, value := range map[string]string{cloud: g.Observed, declared: g.Declared} {
				text := fmt.Sprintf("regionId: %s\nsecurityGroupId: %s\ninnerAccessPolicy: %s\n", g.RegionID, g.SecurityGroupID, value)
				if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
		}
	}
	run := exec.CommandContext(ctx, command[0], append(command[1:], cloud, declared)...) //nolint:gosec // the program that the user names
	run.Stdout, run.Stderr = p.Stdout, p.Stderr
	err = run.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return nil // it found differences
	}
	if err != nil {
		return fmt.Errorf("KUBECTL_EXTERNAL_DIFF: %w", err)
	}
	return nil
}
