package rpc

import (
	"bytes"
	"errors"
	"fmt"

	"poolpatch/xenapi"
)

// EncodeXMLCall writes an XML-RPC call.
func EncodeXMLCall(method string, params []Value) []byte {
	return toXML(func(w *xmlWriter) {
		w.raw(`<?xml version="1.0"?><methodCall><methodName>`)
		w.escape(method)
		w.raw("</methodName><params>")
		for _, p := range params {
			w.raw("<param>")
			encode(w, p)
			w.raw("</param>")
		}
		w.raw("</params></methodCall>")
	})
}

// DecodeXMLReply reads the answer to EncodeXMLCall as XenAPI has it: a value, or the error that it tells, or an error that says
// that it is no answer.
func DecodeXMLReply(body []byte) (Value, *xenapi.Error, error) {
	params, err := parseReply(bytes.ToValidUTF8(body, []byte("\ufffd")))
	if err != nil {
		return Value{}, nil, fmt.Errorf("malformed XML-RPC reply: %w", err)
	}
	if len(params) != 1 {
		return Value{}, nil, fmt.Errorf("an XML-RPC reply has one value, this has %d", len(params))
	}
	status, _ := params[0].Member("Status")
	value, has := params[0].Member("Value")
	if status.Text == "Success" && has {
		return value, nil, nil
	}
	var told []string
	if description, ok := params[0].Member("ErrorDescription"); ok && status.Text == "Failure" {
		if err := description.Decode(&told); err != nil {
			return Value{}, nil, fmt.Errorf("ErrorDescription: %w", err)
		}
	}
	if len(told) == 0 || told[0] == "" {
		return Value{}, nil, errors.New("the reply has neither a Value nor an ErrorDescription")
	}
	return Value{}, xenapi.NewError(told[0], told[1:]...), nil
}

func parseReply(body []byte) ([]Value, error) {
	p := newParser(body)
	if err := p.open("methodResponse"); err != nil {
		return nil, err
	}
	if err := p.open("params"); err != nil {
		return nil, err
	}
	params, err := p.params()
	if err != nil {
		return nil, err
	}
	if err := p.close(); err != nil {
		return nil, err
	}
	return params, p.end()
}
