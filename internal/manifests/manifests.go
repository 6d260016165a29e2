// Package manifests reads SecurityGroupPolicies as people write them, from files, folders
// and kustomizations, and checks them as the API server would: by the CRDs' own schemas
// and rules. It needs neither a cluster nor the cloud, and names every mistake by file,
// line, field and remedy.
package manifests

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

// Reasons are stable codes for what is wrong with a manifest.
const (
	// Unreadable is a file or folder that cannot be read or built.
	Unreadable = "Unreadable"
	// BadYAML is a file that is neither YAML nor JSON.
	BadYAML = "BadYAML"
	// UnknownVersion is a resource of a version or an API group that does not exist.
	UnknownVersion = "UnknownVersion"
	// MissingField is a field that has to be there.
	MissingField = "MissingField"
	// UnknownField is a field that does not exist.
	UnknownField = "UnknownField"
	// InvalidValue is a value that the schema or a rule refuses.
	InvalidValue = "InvalidValue"
	// Duplicate is a resource that is there twice.
	Duplicate = "Duplicate"
)

// Place is where something stands.
type Place struct {
	// File is the path as it was given; - for standard input, the folder for what
	// kustomize builds.
	File string `json:"file"`
	// Line counts from 1; 0 where there is none.
	Line int `json:"line,omitempty"`
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Problem is what is wrong, and what to do about it.
type Problem struct {
	Place
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Field is a path such as spec.regionId; empty if it is about the whole.
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	// Code and RequestID are of the cloud's answer, if one is the reason.
	Code      string `json:"code,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}

// String is a line for people.
func (p *Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Place.String())
	for _, part := range []string{ResourceName(p.Namespace, p.Name), p.Field, p.Message} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// ResourceName is how a resource is called: its name, after its namespace if it has one.
func ResourceName(namespace, name string) string {
	if namespace == "" || name == "" {
		return name
	}
	return namespace + "/" + name
}

// Resource is a SecurityGroupPolicy, and where it stands.
type Resource struct {
	Place
	Policy v1alpha1.SecurityGroupPolicy

	document *document
	path     string // within the document, of an item of a List
}

// Problem is what is wrong with a field of the resource, or with the whole if it is empty.
func (r *Resource) Problem(field, reason, message, remedy string) Problem {
	place := r.Place
	if field != "" {
		place.Line = r.document.line(join(r.path, field))
	}
	return Problem{
		Place: place, Namespace: r.Policy.Namespace, Name: r.Policy.Name,
		Field: field, Reason: reason, Message: message, Remedy: remedy,
	}
}

// Sources say where manifests are.
type Sources struct {
	// Files are files, - for standard input, or folders, whose own files count.
	Files []string
	// Trees are folders whose files count, and those of the folders below.
	Trees []string
	// Kustomizations are folders that kustomize builds.
	Kustomizations []string
	Stdin          io.Reader
}

// Read returns the SecurityGroupPolicies of all sources, in the order they were given,
// and within a folder by path. What is of another kind is left aside, save that an
// ECSAccount is checked as well. What is wrong is a problem; the rest is read all the
// same.
func Read(ctx context.Context, sources Sources) ([]Resource, []Problem, error) {
	schemas, err := loadedSchemas()
	if err != nil {
		return nil, nil, err
	}
	r := &reader{ctx: ctx, schemas: schemas, named: map[string]Place{}}
	for _, name := range sources.Files {
		r.file(name, sources.Stdin)
	}
	for _, name := range sources.Trees {
		r.tree(name)
	}
	for _, name := range sources.Kustomizations {
		r.kustomization(name)
	}
	return r.resources, r.problems, nil
}
