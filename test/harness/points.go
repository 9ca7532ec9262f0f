package harness

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Points lists the named points of the protocols in a directory of the module, as they stand in the source: one that is new
// is tested without being listed anywhere. There surely are at least as many as least: fewer means that they were not
// found.
func Points(t testing.TB, dir string, least int) (names []string) {
	t.Helper()
	module, err := Module()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(module, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if name, ok := point(t, n); ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
			return true
		})
	}
	if len(names) < least {
		t.Fatalf("only %d points found: %v", len(names), names)
	}
	return names
}

// point recognises s.step("name").
func point(t testing.TB, n ast.Node) (string, bool) {
	t.Helper()
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", false
	}
	if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "step" {
		return "", false
	}
	if len(call.Args) == 1 {
		if lit, ok := call.Args[0].(*ast.BasicLit); ok {
			name, err := strconv.Unquote(lit.Value)
			return name, err == nil
		}
	}
	t.Error("a point has a name that is not written out, so it cannot be crashed at")
	return "", false
}
