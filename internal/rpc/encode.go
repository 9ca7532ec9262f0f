package rpc

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// writer is one of the two notations.
type writer interface {
	text(s string)
	integer(n int64)
	i4(n int64)
	float(f float64)
	boolean(b bool)
	datetime(t time.Time)
	void()
	null()
	beginArray()
	item(i int) // before each element
	endArray()
	beginStruct()
	member(i int, name string) // before each member's value
	endMember()
	endStruct()
}

// encode writes any Go value: string kinds, bool, ints, floats, time.Time, slices, maps, records, Values.
// nil is void. Nil slices and maps are empty ones. Map keys are sorted, record fields stand in the order
// of the struct, and internal columns are left out.
func encode(w writer, v any) {
	if v == nil {
		w.void()
		return
	}
	encodeValue(w, reflect.ValueOf(v))
}

func encodeValue(w writer, v reflect.Value) {
	switch x := v.Interface().(type) {
	case Value:
		encodeWire(w, x)
		return
	case time.Time:
		w.datetime(x)
		return
	case I4:
		w.i4(int64(x))
		return
	}
	switch v.Kind() {
	case reflect.String:
		w.text(textOf(v))
	case reflect.Bool:
		w.boolean(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.integer(v.Int())
	case reflect.Float32, reflect.Float64:
		w.float(v.Float())
	case reflect.Slice, reflect.Array:
		encodeSlice(w, v)
	case reflect.Map:
		encodeMap(w, v)
	case reflect.Struct:
		encodeRecord(w, v)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			w.null()
			return
		}
		encodeValue(w, v.Elem())
	default:
		panic(fmt.Sprintf("rpc: a %s has no place on the wire", v.Type()))
	}
}

// textOf is a string kind as it goes out: the null reference has a spelling of its own.
func textOf(v reflect.Value) string {
	if v.String() == "" {
		if s, ok := v.Interface().(fmt.Stringer); ok {
			return s.String()
		}
	}
	return v.String()
}

func encodeSlice(w writer, v reflect.Value) {
	w.beginArray()
	for i := range v.Len() {
		w.item(i)
		encodeValue(w, v.Index(i))
	}
	w.endArray()
}

func encodeMap(w writer, v reflect.Value) {
	type pair struct {
		key   string
		value reflect.Value
	}
	pairs := make([]pair, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		key := iter.Key()
		text := textKey(key)
		pairs = append(pairs, pair{text, iter.Value()})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	w.beginStruct()
	for i, p := range pairs {
		w.member(i, p.key)
		encodeValue(w, p.value)
		w.endMember()
	}
	w.endStruct()
}

func textKey(key reflect.Value) string {
	if key.Kind() == reflect.String {
		return textOf(key)
	}
	return strconv.FormatInt(key.Int(), 10)
}

func encodeRecord(w writer, v reflect.Value) {
	layout := layoutOf(v.Type())
	w.beginStruct()
	for i, f := range layout.fields {
		w.member(i, f.name)
		encodeValue(w, v.Field(f.index))
		w.endMember()
	}
	w.endStruct()
}

func encodeWire(w writer, v Value) {
	switch v.Kind {
	case Nil:
		w.null()
	case String:
		w.text(v.Text)
	case Int:
		w.i4(v.Int)
	case Double:
		w.float(v.Double)
	case Bool:
		w.boolean(v.Bool)
	case Time:
		w.datetime(v.Time)
	case Array:
		w.beginArray()
		for i, item := range v.Items {
			w.item(i)
			encodeWire(w, item)
		}
		w.endArray()
	case Struct:
		w.beginStruct()
		for i, m := range v.Members {
			w.member(i, m.Name)
			encodeWire(w, m.Value)
			w.endMember()
		}
		w.endStruct()
	}
}

// layout is how a struct looks on the wire.
type layout struct {
	fields []wireField
	byName map[string]int // to the struct's field
}

type wireField struct {
	name  string
	index int
}

var layouts sync.Map // reflect.Type → *layout

func layoutOf(t reflect.Type) *layout {
	if l, ok := layouts.Load(t); ok {
		return l.(*layout)
	}
	l := &layout{byName: map[string]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		qualifier, _, _ := strings.Cut(f.Tag.Get("xenapi"), ",")
		if !f.IsExported() || name == "" || name == "-" || qualifier == "internal" {
			continue
		}
		l.byName[name] = i
		l.fields = append(l.fields, wireField{name, i})
	}
	layouts.Store(t, l)
	return l
}
