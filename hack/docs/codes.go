package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sgp-operator/sgp-operator/internal/ecs"
	"github.com/sgp-operator/sgp-operator/internal/failures"
)

const table = "internal/ecs/errors.go"

func errorCodes(root string) (string, error) {
	// In the order of their values, which are counted from 0.
	classes, err := classesOf(root)
	if err != nil {
		return "", err
	}
	own, err := constants(root, table, "Code")
	if err != nil {
		return "", err
	}
	api, err := constants(root, conditions, "CodeAPIServerUnavailable")
	if err != nil {
		return "", err
	}
	p := newPage("Error codes", table)
	p.line("What `status.lastError.code` holds, and the [reason](reasons.md) that it leads to. A code that is not here is retried, and shown\n" +
		"as it is; one that contains `Throttling` is `Throttled`.\n")
	p.line("## Of ECS and STS\n")
	known := ecs.KnownCodes()
	p.head("reason", "what it means", "codes")
	for value, c := range classes {
		class := ecs.Class(value)
		var codes string
		for _, name := range slices.Sorted(maps.Keys(known)) {
			if known[name] == class {
				codes += code(name) + " "
			}
		}
		if codes != "" {
			p.row(code(reason(class)), c.meaning, codes)
		}
	}
	p.line("\n## Of the operator\n\nWhere there was no answer that could be used.\n")
	p.head("code", "reason", "what it means")
	for _, c := range append(own, api...) {
		p.row(code(c.value), code(reason(ecs.ClassOf(c.value))), c.meaning)
	}
	return p.String(), nil
}

// reason is the one that a failure of this class has in the status.
func reason(class ecs.Class) string {
	err := &ecs.Error{Class: class}
	name, _ := failures.Words(failures.Of(err), err, ecs.Group{}, "")
	return name
}

// classesOf are the constants of type Class, which begin with Unavailable.
func classesOf(root string) (found []constant, err error) {
	all, err := constants(root, table, "")
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.value == "" {
			found = append(found, c)
		}
	}
	if len(found) == 0 || found[0].name != "Unavailable" {
		return nil, fmt.Errorf("the classes of %s do not begin with Unavailable", table)
	}
	return found, nil
}
