package operator_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// everyField is a spec of an ECSAccount with all that there is, and with two ways to
// say who may use it.
func everyField(allowed fields) fields {
	return fields{
		"credentials": fields{
			"secretRef":  fields{"name": "prod-keys", "namespace": "sgp-system"},
			"assumeRole": fields{"roleArn": "acs:ram::123456789012:role/sgp", "externalId": "outside", "sessionDuration": "1h"},
		},
		"allowedNamespaces":       allowed,
		"allowedRegions":          []any{"cn-*"},
		"allowedSecurityGroupIds": []any{"sg-*"},
		"endpoint":                "https://ecs-vpc.{region}.aliyuncs.com",
		"rateLimit":               fields{"qps": int64(20), "burst": int64(40)},
	}
}

var (
	allowsAll      = fields{"all": true}
	allowsSelected = fields{"selector": fields{
		"matchLabels":      fields{"team": "a"},
		"matchExpressions": []any{fields{"key": "stage", "operator": "In", "values": []any{"prod"}}},
	}}
)

// misspelt are a word's typing errors: a letter too few, one in another case, two in
// the wrong order, one too many at the end.
func misspelt(word string) []string {
	wrong := map[string]bool{word + "s": true, strings.TrimSuffix(word, "s"): true}
	for i, r := range word {
		wrong[word[:i]+word[i+1:]] = true
		swapped := unicode.ToUpper(r)
		if unicode.IsUpper(r) {
			swapped = unicode.ToLower(r)
		}
		wrong[word[:i]+string(swapped)+word[i+1:]] = true
		if i > 0 {
			wrong[word[:i-1]+word[i:i+1]+word[i-1:i]+word[i+1:]] = true
		}
	}
	delete(wrong, word)
	delete(wrong, "")
	return slices.Sorted(maps.Keys(wrong))
}

// eachMisspelling calls visit with the spec for each misspelling of each of its fields,
// at any depth.
func eachMisspelling(spec, in fields, path string, visit func(where string)) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		value := in[name]
		delete(in, name)
		for _, wrong := range misspelt(name) {
			in[wrong] = value
			visit(path + "." + wrong)
			delete(in, wrong)
		}
		in[name] = value
		if list, ok := value.([]any); ok && len(list) > 0 {
			value = list[0]
		}
		if nested, ok := value.(fields); ok && name != "matchLabels" {
			eachMisspelling(spec, nested, path+"."+name, visit)
		}
	}
}

// What the API server drops without a word may have been a restriction.
func TestAMisspeltFieldOfAnAccountIsRefusedByTheAPIServer(t *testing.T) {
	for name, allowed := range map[string]fields{"for all": allowsAll, "for some": allowsSelected} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := everyField(runtime.DeepCopyJSON(allowed))
			if err := tryAccount(t, spec); err != nil {
				t.Fatalf("refused as it should be written: %v", err)
			}
			tried := 0
			eachMisspelling(spec, spec, "spec", func(where string) {
				tried++
				for how, option := range map[string]client.CreateOption{"as most clients ask": client.FieldValidation("Ignore"), "strictly": client.FieldValidation("Strict")} {
					if tryAccount(t, spec, option) == nil {
						t.Errorf("%s is accepted, asked %s", where, how)
					}
				}
			})
			if tried < 400 {
				t.Errorf("only %d misspellings were tried", tried)
			}
		})
	}
}

// Any of them may be left out where the schema says so: that a field is missing is not
// mistaken for a misspelling.
func TestAnAccountNeedsNoOptionalField(t *testing.T) {
	full := everyField(allowsSelected)
	names := slices.Sorted(maps.Keys(full))
	for chosen := range 1 << len(names) {
		spec := fields{}
		for i, name := range names {
			if chosen>>i&1 == 1 {
				spec[name] = full[name]
			}
		}
		if err := tryAccount(t, spec); err != nil {
			t.Errorf("%v: %v", slices.Sorted(maps.Keys(spec)), err)
		}
		spec["unknown"] = "x"
		if tryAccount(t, spec) == nil {
			t.Errorf("%v: an unknown field beside these is accepted", slices.Sorted(maps.Keys(spec)))
		}
	}
}
