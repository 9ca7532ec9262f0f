package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// list is XenAPI's list of classes.
type list struct {
	Classes map[string]class `json:"classes"`
}

type class struct {
	Implicit []string  `json:"implicit"` // messages about whole objects
	Fields   []field   `json:"fields"`
	Messages []message `json:"messages"`
}

type message struct {
	Name      string  `json:"n"`
	Params    []param `json:"p"`
	Result    string  `json:"r"`
	Role      string  `json:"role"`
	Async     *bool   `json:"async"` // absent is true
	NoSession bool    `json:"nosession"`
}

// field stands in the list as [name, type, qualifier, default, since, role that may set it, lifecycle].
type field struct{ name, kind, qualifier, setter string }

// UnmarshalJSON implements json.Unmarshaler.
func (f *field) UnmarshalJSON(text []byte) error {
	var words []any
	if err := json.Unmarshal(text, &words); err != nil {
		return err
	}
	return unpack(words, &f.name, &f.kind, &f.qualifier, nil, nil, &f.setter)
}

// param stands in the list as [name, type] or [name, type, default].
type param struct {
	name, kind string
	optional   bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *param) UnmarshalJSON(text []byte) error {
	var words []any
	if err := json.Unmarshal(text, &words); err != nil {
		return err
	}
	p.optional = len(words) > 2
	return unpack(words, &p.name, &p.kind)
}

// unpack takes the strings of an array; where it ends early, or has null, they are "".
func unpack(words []any, into ...*string) error {
	for i, dst := range into {
		if dst == nil || i >= len(words) || words[i] == nil {
			continue
		}
		text, ok := words[i].(string)
		if !ok {
			return fmt.Errorf("%v is no string", words[i])
		}
		*dst = text
	}
	return nil
}

// all are a class's messages by name: those that it declares, and those that follow from its objects and fields.
func (c class) all(name string) map[string]message {
	all := map[string]message{}
	no := false
	add := func(name, result, role string, params ...param) {
		all[name] = message{Name: name, Params: params, Result: result, Role: role, Async: &no}
	}
	self := param{name: "self", kind: name + " ref"}
	c.addObjects(name, self, add)
	for _, f := range c.Fields {
		if name == "event" {
			break // its records are not objects
		}
		add("get_"+f.name, f.kind, "read-only", self)
		if f.qualifier == "RW" {
			f.addWrites(self, add)
		}
	}
	for _, m := range c.Messages {
		all[m.Name] = m
	}
	return all
}

type adder = func(message, result, role string, params ...param)

func (c class) addObjects(name string, self param, add adder) {
	const read = "read-only"
	records := "(" + name + " ref -> " + name + " record) map"
	expr := param{name: "expr", kind: "string"}
	for _, message := range c.Implicit {
		switch message {
		case "get_record":
			add(message, name+" record", read, self)
		case "get_by_uuid":
			add(message, name+" ref", read, param{name: "uuid", kind: "string"})
		case "get_by_name_label":
			add(message, name+" ref set", read, param{name: "label", kind: "string"})
		case "get_all":
			add(message, name+" ref set", read)
		case "get_all_records":
			add(message, records, read)
			add("get_all_where", name+" ref set", read, expr)
			add("get_all_records_where", records, read, expr)
		}
	}
}

// addWrites adds the messages that write a field.
func (f field) addWrites(self param, add adder) {
	value := func(kind string) param { return param{name: "value", kind: kind} }
	add("set_"+f.name, "void", f.setter, self, value(f.kind))
	if elem, ok := strings.CutSuffix(f.kind, " set"); ok {
		add("add_"+f.name, "void", f.setter, self, value(elem))
		add("remove_"+f.name, "void", f.setter, self, value(elem))
	}
	if inner, ok := strings.CutSuffix(f.kind, ") map"); ok {
		k, v, _ := strings.Cut(strings.TrimPrefix(inner, "("), " -> ")
		key := param{name: "key", kind: k}
		add("add_to_"+f.name, "void", f.setter, self, key, value(v))
		add("remove_from_"+f.name, "void", f.setter, self, key)
	}
}

// plain is a type as both sides write it: an enum's values are a matter of its field.
func plain(kind string) string {
	words := strings.Fields(kind)
	for i := 0; i+1 < len(words); i++ {
		if strings.TrimLeft(words[i], "(") == "enum" && !slices.Contains([]string{"->", "set", "map"}, words[i+1]) {
			rest := ""
			if strings.HasSuffix(words[i+1], ")") {
				rest = ")"
			}
			words[i] += rest
			words = slices.Delete(words, i+1, i+2)
		}
	}
	return strings.Join(words, " ")
}
