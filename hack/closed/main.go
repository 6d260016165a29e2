// Command closed has the API server refuse fields of a spec that its schema does not
// have: closed FILE..., each with a CustomResourceDefinition of controller-gen's.
//
// A structural schema cannot say so, and the API server drops such a field unless the
// client asks it to be strict, which many do not. What is dropped may have been a
// restriction, so that a typing error would lift it. So the fields are kept, and counted:
// an object may have as many as it has of those that the schema names.
package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"

	"sigs.k8s.io/yaml"
)

func main() {
	for _, file := range os.Args[1:] {
		if err := closeFile(file); err != nil {
			fmt.Fprintf(os.Stderr, "closed: %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

func closeFile(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return err
	}
	versions := at[[]any](at[object](crd, "spec"), "versions")
	if len(versions) == 0 {
		return fmt.Errorf("is no CustomResourceDefinition")
	}
	for _, version := range versions {
		root := at[object](at[object](version.(object), "schema"), "openAPIV3Schema")
		seal(at[object](at[object](root, "properties"), "spec"))
	}
	sealed, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	head := []byte("---\n")
	return os.WriteFile(file, append(head, bytes.TrimPrefix(sealed, head)...), 0o600)
}

type object = map[string]any

// at is a field of an object, or nothing.
func at[T any](o object, name string) T {
	value, _ := o[name].(T)
	return value
}

// seal closes a schema and all within it.
func seal(schema object) {
	if items := at[object](schema, "items"); items != nil {
		seal(items)
	}
	properties := at[object](schema, "properties")
	if len(properties) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		seal(properties[name].(object))
	}
	required := at[[]any](schema, "required")
	var optional []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if !slices.Contains(required, any(name)) {
			optional = append(optional, name)
		}
	}
	schema["x-kubernetes-preserve-unknown-fields"] = true
	schema["maxProperties"] = len(properties)
	rules := at[[]any](schema, "allOf")
	for n := range optional {
		// With n of the optional fields there are so many in all, or there are more.
		either := []any{object{"maxProperties": len(required) + n}}
		for _, more := range choices(optional, n+1) {
			either = append(either, object{"required": more})
		}
		rules = append(rules, object{"anyOf": either})
	}
	if len(rules) > 0 {
		schema["allOf"] = rules
	}
}

// choices are all ways to choose n of the names.
func choices(names []string, n int) [][]string {
	if n == 0 {
		return [][]string{nil}
	}
	var found [][]string
	for i, name := range names {
		for _, rest := range choices(names[i+1:], n-1) {
			found = append(found, append([]string{name}, rest...))
		}
	}
	return found
}
