package xe

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// derive makes the commands that a class has of itself: those that apply to what can be done with its fields.
func derive(c *class) []command {
	var names []string
	for _, f := range c.fields {
		names = append(names, f.name)
	}
	all := strings.Join(names, " ")
	derived := []command{
		{c.name + "-list", "", "params " + all, "Lists all the " + c.name + " objects, filtering on the optional arguments", listOf(c), &extra{common: true}},
		{c.name + "-param-list", "uuid", "", "Lists all the parameters of the object specified by the uuid", paramList(c), nil},
		{c.name + "-param-get", "uuid param-name", "param-key", "Gets the parameter specified of the object. If the parameter is a map of key=value pairs, use 'param-key=<key>' to get the value associated with a particular key", paramGet(c), nil},
	}
	if c.has(rw, mrw) {
		derived = append(derived, command{c.name + "-param-set", "uuid", namesOf(c, rw, mrw), "Sets the parameter specified. If param-value is not given, the parameter is set to a null value. To set a (key, value) pair in a map parameter, use the syntax 'map-param:key=value'", paramSet(c), nil})
	}
	if c.has(srw, mrw) {
		derived = append(derived,
			command{c.name + "-param-add", "uuid param-name", "param-key", "Adds to a set or map parameter. If the parameter is a set, use param-key=<key to add>. If the parameter is a map, pass the values to add as 'key=value' pairs", paramAdd(c), nil},
			command{c.name + "-param-remove", "uuid param-name param-key", "", "Removes a member or a key,value pair from a set/map respectively", paramRemove(c), nil},
			command{c.name + "-param-clear", "uuid param-name", "", "Clears the specified parameter (param-name can be " + strings.ReplaceAll(namesOf(c, srw, mrw), " ", ", ") + ")", paramClear(c), nil})
	}
	return derived
}

// namesOf lists the fields that have one of the flags.
func namesOf(c *class, flags ...flag) string {
	var names []string
	for _, f := range c.fields {
		if slices.Contains(flags, f.flag) {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, " ")
}

// listOf prints the objects that pass the filters.
func listOf(c *class) action {
	return func(ctx context.Context, r *run) error {
		rows, err := r.selected(ctx, c)
		if err != nil {
			return err
		}
		chosen := r.chosen(c)
		for _, of := range rows {
			if err := r.out.record(r.cells(ctx, c, chosen, of)); err != nil {
				return err
			}
		}
		return nil
	}
}

// chosen are the fields that params= names, in the order of the record.
func (r *run) chosen(c *class) (fields []field) {
	names := strings.Split(r.text("params", c.list), ",")
	if slices.Contains(names, "all") {
		return c.fields
	}
	for _, f := range c.fields {
		if slices.Contains(names, f.name) {
			fields = append(fields, f)
		}
	}
	return fields
}

func (r *run) cells(ctx context.Context, c *class, fields []field, of row) (cells []cell) {
	for _, f := range fields {
		cells = append(cells, cell{f.label(), r.show(ctx, c, f, of).text})
	}
	return cells
}

// selected are the objects that pass every filter of the command line.
func (r *run) selected(ctx context.Context, c *class, besides ...string) ([]row, error) {
	rows, err := r.rows(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, p := range r.pairs {
		if isReserved(p.key) || slices.Contains(besides, p.key) || len(rows) == 0 {
			continue
		}
		f, key, err := c.filter(p.key)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(of row) bool { return !r.show(ctx, c, f, of).matches(f, key, p.value) })
	}
	return rows, nil
}

// filter finds the field that a filter names, and the key within it: field, map:key, set:contains, map-key.
func (c *class) filter(name string) (f field, key string, err error) {
	if f, ok := c.field(name); ok {
		return f, "", nil
	}
	for _, f := range c.fields {
		if key, ok := entryOf(f.name, name); ok && (f.flag.isMap() || f.flag.isSet() && key == "contains") {
			return f, key, nil
		}
	}
	return field{}, "", unknownField(name)
}

func unknownField(name string) error { return failure(fmt.Sprintf("Unknown field '%s'", name)) }

func (s shown) matches(f field, key, want string) bool {
	switch {
	case key == "":
		return s.text == want
	case f.flag.isMap():
		value, ok := s.find(key)
		return ok && value == want
	}
	return slices.Contains(s.set, want)
}

func paramList(c *class) action {
	return func(ctx context.Context, r *run) error {
		of, err := r.named(ctx, c)
		if err != nil {
			return err
		}
		return r.out.record(r.cells(ctx, c, c.fields, of))
	}
}

func paramGet(c *class) action {
	return func(ctx context.Context, r *run) error {
		f, err := r.fieldNamed(c)
		if err != nil {
			return err
		}
		of, err := r.named(ctx, c)
		if err != nil {
			return err
		}
		value := r.show(ctx, c, f, of)
		key, ofMap := r.lookup("param-key")
		if !ofMap {
			return r.out.line(value.text)
		}
		if !f.flag.isMap() {
			return failure(fmt.Sprintf("Field '%s' is not a map", f.name))
		}
		text, ok := value.find(key)
		if !ok {
			return failure(fmt.Sprintf("Key %s not found in map", key))
		}
		return r.out.line(text)
	}
}

// fieldNamed is the field that param-name= names.
func (r *run) fieldNamed(c *class) (field, error) {
	name := r.text("param-name", "")
	f, ok := c.field(name)
	if !ok {
		return field{}, unknownField(name)
	}
	return f, nil
}

// change is one call that writes a field.
type change struct {
	message string
	params  []any
}

// paramSet writes every field that the command line names. All of the line is understood before any of it is done.
func paramSet(c *class) action {
	return func(ctx context.Context, r *run) error {
		ref, err := r.refOf(ctx, c.api.Name, "uuid")
		if err != nil {
			return err
		}
		var changes []change
		for _, p := range r.pairs {
			if isReserved(p.key) || p.key == "uuid" {
				continue
			}
			more, err := r.setting(ctx, c, p)
			if err != nil {
				return err
			}
			changes = append(changes, more...)
		}
		return r.write(ctx, c, ref, changes)
	}
}

// setting is how field=value, or map:key=value, is done.
func (r *run) setting(ctx context.Context, c *class, p pair) ([]change, error) {
	f, key, err := c.filter(p.key)
	switch {
	case err != nil:
		return nil, err
	case !f.flag.isWritable():
		return nil, failure(fmt.Sprintf("Cannot modify read-only field '%s'", f.name))
	case f.flag.isMap() && key != "":
		return []change{
			{"remove_from_" + f.attribute(), []any{key}},
			{"add_to_" + f.attribute(), []any{key, p.value}},
		}, nil
	case f.flag != rw || key != "":
		return nil, failure(fmt.Sprintf("Cannot set '%s' as a whole; use param-add, param-remove and param-clear", f.name))
	}
	value, err := r.meant(ctx, c, f, p.value)
	return []change{{"set_" + f.attribute(), []any{value}}}, err
}

// meant is the value of the API that a text stands for.
func (r *run) meant(ctx context.Context, c *class, f field, text string) (any, error) {
	attribute, _ := c.api.Field(f.attribute())
	if to := target(attribute.Type); to != nil {
		if text == "" {
			return "OpaqueRef:NULL", nil
		}
		return r.ask(ctx, to.Name+".get_by_uuid", text)
	}
	switch attribute.Type.String() {
	case "bool":
		return parseBool(f.name, text)
	case "int64":
		return parseSize(f.name, text)
	case "float64":
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, failure(fmt.Sprintf("Failed to parse parameter '%s': expecting a number", f.name))
		}
		return n, nil
	}
	return text, nil
}

