// Docs writes the pages of docs/reference that follow from the code: flags, metrics,
// reasons, events and error codes. It is started by `make docs`, beside crd-ref-docs,
// which writes the page of the API.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	root := flag.String("root", ".", "Top of the repository.")
	manager := flag.String("manager", "bin/manager", "The binary whose flags are told.")
	flag.Parse()
	if err := write(*root, *manager); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func write(root, manager string) error {
	for _, page := range []struct {
		name string
		make func(root, manager string) (string, error)
	}{
		{"flags", func(_, manager string) (string, error) { return flags(manager) }},
		{"metrics", func(string, string) (string, error) { return metricsPage() }},
		{"reasons", func(root, _ string) (string, error) { return reasons(root) }},
		{"events", func(root, _ string) (string, error) { return events(root) }},
		{"error-codes", func(root, _ string) (string, error) { return errorCodes(root) }},
	} {
		text, err := page.make(root, manager)
		if err != nil {
			return fmt.Errorf("%s: %w", page.name, err)
		}
		file := filepath.Join(root, "docs", "reference", page.name+".md")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // a page is for everybody to read
			return err
		}
	}
	return nil
}

// page is what is written, line by line.
type page struct{ strings.Builder }

// newPage begins a page; source is where its content comes from.
func newPage(title, source string) *page {
	p := &page{}
	p.line("<!-- Written by `make docs` from %s. -->\n# %s\n", source, title)
	return p
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// head begins a table.
func (p *page) head(columns ...string) {
	p.row(columns...)
	p.line("|%s", strings.Repeat(" --- |", len(columns)))
}

func (p *page) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(strings.Join(strings.Fields(cell), " "), "|", `\|`)
	}
	p.line("| %s |", strings.Join(cells, " | "))
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}
