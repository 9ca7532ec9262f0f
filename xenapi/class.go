package xenapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Class describes a record type: what its struct tags say, read once.
//
// A field's tag is `json:"NAME" xenapi:"QUALIFIER,since=RELEASE,…" default:"JSON or text"`, where the
// qualifier is RW, constructor (set when the object is created), runtime (set by the server only) or
// internal (a column of the database that never goes on the wire). Further words: role=R (the lowest
// role that may set the field), inverse=class.field (the field is never stored: it lists the objects
// of that class whose field refers to this one), required (a constructor call must give it), secret (an internal
// field that opens doors: copies of the database for others' eyes are without it), deprecated, prototyped, removed.
type Class struct {
	Name   string
	Type   reflect.Type
	Fields []Field
	byName map[string]int
}

// Qualifier says who may write a field.
type Qualifier string

// The qualifiers of XenAPI, and Internal for columns that never go on the wire.
const (
	ReadWrite   Qualifier = "RW"
	Constructor Qualifier = "constructor"
	Runtime     Qualifier = "runtime"
	Internal    Qualifier = "internal"
)

// Field is one field of a class.
type Field struct {
	Name       string
	Index      int // in the struct
	Type       reflect.Type
	Qualifier  Qualifier
	SetterRole string // lowest role that may set an RW field
	Since      string // release that brought the field
	Lifecycle  string // "", "deprecated", "prototyped" or "removed"
	Default    string // as in the tag; "" is the zero value
	Required   bool   // a constructor call must give it
	Secret     bool   // an internal field that opens doors
	// InverseClass and InverseField are set on a computed field: it lists the objects of that class
	// whose field refers to this object.
	InverseClass, InverseField string
}

// Computed reports whether the field is derived from other objects and never stored.
func (f Field) Computed() bool { return f.InverseClass != "" }

// Wire reports whether the field belongs to the API.
func (f Field) Wire() bool { return f.Qualifier != Internal }

// Field finds a field by its wire name.
func (c *Class) Field(name string) (Field, bool) {
	i, ok := c.byName[name]
	if !ok {
		return Field{}, false
	}
	return c.Fields[i], true
}

var classes sync.Map // reflect.Type → *Class

// ClassOf describes the record type T.
func ClassOf[T Object]() *Class {
	return ClassFor(reflect.TypeFor[T]())
}

// ClassFor describes the record type t, a struct that implements Object. It panics on a malformed
// tag: that is a defect of the program, found by the first test that touches the class.
func ClassFor(t reflect.Type) *Class {
	if c, ok := classes.Load(t); ok {
		return c.(*Class)
	}
	c, _ := classes.LoadOrStore(t, describe(t))
	return c.(*Class)
}

func describe(t reflect.Type) *Class {
	c := &Class{Name: reflect.Zero(t).Interface().(Object).Class(), Type: t, byName: map[string]int{}}
	for i := range t.NumField() {
		f := parseField(c.Name, t.Field(i), i)
		c.byName[f.Name] = len(c.Fields)
		c.Fields = append(c.Fields, f)
	}
	return c
}

func parseField(class string, sf reflect.StructField, index int) Field {
	words := strings.Split(sf.Tag.Get("xenapi"), ",")
	name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
	f := Field{Name: name, Index: index, Type: sf.Type, Qualifier: Qualifier(words[0]), Default: sf.Tag.Get("default")}
	switch f.Qualifier {
	case ReadWrite, Constructor, Runtime, Internal:
	default:
		panic(fmt.Sprintf("xenapi: %s.%s has qualifier %q", class, sf.Name, words[0]))
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "role":
			f.SetterRole = value
		case "since":
			f.Since = value
		case "inverse":
			f.InverseClass, f.InverseField, _ = strings.Cut(value, ".")
		case "required":
			f.Required = true
		case "secret":
			f.Secret = f.Qualifier == Internal
		case "deprecated", "prototyped", "removed":
			f.Lifecycle = key
		default:
			panic(fmt.Sprintf("xenapi: %s.%s has the unknown word %q", class, sf.Name, w))
		}
	}
	return f
}

// New makes a record of class T whose fields hold the defaults that XenAPI declares.
func New[T Object]() T {
	return ClassOf[T]().New().(T)
}

// New makes a record of the class whose fields hold the defaults that XenAPI declares.
func (c *Class) New() Object {
	v := reflect.New(c.Type).Elem()
	for _, f := range c.Fields {
		if f.Default != "" {
			f.setDefault(v.Field(f.Index))
		}
	}
	return v.Interface().(Object)
}

func (f Field) setDefault(v reflect.Value) {
	if v.Kind() == reflect.String {
		v.SetString(f.Default)
		return
	}
	if err := json.Unmarshal([]byte(f.Default), v.Addr().Interface()); err != nil {
		panic(fmt.Sprintf("xenapi: default %q of %s: %v", f.Default, f.Name, err))
	}
}

// Clone copies a record so deeply that no map or slice is shared with the original.
func Clone[T any](rec T) T {
	v := reflect.ValueOf(&rec).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() {
			cloneField(f)
		}
	}
	return rec
}

func cloneField(f reflect.Value) {
	switch {
	case f.Kind() == reflect.Map && !f.IsNil():
		m := reflect.MakeMapWithSize(f.Type(), f.Len())
		for iter := f.MapRange(); iter.Next(); {
			m.SetMapIndex(iter.Key(), iter.Value())
		}
		f.Set(m)
	case f.Kind() == reflect.Slice && !f.IsNil():
		s := reflect.MakeSlice(f.Type(), f.Len(), f.Len())
		reflect.Copy(s, f)
		f.Set(s)
	}
}
