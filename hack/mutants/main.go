// Command mutants puts mistakes back into the reconciler, one at a time, and shows that
// the exploration finds each, with the shortest sequence that leads to it. It writes a
// Markdown table to standard output and changes nothing: the compiler is given the
// changed files in place of the real ones.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run tries the mutants whose names contain one of the words; all if there is none.
func run(ctx context.Context, words []string) error {
	dir, err := os.MkdirTemp("", "sgp-mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fmt.Println("| mistake | found as | steps | the shortest sequence |\n| --- | --- | --- | --- |")
	alive := 0
	for _, m := range mutants {
		if !chosen(m.name, words) {
			continue
		}
		f, err := m.try(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if f.what == "" {
			alive++
			f.what = "**not found**"
		}
		fmt.Printf("| %s | %s | %d | %s |\n", m.name, f.what, len(f.steps), strings.Join(f.steps, "; "))
	}
	if alive > 0 {
		return fmt.Errorf("%d mistakes were not found", alive)
	}
	return nil
}

func chosen(name string, words []string) bool {
	for _, word := range words {
		if strings.Contains(name, word) {
			return true
		}
	}
	return len(words) == 0
}

// finding is what a test says that fails.
type finding struct {
	what  string
	steps []string
}

// try compiles and runs the test with the mistake in place.
func (m mutant) try(ctx context.Context, dir string) (finding, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return finding{}, err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return finding{}, fmt.Errorf("the text to replace stands %d times in %s", n, m.file)
	}
	changed := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return finding{}, err
	}
	real, err := filepath.Abs(m.file)
	if err != nil {
		return finding{}, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{real: changed}})
	if err != nil {
		return finding{}, err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return finding{}, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", list, "-count=1", "-vet=off", "-run", m.test, "./controllers/securitygrouppolicy",
		"-explore.only", m.only, "-explore.disturbances", m.total)
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return finding{}, ctx.Err()
	}
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return finding{}, err
	}
	if err == nil {
		return finding{}, nil
	}
	f := read(string(output))
	if f.what == "" {
		return f, fmt.Errorf("the test says nothing: %s", output)
	}
	return f, nil
}

var (
	head = regexp.MustCompile(`(?m)^\s+explore_test\.go:\d+: (.*)\n\s+after (\d+) steps:\n`)
	line = regexp.MustCompile(`^\s+(\d+)s (.*)$`)
)

// read finds the sequence in what the test prints.
func read(output string) (f finding) {
	at := head.FindStringSubmatchIndex(output)
	if at == nil {
		return f
	}
	f.what = output[at[2]:at[3]]
	for text := range strings.Lines(output[at[1]:]) {
		match := line.FindStringSubmatch(strings.TrimRight(text, "\n"))
		if match == nil {
			break
		}
		f.steps = append(f.steps, match[1]+" s "+match[2])
	}
	return f
}
