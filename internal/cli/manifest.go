package cli

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// stamp is what all manifests of an import have in common.
type stamp struct {
	namespace, account string
	management         v1alpha1.ManagementPolicy
}

// manifest is a group as a resource that declares what it is.
type manifest struct {
	group
	resource string // the name of the resource
}

const (
	// maxPart is how much of a group's name its resource's name holds, and maxComment
	// how much the comment.
	maxPart    = 40
	maxComment = 128
)

// nameAll names a resource for each group: by the group's name and id, and where that
// is not safe or not the only one, by a hash of region and id as well. A name depends
// on nothing but the group, unless two groups would have the same one.
func nameAll(groups []group) []manifest {
	all := make([]manifest, len(groups))
	taken := make(map[string]int, len(groups))
	for i, g := range groups {
		all[i] = manifest{g, resourceName(g)}
		taken[all[i].resource]++
	}
	for i, m := range all {
		if taken[m.resource] > 1 {
			all[i].resource = withHash(m.resource, m.group)
		}
	}
	slices.SortFunc(all, func(a, b manifest) int {
		return cmp.Or(strings.Compare(a.region, b.region), strings.Compare(a.id, b.id))
	})
	return all
}

// plainID is an id that can stand in a resource's name as it is.
var plainID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func resourceName(g group) string {
	name := g.id
	if part := slug(g.name); part != "" {
		name = part + "-" + g.id
	}
	if !plainID.MatchString(g.id) {
		return withHash(strings.TrimSuffix(slug(g.name)+"-"+slug(g.id), "-"), g)
	}
	if name == "kustomization" { // a file of that name says something else
		return withHash(name, g)
	}
	return name
}

func withHash(name string, g group) string {
	sum := sha256.Sum256([]byte(g.region + "/" + g.id))
	return strings.TrimPrefix(name+"-"+hex.EncodeToString(sum[:4]), "-")
}

// slug is what of a text may stand in a resource's name.
func slug(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= maxPart {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}

// comment is a group's name in one line, whatever it holds.
func comment(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r):
			return -1
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, name)
	name = strings.Join(strings.Fields(name), " ")
	if runes := []rune(name); len(runes) > maxComment {
		name = string(runes[:maxComment-1]) + "…"
	}
	return cmp.Or(name, "(no name)")
}

// write writes one document.
func (m manifest) write(w io.Writer, s stamp) error {
	out := bufio.NewWriter(w)
	line := func(key, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(out, "%s: %s\n", key, scalar(value))
		}
	}
	_, _ = fmt.Fprintf(out, "# %s\napiVersion: %s\nkind: SecurityGroupPolicy\nmetadata:\n", comment(m.name), v1alpha1.GroupVersion)
	line("  name", m.resource)
	line("  namespace", s.namespace)
	_, _ = fmt.Fprintln(out, "spec:")
	line("  regionId", m.region)
	line("  securityGroupId", m.id)
	line("  innerAccessPolicy", m.policy)
	line("  managementPolicy", string(s.management))
	if s.account != "" {
		_, _ = fmt.Fprintln(out, "  accountRef:")
		line("    name", s.account)
	}
	return out.Flush()
}

// scalar is a text that YAML reads as text: an id may look like a number.
func scalar(text string) string {
	quoted, err := yaml.Marshal(text)
	if err != nil {
		return fmt.Sprintf("%q", text)
	}
	return strings.TrimSpace(string(quoted))
}
