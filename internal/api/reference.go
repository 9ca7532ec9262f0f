package api

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"

	"poolpatch/internal/rpc"
	"poolpatch/xenapi"
)

// Reference is the whole API as data. It is made of what the daemon itself goes by: the record types, the method table and
// the constructors of the errors.
type Reference struct {
	Classes []ClassReference `json:"classes"`
	Errors  []ErrorReference `json:"errors"`
}

// ClassReference is a class; of one without objects here, such as those of virtual machines alone, there are no fields.
type ClassReference struct {
	Name     string             `json:"name"`
	Fields   []FieldReference   `json:"fields"`
	Messages []MessageReference `json:"messages"`
}

// FieldReference is a field of a class's records.
type FieldReference struct {
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Values    []string `json:"values,omitempty"` // of an enum
	Qualifier string   `json:"qualifier"`
	Default   string   `json:"default,omitempty"`
	Since     string   `json:"since"`
	Lifecycle string   `json:"lifecycle,omitempty"`
	Role      string   `json:"role,omitempty"` // the lowest that may set it
}

// MessageReference is a message. Implicit ones follow from the class's fields.
type MessageReference struct {
	Name        string               `json:"name"`
	Parameters  []ParameterReference `json:"parameters"` // after the session
	Result      string               `json:"result"`
	Role        string               `json:"role"` // the lowest that may send it
	Since       string               `json:"since,omitempty"`
	Implicit    bool                 `json:"implicit"`
	Async       bool                 `json:"async"`
	Session     bool                 `json:"session"` // whether the first parameter is one
	Lifecycle   string               `json:"lifecycle,omitempty"`
	Deprecated  bool                 `json:"deprecated"`
	Replacement string               `json:"replacement,omitempty"` // of a deprecated message
	Refused     string               `json:"refused,omitempty"`     // the error that it ends with, whatever is asked
}

// ParameterReference is a parameter of a message.
type ParameterReference struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Optional bool   `json:"optional,omitempty"`
	Default  string `json:"default,omitempty"`
}

// ErrorReference is an error in one of its forms.
type ErrorReference struct {
	Code       string   `json:"code"`
	Parameters []string `json:"parameters"`
	Meaning    string   `json:"meaning"`
}

// Reference describes the API. Messages that are not listed to clients are left out.
func (a *API) Reference() Reference {
	return a.describe(func(m *method) bool { return !m.sig.Hidden })
}

// Whole is the reference with the messages that are not listed to clients.
func (a *API) Whole() Reference { return a.describe(func(*method) bool { return true }) }

func (a *API) describe(shown func(*method) bool) Reference {
	var ref Reference
	for _, name := range slices.Sorted(maps.Keys(a.table)) { // a class's messages stand together
		m := a.table[name]
		if !shown(m) {
			continue
		}
		if n := len(ref.Classes); n == 0 || ref.Classes[n-1].Name != m.sig.Class {
			ref.Classes = append(ref.Classes, ClassReference{Name: m.sig.Class, Fields: fieldReferences(m.sig.Class)})
		}
		class := &ref.Classes[len(ref.Classes)-1]
		class.Messages = append(class.Messages, m.reference())
	}
	for _, form := range xenapi.ErrorForms() {
		ref.Errors = append(ref.Errors, ErrorReference{form.Code, append([]string{}, form.Params...), xenapi.NewError(form.Code).Sentence()})
	}
	return ref
}

// ReferenceJSON is the reference as GET /api answers it.
func (a *API) ReferenceJSON() []byte { return a.reference() }

func (a *API) marshalReference() []byte {
	text, err := json.MarshalIndent(a.Reference(), "", " ")
	if err != nil {
		panic("api: the reference has no JSON: " + err.Error()) // it is made of strings
	}
	return append(text, '\n')
}

func fieldReferences(class string) []FieldReference {
	all := []FieldReference{}
	for _, f := range fieldsOf(class) {
		if !f.Wire() {
			continue
		}
		all = append(all, FieldReference{
			Name: f.Name, Type: typeName(f.Type), Values: enumValues(f.Type), Qualifier: string(f.Qualifier), Default: f.Default,
			Since: f.Since, Lifecycle: f.Lifecycle, Role: f.SetterRole,
		})
	}
	return all
}

func fieldsOf(class string) []xenapi.Field {
	for _, c := range Classes() {
		if c.Name == class {
			return c.Fields
		}
	}
	return nil
}

func (m *method) reference() MessageReference {
	ref := MessageReference{
		Name: m.sig.Name, Parameters: []ParameterReference{}, Result: m.resultName(), Role: m.sig.Role, Since: m.sig.Since, Implicit: m.implicit,
		Async: !m.implicit && !m.sig.NoAsync, Session: !m.sig.NoSession,
		Lifecycle: m.sig.Lifecycle, Deprecated: m.sig.Lifecycle == "deprecated", Replacement: m.sig.Replacement, Refused: m.refusal,
	}
	for i, p := range m.sig.Params {
		if p.Type == "" {
			p.Type = typeName(m.params[i])
		}
		ref.Parameters = append(ref.Parameters, ParameterReference{p.Name, p.Type, p.Optional, p.Default})
	}
	return ref
}

// resultName is the result's type; a getter's is that of its field.
func (m *method) resultName() string {
	if m.sig.Result != "" {
		return m.sig.Result
	}
	for _, f := range fieldsOf(m.sig.Class) {
		if "get_"+f.Name == m.sig.Name {
			return typeName(f.Type)
		}
	}
	return "?"
}

// typeName is a Go type in XenAPI's words.
func typeName(t reflect.Type) string {
	if t == reflect.TypeFor[time.Time]() {
		return "datetime"
	}
	switch v := reflect.Zero(t).Interface().(type) {
	case interface{ Target() string }:
		return v.Target() + " ref"
	case interface{ Values() []string }:
		return "enum"
	case xenapi.Object:
		return v.Class() + " record"
	case rpc.Value:
		return "any"
	case eventBatch:
		return "an event batch"
	}
	switch t.Kind() {
	case reflect.Int64:
		return "int"
	case reflect.Float64:
		return "float"
	case reflect.Slice:
		return typeName(t.Elem()) + " set"
	case reflect.Map:
		return "(" + typeName(t.Key()) + " -> " + typeName(t.Elem()) + ") map"
	}
	return t.Kind().String()
}

// enumValues lists the values of an enum, of a set's or of a map's; nil where there is none in the type.
func enumValues(t reflect.Type) []string {
	if e, ok := reflect.Zero(t).Interface().(interface{ Values() []string }); ok {
		return e.Values()
	}
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		return enumValues(t.Elem())
	}
	return nil
}
