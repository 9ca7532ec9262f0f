package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"poolpatch/xenapi"
)

// XML answers one XML-RPC call. An error says that the body is no call: the HTTP layer answers it with a
// page, for XenAPI makes no <fault>.
func XML(ctx context.Context, d Dispatcher, body []byte) ([]byte, error) {
	method, params, err := parseCall(bytes.ToValidUTF8(body, []byte("\ufffd")))
	if err != nil {
		return nil, fmt.Errorf("malformed XML-RPC call: %w", err)
	}
	result, err := run(ctx, d, body, method, params)
	return toXML(func(w *xmlWriter) {
		w.raw(`<?xml version="1.0"?><methodResponse><params><param>`)
		if method == "system.listMethods" && err == nil {
			encode(w, result) // the one answer without an envelope
		} else {
			envelope(w, result, err)
		}
		w.raw("</param></params></methodResponse>")
	}), nil
}

// run dispatches a call whose body was UTF-8; another call was read with its strings mended and must not
// be run on what they became.
func run(ctx context.Context, d Dispatcher, body []byte, method string, params []Value) (any, error) {
	if !utf8.Valid(body) {
		return nil, xenapi.ErrInvalidValue("params", "not UTF-8")
	}
	return d.Dispatch(ctx, method, params)
}

func envelope(w *xmlWriter, result any, err error) {
	w.beginStruct()
	w.member(0, "Status")
	if err != nil {
		w.text("Failure")
		w.endMember()
		w.member(1, "ErrorDescription")
		encode(w, describe(err))
	} else {
		w.text("Success")
		w.endMember()
		w.member(1, "Value")
		encode(w, result)
	}
	w.endMember()
	w.endStruct()
}

// describe is what the wire shows of an error.
func describe(err error) []string {
	if domain, ok := errors.AsType[*xenapi.Error](err); ok && domain != nil {
		return domain.Description()
	}
	return xenapi.ErrInternalError("the server's log has the details").Description()
}

// MarshalXMLValue writes a value as the <value> element that task.result holds.
func MarshalXMLValue(v any) string {
	return string(toXML(func(w *xmlWriter) { encode(w, v) }))
}
