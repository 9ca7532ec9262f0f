package xe

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// class is a class as xe shows it.
type class struct {
	name   string // in commands: NAME-list
	api    *xenapi.Class
	list   string // fields that NAME-list shows unless it is told
	fields []field
}

// flag says whether a field can be written, and whether it is a set or a map.
type flag string

const (
	ro  flag = "( RO)"
	rw  flag = "( RW)"
	sro flag = "(SRO)"
	srw flag = "(SRW)"
	mro flag = "(MRO)"
	mrw flag = "(MRW)"
)

func (f flag) isSet() bool      { return f == sro || f == srw }
func (f flag) isMap() bool      { return f == mro || f == mrw }
func (f flag) isWritable() bool { return f == rw || f == srw || f == mrw }

// field is a row of a class's table. Its value is the field of the record that path names; a path A.B goes on through the
// reference, or each reference, in A. What is a reference at the end is shown as a UUID.
type field struct {
	name string
	flag flag
	path string // "" is the name, with underscores
	more *special
}

// special is what few fields need.
type special struct {
	separator  string                                                                    // between the elements of a set
	element    string                                                                    // in the messages that add and remove one, in the place of the attribute
	deprecated bool                                                                      // said beside the name
	value      func(ctx context.Context, r *run, rec rpc.Value) (got rpc.Value, ok bool) // in the place of path
}

var (
	commas     = &special{separator: ", "}
	deprecated = &special{deprecated: true}
)

// attribute is the field of the API that a row shows first, and that its setters name.
func (f field) attribute() string {
	path := f.path
	if path == "" {
		path = strings.ReplaceAll(f.name, "-", "_")
	}
	first, _, _ := strings.Cut(path, ".")
	return first
}

// element is what the messages that add one to a set, or remove one, name.
func (f field) element() string {
	if f.more != nil && f.more.element != "" {
		return f.more.element
	}
	return f.attribute()
}

// through are the fields that the path goes on with.
func (f field) through() []string {
	_, rest, deeper := strings.Cut(f.path, ".")
	if !deeper {
		return nil
	}
	return strings.Split(rest, ".")
}

func (f field) label() string {
	if f.more != nil && f.more.deprecated {
		return f.name + " " + string(f.flag) + " [DEPRECATED]"
	}
	return f.name + " " + string(f.flag)
}

func (f field) separator() string {
	if f.more != nil && f.more.separator != "" {
		return f.more.separator
	}
	return "; "
}

func (c *class) field(name string) (field, bool) {
	i := slices.IndexFunc(c.fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return c.fields[i], true
}

// has reports whether a field of the class has one of the flags.
func (c *class) has(flags ...flag) bool {
	return slices.ContainsFunc(c.fields, func(f field) bool { return slices.Contains(flags, f.flag) })
}

// message is the full name of a message of the class.
func (c *class) message(name string) string { return c.api.Name + "." + name }

// target is the class that values of a type refer to, nil when they are no references.
func target(t reflect.Type) *xenapi.Class {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	ref, ok := reflect.Zero(t).Interface().(interface{ Target() string })
	if !ok {
		return nil
	}
	for _, c := range known {
		if c.Name == ref.Target() {
			return c
		}
	}
	return &xenapi.Class{Name: ref.Target()} // one that has no objects here
}
