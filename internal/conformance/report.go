package conformance

import (
	"fmt"
	"strings"
	"time"
)

// Finding is what became of a check.
type Finding struct {
	Check
	Verdict    Verdict
	Seen       string
	RequestIDs []string
}

// Measurement is a figure that nothing is assumed of.
type Measurement struct{ What, Value string }

func (r *run) measure(what, format string, args ...any) {
	r.measured = append(r.measured, Measurement{what, fmt.Sprintf(format, args...)})
}

// Report is what a run has seen.
type Report struct {
	RunID, Region, VPC, Host, Version string
	Began                             time.Time
	// Findings of the checks that were made, in their order.
	Findings []Finding
	Measured []Measurement
	// Made is how many groups the run has made, and Left are those that it could not
	// delete.
	Made int
	Left []Left
}

// Count is how many checks ended so.
func (r *Report) Count(v Verdict) (n int) {
	for _, f := range r.Findings {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

// Markdown is the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What ECS does, and what sgp-operator assumes\n\n")
	row(&b, "run", r.RunID)
	row(&b, "---", "---")
	row(&b, "began", r.Began.UTC().Format("2006-01-02 15:04:05")+" UTC")
	row(&b, "region", r.Region)
	row(&b, "VPC", r.VPC)
	row(&b, "endpoint", r.Host)
	row(&b, "version", r.Version)
	row(&b, "groups", fmt.Sprintf("%d made, %d left behind", r.Made, len(r.Left)))
	fmt.Fprintf(&b, "\n%d same, %d different, %d could not be checked, %d not checked",
		r.Count(Same), r.Count(Different), r.Count(Failed), r.Count(NotChecked))
	if missing := len(Checks()) - len(r.Findings); missing > 0 {
		fmt.Fprintf(&b, ", %d not reached", missing)
	}
	b.WriteString(".\n\n")
	row(&b, "check", "assumed", "seen", "verdict", "RequestIds")
	row(&b, "---", "---", "---", "---", "---")
	for _, f := range r.Findings {
		verdict := string(f.Verdict)
		if f.Verdict == Different || f.Verdict == Failed {
			verdict = "**" + verdict + "**"
		}
		row(&b, f.ID, f.Assumed+" ("+string(f.Source)+")", f.Seen, verdict, someOf(f.RequestIDs))
	}
	if len(r.Measured) > 0 {
		b.WriteString("\n## Measured\n\n")
		row(&b, "what", "value")
		row(&b, "---", "---")
		for _, m := range r.Measured {
			row(&b, m.What, m.Value)
		}
	}
	return b.String()
}

// List is a Markdown table of all checks.
func List() string {
	var b strings.Builder
	row(&b, "check", "assumed", "source")
	row(&b, "---", "---", "---")
	for _, c := range Checks() {
		row(&b, c.ID, c.Assumed, string(c.Source))
	}
	return b.String()
}

// maxRequestIDs bounds how many a row shows: the last are those of what was seen.
const maxRequestIDs = 6

func someOf(ids []string) string {
	if more := len(ids) - maxRequestIDs; more > 0 {
		return fmt.Sprintf("(%d before) %s", more, strings.Join(ids[more:], " "))
	}
	return strings.Join(ids, " ")
}

const maxCell = 400

// row writes one line of a table, whatever its cells hold.
func row(b *strings.Builder, cells ...string) {
	for _, cell := range cells {
		cell = strings.Join(strings.Fields(cell), " ")
		if runes := []rune(cell); len(runes) > maxCell {
			cell = string(runes[:maxCell-1]) + "…"
		}
		b.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
	}
	b.WriteString("|\n")
}
