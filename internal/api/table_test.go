package api

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// emptyTable is the table with no services behind it: its rows can be read, but not all can be called.
func emptyTable() *API { return New(Services{}, slog.New(slog.DiscardHandler)) }

// The whole table as text: a message that appears, goes, asks for another role or takes something else
// shows in the change of this file.
func TestTableGolden(t *testing.T) {
	t.Parallel()
	a := emptyTable()
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(a.table)) {
		b.WriteString(describe(name, a.table[name]) + "\n")
	}
	CompareGolden(t, "testdata/table.golden", b.Bytes())
}

// CompareGolden holds a text against a file below testdata.
func CompareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got); -update writes it anew:\n%s", file, diff)
	}
}

// describe is a row as text: message, parameters, result | role | Async or not | session or not | who answers.
func describe(name string, m *method) string {
	params := make([]string, len(m.sig.Params))
	for i, p := range m.sig.Params {
		if params[i] = p.Name + " " + p.Type; p.Type == "" {
			params[i] = p.Name + " " + typeName(m.params[i])
		}
		if p.Optional {
			params[i] += " = " + p.Default
		}
	}
	words := []string{fmt.Sprintf("%s(%s) %s", name, strings.Join(params, ", "), m.resultName()), m.sig.Role, "Async", "session", answer(m)}
	if m.implicit || m.sig.NoAsync {
		words[2] = "no Async"
	}
	if m.sig.NoSession {
		words[3] = "no session"
	}
	if m.sig.Hidden {
		words = append(words, "hidden")
	}
	if m.sig.Lifecycle != "" {
		words = append(words, strings.TrimSuffix(m.sig.Lifecycle+" → "+m.sig.Replacement, " → "))
	}
	return strings.Join(words, " | ")
}

func answer(m *method) string {
	if m.implicit {
		return "implicit"
	}
	if m.refusal != "" {
		return m.refusal
	}
	return "served"
}

// The declaration and the Go function are two texts: they must say the same.
func TestHandlersTakeAndGiveWhatIsDeclared(t *testing.T) {
	t.Parallel()
	a := emptyTable()
	for name, fn := range a.handlers() {
		m, ft := a.table[name], reflect.TypeOf(fn)
		for i, p := range m.sig.Params {
			if got, want := typeName(m.params[i]), plain(p.Type); got != want {
				t.Errorf("%s takes a %s for %s, which is declared as %s", name, got, p.Name, want)
			}
		}
		got := "void"
		if ft.NumOut() == 2 {
			got = typeName(ft.Out(0))
		}
		if want := plain(m.sig.Result); got != want {
			t.Errorf("%s gives a %s, which is declared as %s", name, got, want)
		}
	}
}

// plain is a declared type as typeName writes it.
func plain(declared string) string {
	if strings.HasPrefix(declared, "enum ") {
		return "enum"
	}
	return declared
}

func TestOptionalParametersHaveDefaultsThatTheirTypesTake(t *testing.T) {
	t.Parallel()
	a := emptyTable()
	for name := range a.handlers() {
		m := a.table[name]
		for i, p := range m.sig.Params {
			if !p.Optional {
				continue
			}
			dst := reflect.New(m.params[i]).Elem()
			if err := setDefault(dst, p.Default); err != nil {
				t.Errorf("%s: default of %s: %v", name, p.Name, err)
			}
			if got := fmt.Sprint(dst.Interface()); dst.Kind() != reflect.Map && p.Default != "19700101T00:00:00Z" && got != p.Default {
				t.Errorf("%s: the default of %s is %q, want %q", name, p.Name, got, p.Default)
			}
		}
	}
}