func (r *run) write(ctx context.Context, c *class, ref string, changes []change) error {
	for _, change := range changes {
		if _, err := r.call(ctx, c.message(change.message), append([]any{ref}, change.params...)...); err != nil {
			return err
		}
	}
	return nil
}

// collection is the writable set or map that param-name= names, and the object's reference.
func (r *run) collection(ctx context.Context, c *class) (ref string, f field, err error) {
	if f, err = r.fieldNamed(c); err != nil {
		return "", f, err
	}
	if f.flag != srw && f.flag != mrw {
		return "", f, failure(fmt.Sprintf("Field '%s' is not a writable set or map", f.name))
	}
	ref, err = r.refOf(ctx, c.api.Name, "uuid")
	return ref, f, err
}

func paramAdd(c *class) action {
	return func(ctx context.Context, r *run) error {
		ref, f, err := r.collection(ctx, c)
		if err != nil {
			return err
		}
		key, hasKey := r.lookup("param-key")
		if f.flag == srw {
			if !hasKey {
				return usage("Required parameter not found: param-key")
			}
			value, err := r.meant(ctx, c, f, key)
			if err != nil {
				return err
			}
			return r.write(ctx, c, ref, []change{{"add_" + f.element(), []any{value}}})
		}
		var changes []change
		for _, p := range r.pairs {
			if !isReserved(p.key) && p.key != "uuid" && p.key != "param-name" && p.key != "param-key" {
				changes = append(changes, change{"add_to_" + f.attribute(), []any{p.key, p.value}})
			}
		}
		return r.write(ctx, c, ref, changes)
	}
}

func paramRemove(c *class) action {
	return func(ctx context.Context, r *run) error {
		ref, f, err := r.collection(ctx, c)
		if err != nil {
			return err
		}
		key := r.text("param-key", "")
		if f.flag == mrw {
			return r.write(ctx, c, ref, []change{{"remove_from_" + f.attribute(), []any{key}}})
		}
		value, err := r.meant(ctx, c, f, key)
		if err != nil {
			return err
		}
		return r.write(ctx, c, ref, []change{{"remove_" + f.element(), []any{value}}})
	}
}

func paramClear(c *class) action {
	return func(ctx context.Context, r *run) error {
		ref, f, err := r.collection(ctx, c)
		if err != nil {
			return err
		}
		empty := any([]string{})
		if f.flag == mrw {
			empty = map[string]string{}
		}
		return r.write(ctx, c, ref, []change{{"set_" + f.attribute(), []any{empty}}})
	}
}
