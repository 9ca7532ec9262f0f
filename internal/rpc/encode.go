package rpc

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
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
	i4(n int64) // <i4>, or <i8> when it needs one
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

var (
	i4Type     = reflect.TypeFor[I4]()
	stringsMap = reflect.TypeFor[map[string]string]()
)

// buffers are lent to writers, so that a large reply does not grow its buffer step by step each time.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// toXML gives what fill wrote.
func toXML(fill func(w *xmlWriter)) []byte {
	lent := buffers.Get().(*[]byte)
	w := &xmlWriter{(*lent)[:0]}
	fill(w)
	return giveBack(lent, w.b)
}

// toJSON gives what fill wrote.
func toJSON(fill func(w *jsonWriter)) []byte {
	lent := buffers.Get().(*[]byte)
	w := &jsonWriter{(*lent)[:0]}
	fill(w)
	return giveBack(lent, w.b)
}

// giveBack returns a buffer with what was written in it, which is copied out.
func giveBack(lent *[]byte, written []byte) []byte {
	out := bytes.Clone(written)
	*lent = written
	buffers.Put(lent)
	return out
}

// encode writes any Go value: string kinds, bool, ints, floats, time.Time, slices, maps, records, Values.
// nil is void. Nil slices and maps are empty ones. Map keys are sorted, record fields stand in the order
// of the struct, and internal columns are left out. It panics on a Go type that has no place on the wire
// (a channel, a func): that is a defect of the program, and no input leads there.
func encode(w writer, v any) {
	if v == nil {
		w.void()
		return
	}
	encodeValue(w, reflect.ValueOf(v))
}

// encodeValue looks at the kind before it asks for an interface, because most values are plain strings and
// making the interface allocates.
func encodeValue(w writer, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		w.text(textOf(v))
	case reflect.Bool:
		w.boolean(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if v.Type() == i4Type {
			w.i4(v.Int())
			return
		}
		w.integer(v.Int())
	case reflect.Float32, reflect.Float64:
		w.float(v.Float())
	case reflect.Slice, reflect.Array:
		encodeSlice(w, v)
	case reflect.Map:
		encodeMap(w, v)
	case reflect.Struct:
		encodeStruct(w, v)
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

func encodeStruct(w writer, v reflect.Value) {
	switch v.Type() {
	case valueType:
		encodeWire(w, v.Interface().(Value))
	case timeType:
		w.datetime(v.Interface().(time.Time))
	default:
		encodeRecord(w, v)
	}
}

// textOf is a string kind as it goes out: the null reference has a spelling of its own.
func textOf(v reflect.Value) string {
	text := v.String()
	if text == "" && v.Type().PkgPath() != "" {
		if s, ok := v.Interface().(fmt.Stringer); ok {
			return s.String()
		}
	}
	return text
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
	switch {
	case v.Len() == 0: // as most maps are
		w.beginStruct()
		w.endStruct()
		return
	case v.Type() == stringsMap:
		encodeStrings(w, v.Interface().(map[string]string))
		return
	}
	type pair struct {
		key   string
		value reflect.Value
	}
	pairs := make([]pair, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		pairs = append(pairs, pair{textKey(iter.Key()), iter.Value()})
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

// encodeStrings is encodeMap for the type that most maps of records have.
func encodeStrings(w writer, m map[string]string) {
	w.beginStruct()
	for i, key := range slices.Sorted(maps.Keys(m)) {
		w.member(i, key)
		w.text(m[key])
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
	w.beginStruct()
	written := 0
	for _, f := range layoutOf(v.Type()).fields {
		field := v.Field(f.index)
		if f.omitZero && field.IsZero() {
			continue
		}
		w.member(written, f.name)
		encodeValue(w, field)
		w.endMember()
		written++
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
	name     string
	index    int
	omitZero bool // the json tag says omitempty: the member is absent when it is the zero value
}

var layouts sync.Map // reflect.Type → *layout

func layoutOf(t reflect.Type) *layout {
	if l, ok := layouts.Load(t); ok {
		return l.(*layout)
	}
	l := &layout{byName: map[string]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		qualifier, _, _ := strings.Cut(f.Tag.Get("xenapi"), ",")
		if !f.IsExported() || name == "" || name == "-" || qualifier == "internal" {
			continue
		}
		l.byName[name] = i
		l.fields = append(l.fields, wireField{name, i, strings.Contains(options, "omitempty")})
	}
	layouts.Store(t, l)
	return l
}
