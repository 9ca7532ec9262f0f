package xe

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

const (
	// notInDatabase stands for a reference that refers to nothing.
	notInDatabase = "<not in database>"
	// invalidReference stands for a field that could not be read because an object on the way to it is gone.
	invalidReference = "<invalid reference>"
)

// row is an object that is shown.
type row struct {
	ref    string
	record rpc.Value
}

// record reads an object; one that is not there is none. Within a command each is read once.
func (r *run) record(ctx context.Context, class, ref string) (rpc.Value, bool) {
	if ref == "" || ref == xenapi.NullRef {
		return rpc.Value{}, false
	}
	key := class + " " + ref
	rec, read := r.records[key]
	if !read {
		var err error
		if rec, err = r.call(ctx, class+".get_record", ref); err != nil {
			rec = rpc.Value{}
		}
		r.records[key] = rec
	}
	return rec, rec.Kind == rpc.Struct
}

// rows reads all objects of a class.
func (r *run) rows(ctx context.Context, c *class) ([]row, error) {
	all, err := r.call(ctx, c.message("get_all_records"))
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, m := range all.Members {
		r.records[c.api.Name+" "+m.Name] = m.Value
		rows = append(rows, row{m.Name, m.Value})
	}
	return rows, nil
}

// named reads the object that uuid= names.
func (r *run) named(ctx context.Context, c *class) (row, error) {
	ref, err := r.ask(ctx, c.message("get_by_uuid"), r.text("uuid", ""))
	if err != nil {
		return row{}, err
	}
	rec, err := r.call(ctx, c.message("get_record"), ref)
	return row{ref, rec}, err
}

// shown is a field's value as it is printed and filtered: one text, or the elements of a set, or the pairs of a map.
type shown struct {
	text string // of all of it
	set  []string
	pair []pair
}

// show reads a field of an object.
func (r *run) show(ctx context.Context, c *class, f field, of row) shown {
	v, to, ok := r.value(ctx, c, f, of)
	if !ok {
		return shown{text: invalidReference}
	}
	switch {
	case f.flag.isMap():
		return pairsOf(r.members(ctx, v, to))
	case f.flag.isSet():
		return setOf(r.elements(ctx, v, to), f.separator())
	case v.Kind == rpc.Array:
		return setOf(r.elements(ctx, v, to), f.separator())
	}
	return shown{text: r.scalar(ctx, v, to)}
}

// value follows a field's path, and gives the class that what it ends with refers to.
func (r *run) value(ctx context.Context, c *class, f field, of row) (v rpc.Value, to *xenapi.Class, ok bool) {
	if f.more != nil && f.more.value != nil {
		v, ok = f.more.value(ctx, r, of.record)
		return v, nil, ok
	}
	at, rec := c.api, of.record
	for _, name := range append([]string{f.attribute()}, f.through()...) {
		if to != nil {
			at = to
			if rec, ok = r.record(ctx, to.Name, v.Text); !ok {
				return rpc.Value{}, nil, false
			}
		}
		attribute, _ := at.Field(name)
		v, _ = rec.Member(name)
		to = target(attribute.Type)
	}
	return v, to, true
}

// elements of a set; of a map from operations by task, the operations.
func (r *run) elements(ctx context.Context, v rpc.Value, to *xenapi.Class) (set []string) {
	for _, item := range v.Items {
		set = append(set, r.scalar(ctx, item, to))
	}
	for _, m := range v.Members {
		set = append(set, r.scalar(ctx, m.Value, to))
	}
	return set
}

func (r *run) members(ctx context.Context, v rpc.Value, to *xenapi.Class) (pairs []pair) {
	for _, m := range v.Members {
		pairs = append(pairs, pair{m.Name, r.scalar(ctx, m.Value, to)})
	}
	return pairs
}

// scalar is one value as text; a reference is the UUID of what it refers to.
func (r *run) scalar(ctx context.Context, v rpc.Value, to *xenapi.Class) string {
	if to != nil {
		rec, ok := r.record(ctx, to.Name, v.Text)
		if !ok {
			return notInDatabase
		}
		uuid, _ := rec.Member("uuid")
		return uuid.Text
	}
	switch v.Kind {
	case rpc.Int:
		return strconv.FormatInt(v.Int, 10)
	case rpc.Double:
		return fmt.Sprintf("%.3f", v.Double)
	case rpc.Bool:
		return strconv.FormatBool(v.Bool)
	case rpc.Time:
		return rpc.FormatTime(v.Time)
	}
	return v.Text
}

func setOf(set []string, separator string) shown {
	return shown{text: strings.Join(set, separator), set: set}
}

func pairsOf(pairs []pair) shown {
	texts := make([]string, len(pairs))
	for i, p := range pairs {
		texts[i] = p.key + ": " + p.value
	}
	return shown{text: strings.Join(texts, "; "), pair: pairs}
}

// find gives the value of a key of a map.
func (s shown) find(key string) (string, bool) {
	for _, p := range s.pair {
		if p.key == key {
			return p.value, true
		}
	}
	return "", false
}
