package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sgp-operator/sgp-operator/hack/internal/krew"
)

// changes is what the changelog says of this version.
func (r *release) changes() (string, error) {
	text, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	changes, err := section(string(text), strings.TrimPrefix(r.version, "v"))
	if err != nil {
		return "", fmt.Errorf("CHANGELOG.md %w", err)
	}
	return changes, nil
}

// section is the part of a changelog on a version, without its heading.
func section(changelog, version string) (string, error) {
	head := "## [" + version + "]"
	_, rest, found := strings.Cut("\n"+changelog, "\n"+head)
	heading, body, _ := strings.Cut(rest, "\n")
	date, dated := strings.CutPrefix(heading, " - ")
	_, err := time.Parse(time.DateOnly, date)
	switch {
	case !found:
		return "", fmt.Errorf("has no section of %s: write the heading %q above what stands under Unreleased", version, head+" - YYYY-MM-DD")
	case !dated || err != nil:
		return "", fmt.Errorf("does not say when %s was released: write %q in place of %q", version, head+" - YYYY-MM-DD", head+heading)
	}
	body, _, _ = strings.Cut("\n"+body, "\n## ")
	if body = strings.TrimSpace(body); body == "" {
		return "", fmt.Errorf("says nothing under %q: write what changes for users", head+heading)
	}
	return body, nil
}

// relative is the target of a link into the repository.
var relative = regexp.MustCompile(`\]\(([^):#]+[^):]*)\)`)

const notesForm = `%[1]s

---

The image is ` + "`%[2]s`" + `. [docs/releasing.md](%[3]sdocs/releasing.md) says what each file is for, and how to check it.
Made with %[4]s, which gives the same bytes again: ` + "`make release VERSION=%[5]s`" + `.
`

// notes are for the page of the release, which is in no folder of the repository.
func (r *release) notes(ctx context.Context, changes, digest string) error {
	here := krew.Homepage + "/blob/" + r.version + "/"
	compiler, err := r.output(r.build(ctx, krew.Platform{}, "env", "GOVERSION"))
	if err != nil {
		return err
	}
	changes = relative.ReplaceAllString(changes, "]("+here+"$1)")
	image := imageName + ":" + r.version + "@" + digest
	return r.write("release-notes.md", fmt.Appendf(nil, notesForm, changes, image, here, strings.TrimSpace(compiler), r.version))
}

// checksums are of everything, as sha256sum -c reads them.
func (r *release) checksums() error {
	files, err := tree(r.dir, "", nil)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range files {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(f.content), f.name)
	}
	return r.write("checksums.txt", []byte(sums.String()))
}
