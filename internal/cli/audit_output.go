package cli

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sgp-operator/sgp-operator/internal/manifests"
)

func (p Process) auditJSON(r *auditReport) error {
	encoder := json.NewEncoder(p.Stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// auditCSV writes a line for each group. Its summary goes to standard error.
func (p Process) auditCSV(r *auditReport) error {
	w := csv.NewWriter(p.Stdout)
	_ = w.Write([]string{
		"regionId", "securityGroupId", "namespace", "name", "account", "managementPolicy", "state", "declared", "observed",
		"since", "changedBy", "requestId", "job", "declaredBy", "ready", "reason", "message",
		"isolated", "evidence", "confirmBy",
	})
	for i := range r.Groups {
		a := &r.Groups[i]
		line := []string{
			a.RegionID, a.SecurityGroupID, a.Namespace, a.Name, a.Account, a.ManagementPolicy, a.State, a.Declared, a.Observed,
			a.Since, a.ChangedBy, a.RequestID, a.Job, a.DeclaredBy, a.Ready, a.Reason, a.Message,
			a.Isolated, a.Evidence, a.ConfirmBy,
		}
		for i, cell := range line {
			if strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "+") || strings.HasPrefix(cell, "-") || strings.HasPrefix(cell, "@") {
				line[i] = "'" + cell // a spreadsheet would take it for a formula
			}
		}
		_ = w.Write(line)
	}
	w.Flush()
	_, _ = fmt.Fprintln(p.Stderr, r)
	return w.Error()
}

// String is the summary in a line.
func (r *auditReport) String() string {
	s := &r.Summary
	return fmt.Sprintf("%d groups: %d as declared, %d differ, %d not known, %d suspended; observed %d Accept, %d Drop; %d only reported",
		s.Groups, s.AsDeclared, s.Differs, s.NotKnown, s.Suspended, s.Accept, s.Drop, s.Observe)
}

// auditMarkdown writes a page: a summary, what somebody has to see to, and every group.
func (p Process) auditMarkdown(r *auditReport) error {
	out := bufio.NewWriter(p.Stdout)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	s := &r.Summary
	say("# Inner access policies of security groups\n")
	say("As of %s, from %s.\n", r.Time, cell(r.Source))
	say("| groups | as declared | differ | not known | suspended | observed Accept | observed Drop | only reported |")
	say("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	say("| %d | %d | %d | %d | %d | %d | %d | %d |\n", s.Groups, s.AsDeclared, s.Differs, s.NotKnown, s.Suspended, s.Accept, s.Drop, s.Observe)
	say("Drop isolates the members of a group from one another, save for what custom rules allow; Accept connects them, and overrides every custom rule. Members that share another group with Accept reach one another all the same.\n")
	if len(r.Managers) > 0 {
		say("What was observed is what the operator has recorded, and true while it runs. Its leases:\n")
		for _, m := range r.Managers {
			say("- %s", cell(m))
		}
		say("")
	} else if strings.HasPrefix(r.Source, "cluster ") {
		say("What was observed is what the operator has recorded, and true while it runs. **No lease of a manager was found**, or none may be read.\n")
	}
	r.table(say, "To see to", func(a *audited) bool { return a.State != stateAsDeclared || a.ConfirmBy != "" })
	r.verdicts(say)
	if len(r.Problems) > 0 {
		say("## Not read\n")
		for i := range r.Problems {
			say("- %s", cell(r.Problems[i].String()))
		}
		say("")
	}
	r.table(say, "All groups", func(*audited) bool { return true })
	return out.Flush()
}

// verdicts are those of the groups that are not shown to be isolated, where any resource
// asks for one.
func (r *auditReport) verdicts(say func(string, ...any)) {
	if !slices.ContainsFunc(r.Groups, func(a audited) bool { return a.Isolated != "" }) {
		return
	}
	say("## Drop, and not isolated\n")
	rows := 0
	for i := range r.Groups {
		a := &r.Groups[i]
		if a.Isolated == "" || a.Isolated == string(metav1.ConditionTrue) {
			continue
		}
		if rows++; rows == 1 {
			say("Of those whose `spec.verifyIsolation` asks. Unknown is what could not be read.\n")
			say("| group | region | resource | observed | isolated | evidence |")
			say("| --- | --- | --- | --- | --- | --- |")
		}
		say("| %s | %s | %s | %s | %s | %s |", a.SecurityGroupID, a.RegionID, cell(manifests.ResourceName(a.Namespace, a.Name)),
			cmp.Or(a.Observed, "-"), a.Isolated, cell(a.Evidence))
	}
	if rows == 0 {
		say("None of the %d groups whose `spec.verifyIsolation` asks.", r.Summary.Isolated)
	}
	say("")
}

func (r *auditReport) table(say func(string, ...any), title string, wanted func(*audited) bool) {
	say("## %s\n", title)
	rows := 0
	for i := range r.Groups {
		a := &r.Groups[i]
		if !wanted(a) {
			continue
		}
		if rows++; rows == 1 {
			say("| group | region | resource | declared | observed | isolated | state | since | request id | job of | declared by |")
			say("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
		}
		say("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |", a.SecurityGroupID, a.RegionID, cell(manifests.ResourceName(a.Namespace, a.Name)),
			a.Declared, cmp.Or(a.Observed, "-"), cmp.Or(a.Isolated, "-"), a.State, cmp.Or(a.Since, "-"), cmp.Or(cell(a.RequestID), "-"), cell(a.Job), cmp.Or(cell(a.DeclaredBy), "-"))
	}
	if rows == 0 {
		say("None.")
	}
	say("")
}

// cell is a text that keeps its place in a line of Markdown.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'", "\n", " ", "\r", " ").Replace(text)
}
