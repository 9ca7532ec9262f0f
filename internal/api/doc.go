// Package api is the method table: for every XenAPI message, who may send it, what it takes and which
// function of a service it runs.
//
// The declared messages come from the xenapi package; this package binds handlers to them and derives the
// implicit ones (get_record, get_X, set_X, add_to_X, …) from the record types, so no class has accessors of
// its own. A declared message without a handler answers NOT_IMPLEMENTED.
//
// It knows no wire format: internal/rpc decodes a call and gives it to [API.For]'s dispatcher. Start with
// dispatch.go, then handlers.go.
package api
