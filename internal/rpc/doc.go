// Package rpc is the wire: XML-RPC and JSON-RPC 1.0 and 2.0, as XenAPI speaks them (facts, section 1).
//
// It turns bytes into values and values into bytes, and gives calls to a [Dispatcher]. It knows no pool, no
// HTTP and no message, but for system.listMethods, whose answer has a form of its own. Its invariant: input
// it accepts is bounded in depth and re-encodes to the same value, and no input makes it panic. Start with
// value.go, then xml.go and json.go; decode.go has the rules of what a value may become, encode.go those of
// how a Go value goes out.
package rpc
