package states

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	tableBegins = "<!-- states: begin -->\n"
	tableEnds   = "<!-- states: end -->\n"
)

// order is that in which the table lists what Argo CD shows.
var order = []string{"Healthy", "Progressing", "Suspended", "Degraded"}

func TestTheTableInTheDocsIsCurrent(t *testing.T) {
	const page = root + "/docs/gitops.md"
	text := read(t, page)
	before, rest, begins := bytes.Cut(text, []byte(tableBegins))
	_, after, ends := bytes.Cut(rest, []byte(tableEnds))
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", page)
	}
	var b strings.Builder
	b.WriteString("| state | Ready | kstatus | Flux with the expressions | Argo CD | message in Argo CD |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, kind := range kinds {
		fmt.Fprintf(&b, "| **%s** | | | | | |\n", kind)
		var rows []string
		for _, s := range states(t, kind) {
			h := s.argo(t)
			rows = append(rows, fmt.Sprintf("%d| [%s](../config/argocd/resource_customizations/%s/%s/%s) | %s | %s | %s | %s | %s |\n",
				slices.Index(order, h.Status), s.name, group, kind, s.path, s.ready(), s.kstatus(t), s.flux(t), h.Status, strings.ReplaceAll(h.Message, "|", `\|`)))
		}
		slices.Sort(rows)
		for _, row := range rows {
			b.WriteString(row[1:])
		}
	}
	current(t, page, slices.Concat(before, []byte(tableBegins), []byte(b.String()), []byte(tableEnds), after))
}

// ready is what the condition Ready says, and what stands beside it for another reason.
func (s state) ready() string {
	if s.condition("Ready", "status") == "" {
		return "–"
	}
	text := s.condition("Ready", "status") + ", " + s.condition("Ready", "reason")
	if beside := s.condition("Reconciling", "reason"); beside != "" && beside != s.condition("Ready", "reason") {
		text += "; Reconciling, " + beside
	}
	if !s.observed() {
		text += " (of an older spec)"
	}
	return text
}

func TestTheDocsHaveTheExpressionsOfTheFile(t *testing.T) {
	_, spec, found := bytes.Cut(read(t, root+"/config/flux/health-check-exprs.yaml"), []byte("\nspec:\n"))
	if !found || !bytes.Contains(read(t, root+"/docs/gitops.md"), spec) {
		t.Error("docs/gitops.md does not have the spec of config/flux/health-check-exprs.yaml")
	}
}
