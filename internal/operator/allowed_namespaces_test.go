package operator_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sgp-operator/sgp-operator/api/v1alpha1"
)

type fields = map[string]any

func tryAccount(t *testing.T, spec fields, options ...client.CreateOption) error {
	t.Helper()
	u := &unstructured.Unstructured{Object: fields{"spec": runtime.DeepCopyJSON(spec)}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ECSAccount"))
	u.SetGenerateName("misspelt-")
	return api.Create(t.Context(), u, append(options, client.DryRunAll)...)
}

func TestWhoMayUseAnAccountMustBeSaidExactly(t *testing.T) {
	const both = "allowedNamespaces must say either all: true or a selector"
	for name, c := range map[string]struct {
		allowed any
		want    string // a part of the message; empty if it is accepted
	}{
		"all":                             {fields{"all": true}, ""},
		"a label":                         {fields{"selector": fields{"matchLabels": fields{"a": "b"}}}, ""},
		"a label, not all":                {fields{"all": false, "selector": fields{"matchLabels": fields{"a": "b"}}}, ""},
		"an expression":                   {fields{"selector": fields{"matchExpressions": []any{fields{"key": "a", "operator": "Exists"}}}}, ""},
		"a label and no expression":       {fields{"selector": fields{"matchLabels": fields{"a": "b"}, "matchExpressions": []any{}}}, ""},
		"nothing":                         {fields{}, both},
		"not all":                         {fields{"all": false}, both},
		"all and a selector":              {fields{"all": true, "selector": fields{"matchLabels": fields{"a": "b"}}}, both},
		"all and a selector of nothing":   {fields{"all": true, "selector": fields{}}, both},
		"a selector of nothing":           {fields{"selector": fields{}}, "selector must not be empty"},
		"a selector of no label":          {fields{"selector": fields{"matchLabels": fields{}}}, "selector must not be empty"},
		"a selector of neither":           {fields{"selector": fields{"matchLabels": fields{}, "matchExpressions": []any{}}}, "selector must not be empty"},
		"an expression without an answer": {fields{"selector": fields{"matchExpressions": []any{fields{"key": "a"}}}}, "operator: Required value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tryAccount(t, fields{"allowedNamespaces": c.allowed})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), "spec.allowedNamespaces") || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v\nwant a message with %q", err, c.want)
			}
		})
	}
}
