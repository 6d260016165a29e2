package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// readmeInChinese says the same as README.md.
const readmeInChinese = "README.zh-CN.md"

// docPage is a page of Markdown, with what is checked of it.
type docPage struct {
	name    string
	blocks  []codeBlock
	links   []string
	anchors []string
}

// codeBlock is a fenced block; word and reason are those of the comment before it, such as
// <!-- skip: needs ACK -->.
type codeBlock struct {
	at           string
	language     string
	text         string
	word, reason string
}

var annotation = regexp.MustCompile(`^<!-- (run|skip): (.+) -->\s*$`)

// readPages reads the READMEs and everything below docs.
func readPages(t *testing.T) (pages []*docPage) {
	t.Helper()
	names := []string{"README.md", readmeInChinese}
	err := filepath.WalkDir("docs", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".md") {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		pages = append(pages, readPage(t, name))
	}
	return pages
}

func readPage(t *testing.T, name string) *docPage {
	t.Helper()
	source, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	markdown := goldmark.New(goldmark.WithExtensions(extension.Table))
	root := markdown.Parser().Parse(text.NewReader(source), parser.WithContext(parser.NewContext()))
	page := &docPage{name: name}
	err = ast.Walk(root, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			page.add(t, node, source)
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func (p *docPage) add(t *testing.T, node ast.Node, source []byte) {
	t.Helper()
	switch node := node.(type) {
	case *ast.Link:
		p.links = append(p.links, string(node.Destination))
	case *ast.Image:
		p.links = append(p.links, string(node.Destination))
	case *ast.Heading:
		p.anchors = append(p.anchors, anchor(plain(node, source)))
	case *ast.FencedCodeBlock:
		block := codeBlock{language: string(node.Language(source)), text: string(node.Lines().Value(source))}
		line := 1
		if node.Lines().Len() > 0 {
			line += strings.Count(string(source[:node.Lines().At(0).Start]), "\n")
		}
		block.at = fmt.Sprintf("%s:%d", p.name, line)
		if before, ok := node.PreviousSibling().(*ast.HTMLBlock); ok {
			said := string(before.Lines().Value(source))
			if m := annotation.FindStringSubmatch(said); m != nil {
				block.word, block.reason = m[1], m[2]
			} else if strings.Contains(said, "run:") || strings.Contains(said, "skip:") {
				t.Errorf("%s: %q is neither <!-- run: WORD --> nor <!-- skip: REASON -->", block.at, said)
			}
		}
		p.blocks = append(p.blocks, block)
	}
}

// plain is the text of a node, without its marks.
func plain(node ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// anchor is what the forge makes of a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsNumber(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

func TestEveryLinkOfTheDocumentationLeadsSomewhere(t *testing.T) {
	pages := map[string]*docPage{}
	for _, p := range readPages(t) {
		pages[p.name] = p
	}
	for _, p := range pages {
		for _, link := range p.links {
			if strings.Contains(link, "://") {
				continue
			}
			name, fragment, _ := strings.Cut(link, "#")
			target := p.name
			if name != "" {
				target = path.Join(path.Dir(p.name), name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", p.name, link, err)
				continue
			}
			if to := pages[target]; fragment != "" && (to == nil || !slices.Contains(to.anchors, fragment)) {
				t.Errorf("%s links to %s, and there is no such heading", p.name, link)
			}
		}
	}
}

func TestEveryPageIsInTheIndex(t *testing.T) {
	index := readPage(t, "docs/README.md")
	for _, p := range readPages(t) {
		name, below := strings.CutPrefix(p.name, "docs/")
		if below && name != "README.md" && !strings.HasPrefix(name, "benchmarks/") && !slices.Contains(index.links, name) {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
}

func TestEveryReasonHasARemedy(t *testing.T) {
	reasons, err := os.ReadFile("docs/reference/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	remedies, err := os.ReadFile("docs/howto/troubleshoot.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(reasons), "| reason |")
	names := regexp.MustCompile("(?m)^[|] `(\\w+)`").FindAllStringSubmatch(table, -1)
	if len(names) < 10 {
		t.Fatalf("only %d reasons found", len(names))
	}
	for _, name := range names {
		if !strings.Contains(string(remedies), "\n| `"+name[1]+"` |") {
			t.Errorf("docs/howto/troubleshoot.md has no line for %s", name[1])
		}
	}
}

func TestBothREADMEsHaveTheSameCommandsAndLinks(t *testing.T) {
	english, chinese := readPage(t, "README.md"), readPage(t, readmeInChinese)
	of := func(p *docPage) (codes, links []string) {
		for _, b := range p.blocks {
			codes = append(codes, b.language+"\n"+b.text)
		}
		for _, link := range p.links {
			name, fragment, _ := strings.Cut(link, "#")
			switch name {
			case "README.md", readmeInChinese:
				name = "the other README"
			case "": // a heading is in the language of its page
				fragment = ""
			}
			links = append(links, name+"#"+fragment)
		}
		slices.Sort(links)
		return codes, links
	}
	codes, links := of(english)
	codesInChinese, linksInChinese := of(chinese)
	if !slices.Equal(codes, codesInChinese) {
		t.Errorf("their blocks differ:\n%q\n%q", codes, codesInChinese)
	}
	if !slices.Equal(links, linksInChinese) {
		t.Errorf("their links differ:\n%q\n%q", links, linksInChinese)
	}
	for _, name := range []string{"README.md", readmeInChinese} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), "\n"); n >= 150 {
			t.Errorf("%s has %d lines: under 150 are read", name, n)
		}
	}
}

// EKS has a kind of the same name and short name: in a cluster with both, sgp is whichever
// the API server lists first.
func TestNoCommandUsesTheShortNameThatEKSHasToo(t *testing.T) {
	short := regexp.MustCompile(`\bkubectl\b.*\s(sgp|sgclaim)([\s/.]|$)`)
	for _, root := range []string{"README.md", readmeInChinese, "docs", "config", "charts", "hack", "internal", "main.go", "Makefile"} {
		err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			source, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			for n, line := range strings.Split(string(source), "\n") {
				if short.MatchString(line) {
					t.Errorf("%s:%d: write securitygrouppolicies.ecs.alibabacloud.com: %s", name, n+1, line)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
