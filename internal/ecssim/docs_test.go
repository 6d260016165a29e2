package ecssim

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The control API sends people to docs/simulator.md for kinds and fields.
func TestGuideNamesEveryFaultAndField(t *testing.T) {
	raw, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(raw)
	for kind := range faultKinds {
		if !strings.Contains(guide, "| `"+string(kind)+"` |") {
			t.Errorf("fault %s is missing", kind)
		}
	}
	for action := range apis {
		if !strings.Contains(guide, action) {
			t.Errorf("action %s is missing", action)
		}
	}
	for _, thing := range []any{Group{}, Key{}, Role{}, Limit{}, ReadLag{}, Fault{}, Call{}, Effect{}, Rule{}, Instance{}, Interface{}, PrefixList{}} {
		of := reflect.TypeOf(thing)
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if name != "" && name != "-" && !strings.Contains(guide, "`"+name+"`") {
				t.Errorf("field %s of %s is missing", name, of.Name())
			}
		}
	}
}
