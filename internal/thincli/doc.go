// Package thincli is the wire of xe, XenAPI's command line (facts, section 10): the thin client sends its words in the body
// of POST /cli, and from then on the server tells it, message by message, what to print, which file to send and how to
// exit. Numbers are little-endian; a message has a length before it.
//
// It knows no command, no pool and no HTTP: internal/xe is what answers, internal/xeclient what asks. Its invariant: what
// it accepts it writes again byte for byte, and a peer that lies about lengths, or falls silent, costs no more memory than
// it has sent and no more time than it was given. Start with message.go; server.go is the daemon's end of a conversation.
package thincli
