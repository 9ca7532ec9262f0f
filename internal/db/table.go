package db

import (
	"encoding/json"
	"fmt"
	"reflect"

	"poolpatch/xenapi"
)

// Table describes the rows of one class. TableOf makes it.
type Table struct {
	class  *xenapi.Class
	links  []xenapi.Field // fields that hold references and are stored
	secret bool           // it has secret fields
	decode func([]byte) (any, error)
	clone  func(any) any
}

// TableOf describes the table of the record type T, which its class names.
func TableOf[T xenapi.Object]() Table {
	t := Table{class: xenapi.ClassOf[T]()}
	for _, f := range t.class.Fields {
		t.secret = t.secret || f.Secret
		if !f.Computed() && isLink(f.Type) {
			t.links = append(t.links, f)
		}
	}
	t.decode = func(data []byte) (any, error) {
		var rec T
		err := json.Unmarshal(data, &rec)
		return rec, err
	}
	t.clone = func(rec any) any { return xenapi.Clone(rec.(T)) }
	return t
}

// Class describes the rows.
func (t Table) Class() *xenapi.Class { return t.class }

// isLink reports whether t is a Ref or a slice of them.
func isLink(t reflect.Type) bool {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	_, ok := reflect.Zero(t).Interface().(interface{ Target() string })
	return ok && t.Kind() == reflect.String
}

// encode gives the stored form of a record and the record as it will be read back.
func (t Table) encode(rec any) ([]byte, any, error) {
	if reflect.TypeOf(rec) != t.class.Type {
		return nil, nil, fmt.Errorf("a row of %s cannot be a %T", t.class.Name, rec)
	}
	data, err := json.Marshal(t.blank(rec))
	if err != nil {
		return nil, nil, fmt.Errorf("encode row of %s: %w", t.class.Name, err)
	}
	stored, err := t.decode(data)
	if err != nil {
		return nil, nil, fmt.Errorf("encode row of %s: %w", t.class.Name, err)
	}
	return data, stored, nil
}

// blank copies a record without its computed fields, which are never stored.
func (t Table) blank(rec any) any {
	v := reflect.New(t.class.Type).Elem()
	v.Set(reflect.ValueOf(rec))
	for _, f := range t.class.Fields {
		if f.Computed() {
			v.Field(f.Index).SetZero()
		}
	}
	return v.Interface()
}

// uuid gives the record's uuid, or "" when the class has none.
func (t Table) uuid(rec any) string {
	f, ok := t.class.Field("uuid")
	if !ok || f.Type.Kind() != reflect.String {
		return ""
	}
	return reflect.ValueOf(rec).Field(f.Index).String()
}

// targets lists what the field refers to; null references are left out.
func targets(rec any, f xenapi.Field) []string {
	v := reflect.ValueOf(rec).Field(f.Index)
	if v.Kind() != reflect.Slice {
		return appendTarget(nil, v)
	}
	var all []string
	for i := range v.Len() {
		all = appendTarget(all, v.Index(i))
	}
	return all
}

func appendTarget(all []string, ref reflect.Value) []string {
	if isNull(ref.String()) {
		return all
	}
	return append(all, ref.String())
}

// isNull is true of the null reference, whatever its class.
func isNull(ref string) bool { return xenapi.Ref[xenapi.Pool](ref).IsNull() }
