package xenapi

import (
	"errors"
	"fmt"
	"strings"
)

// Error is the one error type of the domain: an XenAPI code, its parameters in wire order,
// and the cause, which goes to the log and never to the wire.
type Error struct {
	Code   string
	Params []string
	Cause  error
}

// NewError makes an error of any code. Callers use the constructors in codes.go, which keep the
// parameters in order; NewError is for errors that came over the wire.
func NewError(code string, params ...string) *Error {
	return &Error{Code: code, Params: params}
}

// Error says the code, the parameters and the cause, in that order.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	if len(e.Params) > 0 {
		fmt.Fprintf(&b, " [%s]", strings.Join(e.Params, "; "))
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, &Error{Code: c}) hold for every error of code c.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Params == nil
}

// Because returns a copy of e that carries a cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// Description is the wire form: the code, then the parameters.
func (e *Error) Description() []string {
	return append([]string{e.Code}, e.Params...)
}

// Sentence explains the code to a person; it is empty for a code that poolpatch never makes itself.
func (e *Error) Sentence() string { return sentences[e.Code] }

// CodeOf gives the XenAPI code of err, or "" when err is not a domain error.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
