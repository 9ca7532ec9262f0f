package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"poolpatch/internal/api"
)

// report is what a comparison has found.
type report struct {
	problems []string
	declared tally // messages that XenAPI declares by themselves
	all      tally // with those that follow from objects and fields
	refused  map[string][]string
	excepted []string // classes that are not there and need not be
}

// tally counts messages.
type tally struct{ total, present, working int }

func (t tally) String() string {
	percent := func(n int) int { return 100 * n / max(t.total, 1) }
	return fmt.Sprintf("%d messages, %d present (%d %%), %d working (%d %%)", t.total, t.present, percent(t.present), t.working, percent(t.working))
}

func (t *tally) count(m *api.MessageReference) {
	t.total++
	if m != nil {
		t.present++
		if m.Refused == "" {
			t.working++
		}
	}
}

// compare holds every message and field of the list against ours.
func compare(theirs list, ours api.Reference, except []string) report {
	r := report{refused: map[string][]string{}}
	for _, name := range slices.Sorted(maps.Keys(theirs.Classes)) {
		i := slices.IndexFunc(ours.Classes, func(c api.ClassReference) bool { return c.Name == name })
		var mine api.ClassReference
		if i >= 0 {
			mine = ours.Classes[i]
		} else if slices.Contains(except, name) {
			r.excepted = append(r.excepted, name)
			continue
		}
		r.messages(name, theirs.Classes[name], mine)
		r.fields(name, theirs.Classes[name], mine)
	}
	return r
}

func (r *report) messages(name string, theirs class, ours api.ClassReference) {
	byName := map[string]*api.MessageReference{}
	for i := range ours.Messages {
		byName[ours.Messages[i].Name] = &ours.Messages[i]
	}
	own := map[string]bool{}
	for _, m := range theirs.Messages {
		own[m.Name] = true
	}
	all := theirs.all(name)
	for _, message := range slices.Sorted(maps.Keys(all)) {
		mine := byName[message]
		r.all.count(mine)
		if own[message] {
			r.declared.count(mine)
		}
		if mine == nil {
			r.problem("%s.%s is missing", name, message)
			continue
		}
		if mine.Refused != "" {
			r.refused[mine.Refused] = append(r.refused[mine.Refused], name+"."+message)
		}
		r.message(name, all[message], *mine)
	}
}

// message compares what a message takes and gives, and who may send it.
func (r *report) message(class string, theirs message, ours api.MessageReference) {
	full := class + "." + theirs.Name
	r.differ(full, "result", plain(theirs.Result), plain(ours.Result))
	r.differ(full, "role", theirs.Role, ours.Role)
	if class != "event" { // a task that waits for events would be one itself
		r.differ(full, "Async", theirs.Async == nil || *theirs.Async, ours.Async)
	}
	r.differ(full, "session", !theirs.NoSession, ours.Session)
	var want, got []string
	for _, p := range theirs.Params {
		want = append(want, written(p.name, p.kind, p.optional))
	}
	for _, p := range ours.Parameters {
		got = append(got, written(p.Name, p.Type, p.Optional))
	}
	r.differ(full, "parameters", strings.Join(want, ", "), strings.Join(got, ", "))
}

func written(name, kind string, optional bool) string {
	text := name + " " + plain(kind)
	if optional {
		text += " (optional)"
	}
	return text
}

// qualifiers are ours by those of the list.
var qualifiers = map[string]string{"RW": "RW", "RO/constructor": "constructor", "RO/runtime": "runtime"}

func (r *report) fields(name string, theirs class, ours api.ClassReference) {
	if name == "event" {
		return // its records are not objects
	}
	for _, f := range theirs.Fields {
		i := slices.IndexFunc(ours.Fields, func(mine api.FieldReference) bool { return mine.Name == f.name })
		if i < 0 {
			r.problem("field %s.%s is missing", name, f.name)
			continue
		}
		full, mine := "field "+name+"."+f.name, ours.Fields[i]
		r.differ(full, "type", plain(f.kind), plain(mine.Type))
		r.differ(full, "qualifier", qualifiers[f.qualifier], mine.Qualifier)
		r.differ(full, "role", f.setter, mine.Role)
	}
}

func (r *report) differ(what, of string, theirs, ours any) {
	if theirs != ours {
		r.problem("%s: %s is %v, XenAPI's is %v", what, of, ours, theirs)
	}
}

func (r *report) problem(format string, words ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, words...))
}

func (r *report) print(w io.Writer) {
	for _, code := range slices.Sorted(maps.Keys(r.refused)) {
		fmt.Fprintf(w, "refused with %s: %s\n", cmp.Or(code, "?"), strings.Join(r.refused[code], ", "))
	}
	for _, p := range r.problems {
		fmt.Fprintln(w, p)
	}
	if len(r.excepted) > 0 {
		fmt.Fprintf(w, "not counted: %s\n", strings.Join(r.excepted, ", "))
	}
	fmt.Fprintf(w, "declared: %v\nall:      %v\n", r.declared, r.all)
}
