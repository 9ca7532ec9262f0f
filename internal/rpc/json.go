package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// jsonCall is a JSON-RPC request of either version.
type jsonCall struct {
	Version string          `json:"jsonrpc"`
	Method  *string         `json:"method"`
	Params  json.RawMessage `json:"params"`
	ID      json.RawMessage `json:"id"`
}

// JSON answers one JSON-RPC call, 1.0 or 2.0. An error says that the body is no call, a batch or a
// notification: the HTTP layer answers it with a page.
func JSON(ctx context.Context, d Dispatcher, body []byte) ([]byte, error) {
	var call jsonCall
	if err := json.Unmarshal(bytes.ToValidUTF8(body, []byte("\ufffd")), &call); err != nil {
		return nil, fmt.Errorf("malformed JSON-RPC call: %w", err)
	}
	params, err := call.check()
	if err != nil {
		return nil, fmt.Errorf("malformed JSON-RPC call: %w", err)
	}
	result, err := run(ctx, d, body, *call.Method, params)
	return toJSON(func(w *jsonWriter) {
		if call.Version == "2.0" {
			answer2(w, result, err)
		} else {
			answer1(w, result, err)
		}
		w.raw(`,"id":`)
		w.b = append(w.b, call.ID...)
		w.raw("}")
	}), nil
}

func (c jsonCall) check() ([]Value, error) {
	if c.Method == nil {
		return nil, errors.New("there is no method")
	}
	if err := c.checkID(); err != nil {
		return nil, err
	}
	if len(c.Params) == 0 || string(c.Params) == "null" {
		if c.Version != "2.0" {
			return nil, errors.New("there are no params")
		}
		return nil, nil
	}
	v, err := parseJSON(c.Params)
	if err != nil {
		return nil, err
	}
	if v.Kind != Array {
		return nil, errors.New("params is no array")
	}
	return v.Items, nil
}

// checkID takes an int or a string; a call without one would be a notification.
func (c jsonCall) checkID() error {
	id, err := parseJSON(c.ID)
	if err != nil || id.Kind != Int && id.Kind != String {
		return errors.New("the id is no int and no string")
	}
	return nil
}

func answer1(w *jsonWriter, result any, err error) {
	if err != nil {
		w.raw(`{"result":null,"error":`)
		encode(w, describe(err))
		return
	}
	w.raw(`{"result":`)
	encode(w, result)
	w.raw(`,"error":null`)
}

// answer2 leaves error out on success: clients test for the key.
func answer2(w *jsonWriter, result any, err error) {
	w.raw(`{"jsonrpc":"2.0",`)
	if err != nil {
		description := describe(err)
		w.raw(`"error":{"code":1,"message":`)
		w.text(description[0])
		w.raw(`,"data":`)
		encode(w, description[1:])
		w.raw("}")
		return
	}
	w.raw(`"result":`)
	encode(w, result)
}

// parseJSON reads one JSON value: numbers without fraction and exponent are ints.
func parseJSON(text []byte) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := jsonValue(d, 0)
	if err != nil {
		return Value{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return Value{}, errors.New("something follows the end")
	}
	return v, nil
}

func jsonValue(d *json.Decoder, depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, fmt.Errorf("values are nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return Value{}, err
	}
	switch t := t.(type) {
	case nil:
		return Value{}, nil
	case bool:
		return Value{Kind: Bool, Bool: t}, nil
	case string:
		return Value{Kind: String, Text: t}, nil
	case json.Number:
		return jsonNumber(t)
	case json.Delim:
		if t == '[' {
			return jsonArray(d, depth)
		}
		return jsonObject(d, depth)
	}
	return Value{}, fmt.Errorf("unexpected %v", t)
}

func jsonNumber(n json.Number) (Value, error) {
	text := n.String()
	if !strings.ContainsAny(text, ".eE") {
		i, err := strconv.ParseInt(text, 10, 64)
		return Value{Kind: Int, Int: i}, err
	}
	f, err := strconv.ParseFloat(text, 64)
	return Value{Kind: Double, Double: f}, err
}

func jsonArray(d *json.Decoder, depth int) (Value, error) {
	v := Value{Kind: Array}
	for d.More() {
		item, err := jsonValue(d, depth+1)
		if err != nil {
			return Value{}, err
		}
		v.Items = append(v.Items, item)
	}
	_, err := d.Token()
	return v, err
}

func jsonObject(d *json.Decoder, depth int) (Value, error) {
	v := Value{Kind: Struct}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return Value{}, err
		}
		member, err := jsonValue(d, depth+1)
		if err != nil {
			return Value{}, err
		}
		v.Members = append(v.Members, Member{name.(string), member})
	}
	_, err := d.Token()
	return v, err
}

// MarshalJSONValue writes a value as JSON.
func MarshalJSONValue(v any) []byte {
	return toJSON(func(w *jsonWriter) { encode(w, v) })
}

// ParseJSONCall reads a call in either version of JSON-RPC, which may lack its id.
func ParseJSONCall(text []byte) (method string, params []Value, err error) {
	var call struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(text, &call); err != nil {
		return "", nil, fmt.Errorf("malformed JSON-RPC call: %w", err)
	}
	if len(call.Params) == 0 {
		return call.Method, nil, nil
	}
	v, err := parseJSON(call.Params)
	if err != nil || v.Kind != Array {
		return "", nil, fmt.Errorf("malformed JSON-RPC call: its params are no array")
	}
	return call.Method, v.Items, nil
}
