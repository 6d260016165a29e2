package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// settings are what a run was made with.
type settings struct {
	Latency time.Duration
	QPS     float64
	Burst   int
	Workers int
	Bound   float64
	Edits   int
	Rate    float64
}

func settingsOf(o options) settings {
	return settings{Latency: o.latency, QPS: o.qps, Burst: o.burst, Workers: o.workers, Bound: o.bound(), Edits: o.edits, Rate: o.editRate}
}

// machine is where a run was made, and with what.
type machine struct {
	CPU, Memory, System, Go, Commit, Date string
}

func describeMachine(ctx context.Context, o options) machine {
	m := machine{
		CPU:    fmt.Sprintf("%d × %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name")),
		Memory: "unknown", Go: runtime.Version(), Date: time.Now().UTC().Format(time.DateOnly),
		System: runtime.GOOS + "/" + runtime.GOARCH,
	}
	var kib float64
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%f kB", &kib); err == nil {
		m.Memory = fmt.Sprintf("%.0f GiB", kib/1024/1024)
	}
	git := func(args ...string) string {
		command := exec.CommandContext(ctx, "git", args...)
		command.Dir = o.root
		text, err := command.Output()
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(string(text))
	}
	m.Commit = git("rev-parse", "--short", "HEAD")
	// Only what the manager is built of.
	if git("status", "--porcelain", "--", "go.mod", "main.go", "api", "controllers", "internal") != "" {
		m.Commit += " with local changes"
	}
	return m
}

// field is a value of a file of names and values, as Linux has them in /proc.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
