package main

import (
	"os"
	"strings"
	"testing"
)

// A mistake whose place is gone would be found out only when all of them are put back.
func TestEachMistakeHasItsPlace(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile("../../" + m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: the text to replace stands %d times in %s", m.name, n, m.file)
		}
	}
}
