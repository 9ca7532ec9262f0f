package client

import (
	"reflect"
	"slices"
	"strings"

	"poolpatch/internal/rpc"
)

// known takes out of a value what this version of the client has no word for: enum values of newer servers,
// or of faulty ones. One of them must not keep a whole pool from being listed; the field stays empty, and a
// set goes without it.
func known(v rpc.Value, t reflect.Type) rpc.Value {
	switch {
	case v.Kind == rpc.Struct && t.Kind() == reflect.Map:
		v.Members = members(v.Members, func(string) reflect.Type { return t.Elem() })
	case v.Kind == rpc.Struct && t.Kind() == reflect.Struct:
		fields := fieldTypes(t)
		v.Members = members(v.Members, func(name string) reflect.Type { return fields[name] })
	case v.Kind == rpc.Array && t.Kind() == reflect.Slice:
		var items []rpc.Value
		for _, item := range v.Items {
			if !foreign(item, t.Elem()) {
				items = append(items, known(item, t.Elem()))
			}
		}
		v.Items = items
	}
	return v
}

func members(all []rpc.Member, typeOf func(name string) reflect.Type) []rpc.Member {
	var kept []rpc.Member
	for _, m := range all {
		t := typeOf(m.Name)
		switch {
		case t == nil:
		case foreign(m.Value, t):
			continue
		default:
			m.Value = known(m.Value, t)
		}
		kept = append(kept, m)
	}
	return kept
}

func fieldTypes(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f.Type
	}
	return fields
}

// foreign reports whether a value is of an enum, and not one of its words.
func foreign(v rpc.Value, t reflect.Type) bool {
	if v.Kind != rpc.String || t.Kind() != reflect.String {
		return false
	}
	enum, ok := reflect.Zero(t).Interface().(interface{ Values() []string })
	return ok && !slices.ContainsFunc(enum.Values(), func(word string) bool { return strings.EqualFold(word, v.Text) })
}
