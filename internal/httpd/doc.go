// Package httpd is the daemon's HTTP: listeners, the route table, the transfer handlers.
//
// XenAPI's HTTP has habits that net/http does not have of itself: an upload's 200 goes out before a byte
// of its body is read, a body without a length ends with the connection, every unknown POST is XML-RPC
// (facts, sections 1 and 6). They live here, and nothing else does: what a handler does is a service's
// business, and every transfer runs as a task, which alone tells how it ended.
//
// Start with server.go, which has the route table, then transfer.go.
package httpd
