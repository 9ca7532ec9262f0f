// Package rpc is the wire: XML-RPC and JSON-RPC 1.0 and 2.0, as XenAPI speaks them (facts, section 1).
//
// It turns bytes into values and values into bytes, and gives calls to a [Dispatcher]. It knows no pool and
// no message. Its invariant: input it accepts is bounded in depth and re-encodes to the same value, and no
// input makes it panic. Start with value.go, then xml.go and json.go.
package rpc
