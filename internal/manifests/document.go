package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// document is one of a file.
type document struct {
	file string
	text []byte
	// first is its first line in the file; negative if it has no lines.
	first int

	root *yaml.Node // read where a line is asked for
}

const kind = "SecurityGroupPolicy"

// mayConcern tells whether a document can hold a resource of ours: one that does not is
// not even read, and may be anything, such as a template.
func (d *document) mayConcern() bool {
	return bytes.Contains(d.text, []byte(v1alpha1.GroupVersion.Group)) || bytes.Contains(d.text, []byte(kind))
}

// document reads one.
func (r *reader) document(d *document) {
	object := map[string]any{}
	text, err := sigsyaml.YAMLToJSONStrict(d.text)
	if err == nil {
		err = json.Unmarshal(text, &object)
	}
	if err != nil {
		place, err := d.locate(err)
		r.fail(place, BadYAML, err, "correct the YAML, or leave the file out")
		return
	}
	r.object(d, "", object)
}

// object reads a resource, or the items of a List.
func (r *reader) object(d *document, path string, object map[string]any) {
	u := unstructured.Unstructured{Object: object}
	gvk := u.GroupVersionKind()
	if items, is := object["items"].([]any); is && strings.HasSuffix(gvk.Kind, "List") {
		for i, item := range items {
			if object, is := item.(map[string]any); is {
				r.object(d, join(path, fmt.Sprintf("items[%d]", i)), object)
			}
		}
		return
	}
	check, known := r.schemas[gvk]
	if !known {
		r.unknown(d, path, u)
		return
	}
	problems := check.validate(r.ctx, object)
	for i, p := range problems {
		problems[i].Place = Place{d.file, d.line(join(path, p.Field))}
		problems[i].Namespace, problems[i].Name = u.GetNamespace(), u.GetName()
	}
	place := Place{d.file, d.line(join(path, "metadata"))}
	id := gvk.Kind + " " + ResourceName(u.GetNamespace(), u.GetName())
	if first, twice := r.named[id]; twice && u.GetName() != "" {
		problems = append(problems, Problem{
			Place: place, Namespace: u.GetNamespace(), Name: u.GetName(), Field: "metadata.name", Reason: Duplicate,
			Message: "the same " + gvk.Kind + " is in " + first.String() + " already", Remedy: "remove one of them, or give it another name",
		})
	}
	r.named[id] = place
	r.problems = append(r.problems, problems...)
	if len(problems) > 0 || gvk.Kind != kind {
		return
	}
	resource := Resource{Place: place, document: d, path: path}
	if err := fromObject(object, &resource.Policy); err != nil {
		r.fail(place, InvalidValue, err, "")
		return
	}
	r.resources = append(r.resources, resource)
}

// unknown says what looks like ours and is none. EKS has a kind of the same name.
func (r *reader) unknown(d *document, path string, u unstructured.Unstructured) {
	group, err := schema.ParseGroupVersion(u.GetAPIVersion())
	if err != nil || u.GetKind() == "" || group.Group == "vpcresources.k8s.aws" || group.Group != v1alpha1.GroupVersion.Group && u.GetKind() != kind {
		return
	}
	r.problems = append(r.problems, Problem{
		Place: Place{d.file, d.line(join(path, "apiVersion"))}, Namespace: u.GetNamespace(), Name: u.GetName(), Field: "apiVersion", Reason: UnknownVersion,
		Message: fmt.Sprintf("there is no kind %q in %q", clip(u.GetKind()), clip(u.GetAPIVersion())),
		Remedy:  "write apiVersion: " + v1alpha1.GroupVersion.String() + " and kind: " + kind,
	})
}

var lineOf = regexp.MustCompile(`\bline (\d+)`)

// locate takes the line out of an error of YAML.
func (d *document) locate(err error) (Place, error) {
	message := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	found := lineOf.FindStringSubmatchIndex(message)
	if found == nil || d.first < 0 {
		return Place{d.file, max(d.first, 0)}, errors.New(message)
	}
	line, _ := strconv.Atoi(message[found[2]:found[3]])
	message = message[:found[0]] + message[found[1]:]
	return Place{d.file, d.first + line - 1}, errors.New(strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(message, "yaml: "), "unmarshal errors:"), ": \n"))
}

// line is where a field stands, or what it would stand in.
func (d *document) line(path string) int {
	if d.first < 0 {
		return 0
	}
	if d.root == nil {
		d.root = &yaml.Node{}
		if yaml.Unmarshal(d.text, d.root) != nil || len(d.root.Content) == 0 {
			d.root = &yaml.Node{Line: 1}
		} else {
			d.root = d.root.Content[0]
		}
	}
	node, line := d.root, d.root.Line
	for _, step := range steps(path) {
		key, value := child(node, step)
		if value == nil {
			break
		}
		node, line = value, key.Line
	}
	return d.first + line - 1
}

// child is what a step leads to, and what is written before it.
func child(node *yaml.Node, step string) (key, value *yaml.Node) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if i, err := strconv.Atoi(step); err == nil && node.Kind == yaml.SequenceNode && i < len(node.Content) {
		return node.Content[i], node.Content[i]
	}
	if node.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == step {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}

// steps takes a path such as items[0].metadata.labels[a.b/c] apart.
func steps(path string) (all []string) {
	for path != "" {
		if rest, is := strings.CutPrefix(path, "["); is {
			inside, after, _ := strings.Cut(rest, "]")
			all, path = append(all, inside), after
			continue
		}
		path = strings.TrimPrefix(path, ".")
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		all, path = append(all, path[:end]), path[end:]
	}
	return all
}

func join(path, field string) string {
	if path == "" || field == "" {
		return path + field
	}
	return path + "." + field
}

// oneLine keeps a message from taking more than a line, or control of a terminal.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)), " ")
}

// maxShown is how much of a value is repeated.
const maxShown = 128

func clip(text string) string {
	if runes := []rune(text); len(runes) > maxShown {
		text = string(runes[:maxShown]) + "…"
	}
	return oneLine(text)
}
