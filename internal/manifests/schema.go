package manifests

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sgp-operator/sgp-operator/config/crd"
)

// schemas are those of the CRDs.
type schemas map[schema.GroupVersionKind]*kindSchema

// kindSchema checks resources of a kind as the API server does.
type kindSchema struct {
	namespaced bool
	structural *structuralschema.Structural
	openapi    validation.SchemaValidator
	rules      *cel.Validator
	root       *apiextensionsv1.JSONSchemaProps
}

// loadedSchemas are those of the CRDs that the binary holds, read once.
var loadedSchemas = sync.OnceValues(loadSchemas)

func loadSchemas() (schemas, error) {
	names, err := fs.Glob(crd.Bases, "bases/*.yaml")
	if err != nil {
		return nil, err
	}
	all := schemas{}
	for _, name := range names {
		text, err := crd.Bases.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := sigsyaml.Unmarshal(text, &definition); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, version := range definition.Spec.Versions {
			loaded, err := newKindSchema(version.Schema.OpenAPIV3Schema)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			loaded.namespaced = definition.Spec.Scope == apiextensionsv1.NamespaceScoped
			all[schema.GroupVersionKind{Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind}] = loaded
		}
	}
	return all, nil
}

func newKindSchema(root *apiextensionsv1.JSONSchemaProps) (*kindSchema, error) {
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(root, &internal, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	openapi, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, err
	}
	return &kindSchema{
		structural: structural, openapi: openapi, root: root,
		rules: cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

// validate returns what the API server would refuse, and fields that it would drop. It
// fills in defaults. A status is left out, as it is when a resource is created.
func (k *kindSchema) validate(ctx context.Context, object map[string]any) (problems []Problem) {
	delete(object, "status")
	unknown := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	pruned := pruning.PruneWithOptions(object, k.structural, true, unknown)
	for _, path := range pruned {
		parent := path[:max(strings.LastIndexByte(path, '.'), 0)]
		remedy := "remove it"
		if known := k.fields(parent); len(known) > 0 {
			remedy = "remove it, or write one of " + strings.Join(known, ", ")
		}
		problems = append(problems, Problem{Field: path, Reason: UnknownField, Message: "there is no such field", Remedy: remedy})
	}
	defaulting.Default(object, k.structural)
	errs := k.metadata(object)
	errs = append(errs, validation.ValidateCustomResource(nil, object, k.openapi)...)
	if len(errs) == 0 { // as in the API server: a rule is asked about what has the right types
		broken, _ := k.rules.Validate(ctx, nil, k.structural, object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, broken...)
	}
	seen := map[string]bool{}
	for _, err := range errs {
		if err.Field == "<nil>" {
			err.Field = ""
		}
		p := k.problem(err)
		if key := p.Field + p.Message; !seen[key] {
			seen[key] = true
			problems = append(problems, p)
		}
	}
	return problems
}

// metadata checks the part that the schema does not describe.
func (k *kindSchema) metadata(object map[string]any) field.ErrorList {
	path := field.NewPath("metadata")
	part, _ := object["metadata"].(map[string]any)
	var meta metav1.ObjectMeta
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(part, &meta, true); err != nil {
		return field.ErrorList{field.Invalid(path, "", strings.TrimPrefix(err.Error(), "strict decoding error: "))}
	}
	if meta.Name == "" {
		return field.ErrorList{field.Required(path.Child("name"), "")}
	}
	if k.namespaced && meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
	return metavalidation.ValidateObjectMeta(&meta, k.namespaced, metavalidation.NameIsDNSSubdomain, path)
}

// problem is an error of the API server, with the remedy that the field's own
// description is.
func (k *kindSchema) problem(err *field.Error) Problem {
	p := Problem{Field: err.Field, Reason: InvalidValue, Message: clipBadValue(err), Remedy: k.describe(err.Field)}
	if err.Type == field.ErrorTypeRequired {
		p.Reason, p.Message = MissingField, "is missing"
		if p.Field == "metadata.name" {
			p.Remedy = "give the resource a name"
		}
	}
	return p
}

// clipBadValue repeats what is wrong, and a little of the value.
func clipBadValue(err *field.Error) string {
	if text, is := err.BadValue.(string); is {
		err.BadValue = clip(text)
	}
	return clipLong(oneLine(err.ErrorBody()))
}

// maxMessage bounds a message.
const maxMessage = 1024

func clipLong(text string) string {
	if len(text) > maxMessage {
		return strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// at is the schema of a field; nil if there is none.
func (k *kindSchema) at(path string) *apiextensionsv1.JSONSchemaProps {
	node := k.root
	for _, step := range steps(path) {
		property, is := node.Properties[step]
		switch {
		case is:
			node = &property
		case node.Items != nil && node.Items.Schema != nil:
			node = node.Items.Schema
		default:
			return nil
		}
	}
	return node
}

func (k *kindSchema) fields(path string) []string {
	node := k.at(path)
	if node == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(node.Properties))
}

// describe is the first sentence of a field's description.
func (k *kindSchema) describe(path string) string {
	node := k.at(path)
	if node == nil || strings.HasPrefix(path, "metadata") {
		return ""
	}
	text := strings.Join(strings.Fields(node.Description), " ")
	if end := strings.Index(text, ". "); end >= 0 {
		text = text[:end]
	}
	return strings.TrimSuffix(text, ".")
}

func fromObject(object map[string]any, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(object, into)
}
