package xenapi_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"poolpatch/xenapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

const errorsPage = "../docs/errors.md"

// documented is a row of docs/errors.md.
type documented struct{ code, params, meaning, help string }

// Administrators read docs/errors.md when something went wrong: every code stands there in each of its
// forms, with its parameters in wire order, and nothing else does.
func TestErrorsAreDocumented(t *testing.T) {
	t.Parallel()
	codes, forms := declaredErrors(t)
	page := map[string]documented{}
	for _, d := range documentedErrors(t) {
		form := d.code + " " + d.params
		if _, twice := page[form]; twice {
			t.Errorf("%s documents %s twice", errorsPage, form)
		}
		page[form] = d
	}
	for _, code := range codes {
		for _, params := range forms[code] {
			form := code + " " + params
			d, ok := page[form]
			delete(page, form)
			switch {
			case !ok:
				t.Errorf("%s lacks the row:\n| `%s` | %s | %s | what to do |", errorsPage, code, params, xenapi.NewError(code).Sentence())
			case d.meaning != xenapi.NewError(code).Sentence():
				t.Errorf("%s says of %s %q, its errors say %q", errorsPage, form, d.meaning, xenapi.NewError(code).Sentence())
			case len(strings.Fields(d.help)) < 4:
				t.Errorf("%s does not say what to do about %s", errorsPage, form)
			}
		}
	}
	for _, form := range slices.Sorted(maps.Keys(page)) {
		t.Errorf("%s documents %s, which codes.go does not make", errorsPage, form)
	}
}

// errors.txt says of codes.go what only its text has: the names of the parameters.
func TestErrorForms(t *testing.T) {
	t.Parallel()
	const file = "errors.txt"
	var b strings.Builder
	codes, forms := declaredErrors(t)
	for _, code := range codes {
		for _, params := range forms[code] {
			fmt.Fprintf(&b, "%s(%s)\n", code, strings.ReplaceAll(strings.TrimSuffix(params, "none"), "`", ""))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != b.String() {
		t.Errorf("%s is not what codes.go says, %v; -update writes it anew", file, err)
	}
	for _, form := range xenapi.ErrorForms() {
		if xenapi.NewError(form.Code).Sentence() == "" || slices.Contains(form.Params, "") {
			t.Errorf("form %q", form)
		}
	}
}

func TestEveryErrorCodeHasASentenceAndAConstructor(t *testing.T) {
	t.Parallel()
	codes, forms := declaredErrors(t)
	if len(codes) < 50 {
		t.Fatalf("only %d codes were found in codes.go", len(codes))
	}
	for _, code := range codes {
		if xenapi.NewError(code).Sentence() == "" {
			t.Errorf("%s has no sentence", code)
		}
		if len(forms[code]) == 0 {
			t.Errorf("%s has no constructor", code)
		}
	}
}

// documentedErrors reads the rows of the page's tables, whose first cell is a code.
func documentedErrors(t *testing.T) (rows []documented) {
	t.Helper()
	text, err := os.ReadFile(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 4 {
			t.Fatalf("%s has a row of %d cells: %s", errorsPage, len(cells), line)
		}
		rows = append(rows, documented{strings.Trim(cells[0], "`"), cells[1], cells[2], cells[3]})
	}
	return rows
}

// declaredErrors reads codes.go: the codes in the order in which they stand, and of each code the
// parameters of its constructors, as the page writes them.
func declaredErrors(t *testing.T) (codes []string, forms map[string][]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{} // of a constant
	forms = map[string][]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if lit, ok := literal(n); ok {
				text[n.Names[0].Name] = lit
				codes = append(codes, lit)
			}
		case *ast.FuncDecl:
			code := text[madeCode(n)]
			if code == "" {
				t.Errorf("codes.go: %s makes no error of a code that is declared above it", n.Name.Name)
			}
			forms[code] = append(forms[code], written(n.Type.Params))
			return false
		}
		return true
	})
	return codes, forms
}

func literal(spec *ast.ValueSpec) (string, bool) {
	if len(spec.Values) != 1 {
		return "", false
	}
	lit, ok := spec.Values[0].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// madeCode is the name of the constant that a constructor gives NewError.
func madeCode(fn *ast.FuncDecl) (name string) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "NewError" {
			if code, ok := call.Args[0].(*ast.Ident); ok {
				name = code.Name
			}
		}
		return true
	})
	return name
}

// written is a list of parameters as the page has it.
func written(params *ast.FieldList) string {
	var all []string
	for _, field := range params.List {
		more := ""
		if _, variadic := field.Type.(*ast.Ellipsis); variadic {
			more = " …"
		}
		for _, name := range field.Names {
			all = append(all, fmt.Sprintf("`%s%s`", name.Name, more))
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
