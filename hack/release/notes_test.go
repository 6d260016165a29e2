package main

import (
	"strings"
	"testing"
)

const changelog = `# Changelog

## [Unreleased]

- not yet

## [1.2.0] - 2026-12-01

### Added

- one, see [upgrading](docs/upgrading.md#one) and [Krew](https://krew.sigs.k8s.io)

## [1.1.0] - 2026-11-25

## [1.0.1] - soon

- three

## [1.0.0]

- four
`

func TestAVersionHasItsOwnPartOfTheChangelog(t *testing.T) {
	got, err := section(changelog, "1.2.0")
	if err != nil {
		t.Fatal(err)
	}
	if want := "### Added\n\n- one, see [upgrading](docs/upgrading.md#one) and [Krew](https://krew.sigs.k8s.io)"; got != want {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

func TestAVersionThatTheChangelogDoesNotDescribeIsRefused(t *testing.T) {
	for version, want := range map[string]string{
		"1.3.0":      `has no section of 1.3.0: write the heading "## [1.3.0] - YYYY-MM-DD" above what stands under Unreleased`,
		"1.2":        `has no section of 1.2:`,
		"1.1.0":      `says nothing under "## [1.1.0] - 2026-11-25": write what changes for users`,
		"1.0.1":      `does not say when 1.0.1 was released: write "## [1.0.1] - YYYY-MM-DD" in place of "## [1.0.1] - soon"`,
		"1.0.0":      `does not say when 1.0.0 was released:`,
		"Unreleased": `does not say when Unreleased was released:`,
	} {
		if text, err := section(changelog, version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v; want %q", version, text, err, want)
		}
	}
}

func TestAWordThatIsNoVersionIsRefused(t *testing.T) {
	for _, version := range []string{"", "Unreleased", "1.2.0", "v1.2", "v1.2.0/../.."} {
		if err := run(t.Context(), options{root: "../..", out: t.TempDir(), version: version}); err == nil || !strings.Contains(err.Error(), "such as v0.1.0") {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestLinksOfTheNotesLeadIntoTheRepositoryFromOutside(t *testing.T) {
	for link, want := range map[string]string{
		"[a](docs/upgrading.md#one)": "[a](HERE/docs/upgrading.md#one)",
		"[a](https://example.com/b)": "[a](https://example.com/b)",
		"[a](#one)":                  "[a](#one)",
	} {
		if got := relative.ReplaceAllString(link, "](HERE/$1)"); got != want {
			t.Errorf("%s became %s", link, got)
		}
	}
}
