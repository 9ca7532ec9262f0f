package rpc

import (
	"encoding/json"
	"fmt"

	"poolpatch/xenapi"
)

// EncodeRequest writes a JSON-RPC 2.0 call.
func EncodeRequest(method string, params []any) []byte {
	return toJSON(func(w *jsonWriter) {
		w.raw(`{"jsonrpc":"2.0","method":`)
		w.text(method)
		w.raw(`,"params":`)
		encode(w, params)
		w.raw(`,"id":0}`)
	})
}

// DecodeReply reads the answer to EncodeRequest: a value, or the error that the server gave, or an error
// that says that it is no answer.
func DecodeReply(body []byte) (Value, *xenapi.Error, error) {
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Message string   `json:"message"`
			Data    []string `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return Value{}, nil, fmt.Errorf("malformed JSON-RPC reply: %w", err)
	}
	if reply.Error != nil {
		return Value{}, xenapi.NewError(reply.Error.Message, reply.Error.Data...), nil
	}
	v, err := parseJSON(reply.Result)
	if err != nil {
		return Value{}, nil, fmt.Errorf("malformed JSON-RPC reply: %w", err)
	}
	return v, nil, nil
}
