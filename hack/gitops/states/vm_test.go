package states

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
)

// scriptTime is how long a script of Argo CD may take.
const scriptTime = time.Second

// run runs a script as Argo CD runs one of argocd-cm: with base, package, table, and two
// functions of os. It decodes what the script returns.
func run(ctx context.Context, script string, object map[string]any, into any) error {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.OsLibName, openClosedOs}} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(library.open), Protect: true}, lua.LString(library.name)); err != nil {
			return fmt.Errorf("open %s: %w", library.name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, scriptTime)
	defer cancel()
	l.SetContext(ctx)
	l.SetGlobal("obj", toLua(l, object))
	if err := l.DoString(script); err != nil {
		return err
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return errors.New("the script returns no table")
	}
	text, err := luajson.Encode(table)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// openClosedOs leaves time and date of the library.
func openClosedOs(l *lua.LState) int {
	lua.OpenOs(l)
	library := l.GetGlobal(lua.OsLibName).(*lua.LTable)
	var others []lua.LValue
	library.ForEach(func(name, _ lua.LValue) {
		if name.String() != "time" && name.String() != "date" {
			others = append(others, name)
		}
	})
	for _, name := range others {
		library.RawSet(name, lua.LNil)
	}
	return 1
}

func toLua(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		table := l.NewTable()
		for _, item := range v {
			table.Append(toLua(l, item))
		}
		return table
	case map[string]any:
		table := l.NewTable()
		for key, item := range v {
			table.RawSetString(key, toLua(l, item))
		}
		return table
	}
	return lua.LNil
}

func TestTheVMIsAsClosedAsArgoCDs(t *testing.T) {
	for _, script := range []string{
		`return {x = string.format("%d", 1)}`,
		`return {x = ("x"):upper()}`,
		`return {x = math.floor(1.5)}`,
		`return {x = require("os").getenv("HOME")}`,
		`return {x = os.exit(1)}`,
		`return {x = io.open("/etc/passwd")}`,
		`return {x = require("string").format("%d", 1)}`,
		`while true do end`,
	} {
		if err := run(t.Context(), script, nil, &struct{}{}); err == nil {
			t.Errorf("%s: runs, and does not in Argo CD", script)
		}
	}
	for _, script := range []string{
		`return {x = require("os").date("!%Y-%m-%dT%XZ")}`,
		`return {x = table.concat({"a", "b"}, ", ") .. #"abc" .. tostring(os.time())}`,
	} {
		if err := run(t.Context(), script, nil, &struct{ X string }{}); err != nil {
			t.Errorf("%s: %v", script, err)
		}
	}
}
