package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// option is a flag as the help of a command tells it.
type option struct{ name, kind, byDefault, meaning string }

// help is what a command says of itself. The environment is empty, so that nothing of
// this machine gets into a page.
func help(manager string, args ...string) (string, error) {
	path, err := filepath.Abs(manager)
	if err != nil {
		return "", err
	}
	var said bytes.Buffer
	command := exec.Command(path, args...) //nolint:noctx // it prints its help, and ends
	command.Env = []string{"HOME=" + os.TempDir()}
	command.Stdout, command.Stderr = &said, os.Stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w", manager, strings.Join(args, " "), err)
	}
	return said.String(), nil
}

func flags(manager string) (string, error) {
	p := newPage("Flags", "main.go and internal/cli")
	p.line("What `manager --help` and `manager COMMAND --help` print. [cli.md](../cli.md) says what the commands are for.\n")
	p.line("## manager\n")
	said, err := help(manager, "--help")
	if err != nil {
		return "", err
	}
	if err := p.options(goOptions(said)); err != nil {
		return "", fmt.Errorf("the manager: %w", err)
	}
	listed, err := help(manager, "help")
	if err != nil {
		return "", err
	}
	for _, c := range commands(listed) {
		if said, err = help(manager, c.name, "--help"); err != nil {
			return "", err
		}
		p.line("\n## manager %s\n\n%s.\n", c.name, c.meaning)
		if err := p.options(cobraOptions(said)); err != nil {
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return p.String(), nil
}

func (p *page) options(options []option) error {
	if len(options) == 0 {
		return fmt.Errorf("no flag is found in its help")
	}
	p.head("flag", "type", "default", "meaning")
	for _, o := range options {
		p.row(code(o.name), o.kind, code(o.byDefault), o.meaning)
	}
	return nil
}

// commands are those that the manager has, without cobra's own and itself.
func commands(said string) (found []option) {
	_, list, _ := strings.Cut(said, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		name, meaning, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "completion", "help", "manager":
		default:
			found = append(found, option{name: name, meaning: strings.TrimSpace(meaning)})
		}
	}
	return found
}

var (
	goFlag    = regexp.MustCompile(`(?m)^  -(\S+)(?: (\S+))?\n\s+(.+)$`)
	cobraFlag = regexp.MustCompile(`(?m)^ {2,}(-\w, )? *--([\w-]+)(?: (\S+))? {2,}(.+)$`)
	byDefault = regexp.MustCompile(`^(.*?) ?\(default "?(.*?)"?\)$`)
)

// goOptions reads what package flag prints, and cobraOptions what pflag does.
func goOptions(said string) (options []option) {
	for _, m := range goFlag.FindAllStringSubmatch(said, -1) {
		options = append(options, newOption("--"+m[1], m[2], m[3]))
	}
	return options
}

func cobraOptions(said string) (options []option) {
	for _, m := range cobraFlag.FindAllStringSubmatch(said, -1) {
		if m[2] != "help" {
			options = append(options, newOption(m[1]+"--"+m[2], m[3], m[4]))
		}
	}
	return options
}

func newOption(name, kind, meaning string) option {
	o := option{name: name, kind: kind, meaning: meaning}
	if kind == "" {
		o.kind, o.byDefault = "bool", "false"
	}
	if m := byDefault.FindStringSubmatch(meaning); m != nil {
		o.meaning, o.byDefault = m[1], m[2]
	}
	return o
}
