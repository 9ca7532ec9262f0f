package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

const referenceHead = `# API

Every class, field, message and error of the XenAPI that poolpatch speaks. A running daemon answers ` + "`GET /api`" + ` with the same as
JSON, and without a session. The page is made from the method table and the record types: ` + "`make golden`" + ` writes it anew.

Fields are *constructor*, which whoever creates the object gives, *runtime*, which the pool sets, or *RW*.

A message takes a session as its first parameter, unless it says otherwise, and then those named here; what stands after ` + "`=`" + ` may be
left off. It may be sent by the role named and by all stronger ones: ` + "`read-only`, `vm-operator`, `vm-admin`, `vm-power-admin`,\n`pool-operator`, `pool-admin`" + `. One that is marked *Async* also exists as ` + "`Async.class.message`" + `, which gives a task.

Every class also has the messages that follow from its fields: ` + "`get_record`, `get_by_uuid`" + ` and a ` + "`get_`" + ` for each field; where its
objects are listed, ` + "`get_all`, `get_all_records`, `get_all_where`, `get_all_records_where`" + `; with a name, ` + "`get_by_name_label`" + `. A field with
a role under *set by* has a ` + "`set_`" + `; if it is a map, ` + "`add_to_` and `remove_from_`" + `; if it is a set, ` + "`add_` and `remove_`" + `.

An expression of the messages that end in ` + "`_where`" + ` compares fields with strings, as in
` + "`field \"name__label\"=\"x\" and not (field \"managed\"=\"true\" or false)`" + `.
`

// The page is the reference as Markdown: whoever changes a message sees it change, and so does the reviewer.
func TestReferencePage(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString(referenceHead)
	ref := emptyTable().Reference()
	for _, class := range ref.Classes {
		writeClass(&b, class)
	}
	b.WriteString("\n## Errors\n\n[errors.md](errors.md) says what helps.\n\n| code | parameters | meaning |\n|---|---|---|\n")
	for _, e := range ref.Errors {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.Code, strings.Join(e.Parameters, ", "), e.Meaning)
	}
	CompareGolden(t, "../../docs/api.md", b.Bytes())
}

func writeClass(w io.Writer, class ClassReference) {
	fmt.Fprintf(w, "\n## %s\n", class.Name)
	if len(class.Fields) > 0 {
		fmt.Fprint(w, "\n| field | type | qualifier | default | set by | since |\n|---|---|---|---|---|---|\n")
	}
	for _, f := range class.Fields {
		kind := f.Type
		if len(f.Values) > 0 {
			kind += ": " + strings.Join(f.Values, ", ")
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s |\n", f.Name, kind, f.Qualifier, code(f.Default), f.Role, marked(f.Since, f.Lifecycle, ""))
	}
	writeMessages(w, class)
}

func writeMessages(w io.Writer, class ClassReference) {
	var refused []string
	head := "\n| message | result | role | | since |\n|---|---|---|---|---|\n"
	for _, m := range class.Messages {
		switch {
		case m.Implicit:
		case m.Refused != "":
			refused = append(refused, fmt.Sprintf("`%s` (%s)", m.Name, m.Refused))
		default:
			fmt.Fprintf(w, "%s| `%s(%s)` | %s | %s | %s | %s |\n", head, m.Name, parameters(m), m.Result, m.Role, forms(m), marked(m.Since, m.Lifecycle, m.Replacement))
			head = ""
		}
	}
	if len(refused) > 0 {
		fmt.Fprintf(w, "\nDeclared, and always refused: %s.\n", strings.Join(refused, ", "))
	}
}

func parameters(m MessageReference) string {
	all := make([]string, len(m.Parameters))
	for i, p := range m.Parameters {
		all[i] = p.Name + " " + p.Type
		if p.Optional {
			all[i] += " = " + p.Default
		}
	}
	return strings.Join(all, ", ")
}

func forms(m MessageReference) string {
	switch {
	case !m.Session:
		return "without a session"
	case m.Async:
		return "Async"
	}
	return ""
}

func marked(since, lifecycle, replacement string) string {
	if lifecycle != "" {
		since += ", **" + lifecycle + "**"
	}
	if replacement != "" {
		since += ": use `" + replacement + "`"
	}
	return strings.TrimPrefix(since, ", ")
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// What a client reads at GET /api has all of the table: deprecated messages with what took their place, and what is not on
// the wire nowhere.
func TestReferenceJSON(t *testing.T) {
	t.Parallel()
	a := emptyTable()
	var ref Reference
	if err := json.Unmarshal(a.ReferenceJSON(), &ref); err != nil {
		t.Fatal(err)
	}
	found := map[string]MessageReference{}
	for _, class := range ref.Classes {
		for _, m := range class.Messages {
			found[class.Name+"."+m.Name] = m
		}
		for _, f := range class.Fields {
			if f.Type == "" || f.Qualifier == "internal" || f.Since == "" {
				t.Errorf("field %s.%s: %+v", class.Name, f.Name, f)
			}
		}
	}
	for _, name := range a.Methods() {
		if m, ok := found[name]; !ok || m.Result == "?" || m.Role == "" {
			t.Errorf("%s: %+v", name, m)
		}
		delete(found, name)
		if m := a.table[name]; name == "pool_patch.clean" && (!m.reference().Deprecated || m.reference().Replacement != "VDI.destroy") {
			t.Errorf("%s: %+v", name, m.reference())
		}
	}
	for name := range found {
		t.Errorf("%s is not listed to clients", name)
	}
}
