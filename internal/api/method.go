package api

import (
	"context"
	"crypto/x509"
	"fmt"
	"reflect"
	"strconv"

	"poolpatch/internal/db"
	"poolpatch/internal/rpc"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// call is what a handler knows of the call that it serves besides its parameters.
type call struct {
	session xenapi.Ref[xenapi.Session]
	caller  xenapi.Session
	local   bool       // it came over the unix socket
	task    *task.Task // nil for messages that have no Async form
	origin  string
	// certificates are what the client has shown, its own first.
	certificates []*x509.Certificate
	opened       *db.DB // what the session reads instead of the pool's database; nil for all but those of VDI.open_database

	elsewhere bool // another host was asked to do it
}

// method is a row of the table.
type method struct {
	sig     xenapi.Signature
	params  []reflect.Type // Go types of the parameters, without the session
	result  reflect.Type   // of a declared message; nil for void
	handler func(ctx context.Context, c *call, args []reflect.Value) (any, error)
	// permission names what RBAC checks, where it is not the message itself (map keys).
	permission func(args []reflect.Value) (name, lowest string)
	implicit   bool
	refusal    string // of a message that is not served: the code of the error that its handler gives
}

// bind makes a row of a declared message and a Go function
//
//	func(ctx context.Context, c *call, params…) (result, error)  or  func(…) error
//
// It panics when the function does not take what the declaration says: the first test finds it.
func bind(sig xenapi.Signature, fn any) *method {
	v := reflect.ValueOf(fn)
	t := v.Type()
	m := &method{sig: sig}
	for i := 2; i < t.NumIn(); i++ {
		m.params = append(m.params, t.In(i))
	}
	if t.NumOut() == 2 {
		m.result = t.Out(0)
	}
	if len(m.params) != len(sig.Params) {
		panic(fmt.Sprintf("api: %s is declared with %d parameters, its handler takes %d", sig.FullName(), len(sig.Params), len(m.params)))
	}
	m.handler = func(ctx context.Context, c *call, args []reflect.Value) (any, error) {
		in := append([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(c)}, args...)
		return results(v.Call(in))
	}
	return m
}

func results(out []reflect.Value) (any, error) {
	err, _ := out[len(out)-1].Interface().(error)
	if len(out) == 1 || err != nil {
		return nil, err
	}
	return out[0].Interface(), nil
}

// decode makes the Go values of the parameters; optional ones that were left off get their defaults.
func (m *method) decode(params []rpc.Value) ([]reflect.Value, error) {
	args := make([]reflect.Value, len(m.params))
	for i, t := range m.params {
		dst := reflect.New(t)
		if i >= len(params) {
			if err := setDefault(dst.Elem(), m.sig.Params[i].Default); err != nil {
				return nil, fmt.Errorf("default of %s.%s: %w", m.sig.FullName(), m.sig.Params[i].Name, err)
			}
		} else if err := m.decodeParam(i, params[i], dst); err != nil {
			return nil, err
		}
		args[i] = dst.Elem()
	}
	return args, nil
}

func (m *method) decodeParam(i int, v rpc.Value, dst reflect.Value) error {
	if dst.Elem().Kind() == reflect.Struct && dst.Type().Elem().Implements(reflect.TypeFor[xenapi.Object]()) {
		return decodeConstructor(v, dst)
	}
	if err := v.Decode(dst.Interface()); err != nil {
		return fmt.Errorf("parameter %s of %s: %w", m.paramName(i), m.sig.FullName(), err)
	}
	return nil
}

func (m *method) paramName(i int) string { return m.sig.Params[i].Name }

// decodeConstructor reads the record of a constructor call: what it leaves out gets its default, and
// what has none must be there.
func decodeConstructor(v rpc.Value, dst reflect.Value) error {
	class := xenapi.ClassFor(dst.Type().Elem())
	defaults := reflect.ValueOf(class.New())
	dst.Elem().Set(defaults)
	present, err := rpc.DecodeRecord(v, dst.Interface())
	if err != nil {
		return err
	}
	for _, f := range class.Fields {
		if f.Required && !present[f.Name] {
			return fmt.Errorf("field not found: %s", f.Name)
		}
		if !f.Wire() || f.Qualifier == xenapi.Runtime {
			dst.Elem().Field(f.Index).Set(defaults.Field(f.Index)) // not the caller's to give
		}
	}
	return nil
}

// setDefault writes the text of messages.txt; the zero value stands for {}, a null ref and the epoch.
func setDefault(dst reflect.Value, text string) error {
	switch dst.Kind() {
	case reflect.String:
		if text != xenapi.NullRef {
			dst.SetString(text)
		}
	case reflect.Bool:
		dst.SetBool(text == "true")
	case reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		dst.SetInt(n)
		return err
	}
	return nil
}
