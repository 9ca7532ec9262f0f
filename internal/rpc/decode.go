package rpc

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"poolpatch/xenapi"
)

var (
	timeType  = reflect.TypeFor[time.Time]()
	valueType = reflect.TypeFor[Value]()
)

// Decode assigns the value to what dst points at: string kinds (references and enums too), bool, int64,
// float64, time.Time, slices, maps with string or int keys, record structs, or Value itself. What XenAPI
// does not accept is an error that names what was expected and what was found; a string that is not UTF-8
// is INVALID_VALUE. After an error dst may hold a part of the value.
func (v Value) Decode(dst any) error { return v.assign(reflect.ValueOf(dst).Elem()) }

// DecodeRecord assigns a struct to a record and tells which fields it had. Members that the record does
// not have are ignored.
func DecodeRecord(v Value, dst any) (present map[string]bool, err error) {
	present = map[string]bool{}
	err = v.assignRecord(reflect.ValueOf(dst).Elem(), present)
	return present, err
}

func (v Value) mismatch(expected string) error {
	return fmt.Errorf("expected %s, found %s", expected, v.Kind)
}

func (v Value) assign(dst reflect.Value) error {
	switch {
	case dst.Type() == valueType:
		dst.Set(reflect.ValueOf(v))
		return nil
	case dst.Type() == timeType:
		return v.assignTime(dst)
	}
	switch dst.Kind() {
	case reflect.String:
		return v.assignString(dst)
	case reflect.Bool:
		if v.Kind != Bool {
			return v.mismatch("boolean")
		}
		dst.SetBool(v.Bool)
		return nil
	case reflect.Int, reflect.Int64:
		return v.assignInt(dst)
	case reflect.Float64:
		return v.assignFloat(dst)
	case reflect.Slice:
		return v.assignSlice(dst)
	case reflect.Map:
		return v.assignMap(dst)
	case reflect.Struct:
		return v.assignRecord(dst, nil)
	}
	return fmt.Errorf("no value can become a %s", dst.Type())
}

// enum and ref are how string kinds tell what they are.
type (
	enum interface{ Values() []string }
	ref  interface{ IsNull() bool }
)

func (v Value) assignString(dst reflect.Value) error {
	if v.Kind != String {
		return v.mismatch("string")
	}
	if !utf8.ValidString(v.Text) {
		return xenapi.ErrInvalidValue("string", strings.ToValidUTF8(v.Text, "?"))
	}
	text := v.Text
	switch zero := reflect.Zero(dst.Type()).Interface().(type) {
	case ref:
		if text == xenapi.NullRef {
			text = ""
		}
	case enum:
		i := slices.IndexFunc(zero.Values(), func(known string) bool { return strings.EqualFold(known, text) })
		if i < 0 {
			return fmt.Errorf("%q is none of %s", text, strings.Join(zero.Values(), ", "))
		}
		text = zero.Values()[i]
	}
	dst.SetString(text)
	return nil
}

func (v Value) assignInt(dst reflect.Value) error {
	switch v.Kind {
	case Int:
		dst.SetInt(v.Int)
		return nil
	case String:
		n, err := strconv.ParseInt(v.Text, 10, 64)
		if err != nil {
			return fmt.Errorf("expected int, found the string %q", v.Text)
		}
		dst.SetInt(n)
		return nil
	}
	return v.mismatch("int")
}

func (v Value) assignFloat(dst reflect.Value) error {
	switch v.Kind {
	case Double:
		dst.SetFloat(v.Double)
		return nil
	case Int:
		dst.SetFloat(float64(v.Int))
		return nil
	case String:
		f, ok := parseFloat(v.Text)
		if !ok {
			return fmt.Errorf("expected double, found the string %q", v.Text)
		}
		dst.SetFloat(f)
		return nil
	}
	return v.mismatch("double")
}

// parseFloat refuses what is no number or infinite: no parameter can mean it.
func parseFloat(text string) (float64, bool) {
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// assignTime makes the epoch, which says "never", the zero time.
func (v Value) assignTime(dst reflect.Value) error {
	t := v.Time
	switch v.Kind {
	case Time:
	case String:
		var ok bool
		if t, ok = parseTime(v.Text); !ok {
			return fmt.Errorf("expected dateTime, found the string %q", v.Text)
		}
	default:
		return v.mismatch("dateTime")
	}
	if t.Unix() == 0 {
		t = time.Time{}
	}
	dst.Set(reflect.ValueOf(t))
	return nil
}

func (v Value) assignSlice(dst reflect.Value) error {
	if v.Kind != Array {
		return v.mismatch("array")
	}
	set := reflect.MakeSlice(dst.Type(), len(v.Items), len(v.Items))
	for i, item := range v.Items {
		if err := item.assign(set.Index(i)); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	dst.Set(set)
	return nil
}

func (v Value) assignMap(dst reflect.Value) error {
	if v.Kind != Struct {
		return v.mismatch("struct")
	}
	m := reflect.MakeMapWithSize(dst.Type(), len(v.Members))
	for _, member := range v.Members {
		key, elem := reflect.New(dst.Type().Key()).Elem(), reflect.New(dst.Type().Elem()).Elem()
		if err := (Value{Kind: String, Text: member.Name}).assign(key); err != nil {
			return fmt.Errorf("key %q: %w", member.Name, err)
		}
		if err := member.Value.assign(elem); err != nil {
			return fmt.Errorf("value of %q: %w", member.Name, err)
		}
		m.SetMapIndex(key, elem)
	}
	dst.Set(m)
	return nil
}

func (v Value) assignRecord(dst reflect.Value, present map[string]bool) error {
	if v.Kind != Struct {
		return v.mismatch("struct")
	}
	layout := layoutOf(dst.Type())
	for _, member := range v.Members {
		i, ok := layout.byName[member.Name]
		if !ok {
			continue
		}
		if err := member.Value.assign(dst.Field(i)); err != nil {
			return fmt.Errorf("field %s: %w", member.Name, err)
		}
		if present != nil {
			present[member.Name] = true
		}
	}
	return nil
}
