package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// constant is one of the code's, with what its comment says of it.
type constant struct{ name, value, meaning string }

// constants reads those of a file whose names begin so, in their order.
func constants(root, file, prefix string) (found []constant, err error) {
	tree, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, d := range tree.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, s := range group.Specs {
			spec := s.(*ast.ValueSpec)
			name := spec.Names[0].Name
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			doc := spec.Doc.Text()
			if doc == "" { // a declaration of its own
				doc = group.Doc.Text()
			}
			found = append(found, constant{name: name, value: text(spec), meaning: said(name, doc)})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no constants %s", file, prefix)
	}
	for _, c := range found {
		if c.meaning == "" {
			return nil, fmt.Errorf("%s of %s has no comment", c.name, file)
		}
	}
	return found, nil
}

// text is the value of a constant that is a text.
func text(spec *ast.ValueSpec) string {
	if len(spec.Values) == 1 {
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			value, _ := strconv.Unquote(literal.Value)
			return value
		}
	}
	return ""
}

var verb = regexp.MustCompile(`^(says that|tells that|tells of|is) `)

// said is a comment without the name that it begins with, for a table that has the name.
func said(name, comment string) string {
	comment = strings.Join(strings.Fields(comment), " ")
	comment = strings.TrimPrefix(comment, name+" ")
	comment = verb.ReplaceAllString(comment, "")
	if word, _, _ := strings.Cut(comment, " "); strings.Contains(word, ".") { // a field
		return comment
	}
	first, size := utf8.DecodeRuneInString(comment)
	return string(unicode.ToUpper(first)) + comment[size:]
}

const conditions = "api/v1alpha1/condition_types.go"

func reasons(root string) (string, error) {
	types, err := constants(root, conditions, "Condition")
	if err != nil {
		return "", err
	}
	all, err := constants(root, conditions, "Reason")
	if err != nil {
		return "", err
	}
	p := newPage("Conditions and reasons", conditions)
	p.line("[troubleshoot.md](../howto/troubleshoot.md) says what to check and do for each reason.\n")
	p.head("condition", "meaning")
	for _, c := range types {
		p.row(code(c.value), c.meaning)
	}
	p.line("\n| reason | meaning |\n| --- | --- |")
	for _, c := range all {
		p.row(code(c.value), c.meaning)
	}
	return p.String(), nil
}

func events(root string) (string, error) {
	all, err := constants(root, conditions, "Event")
	if err != nil {
		return "", err
	}
	p := newPage("Events", conditions)
	p.line("Failures have events too, under the [reasons](reasons.md) of their conditions. Each is told once, when it begins.\n")
	p.head("event", "meaning")
	for _, c := range all {
		p.row(code(c.value), c.meaning)
	}
	return p.String(), nil
}
