// Package xe is the server's side of xe, XenAPI's command line (facts, section 10): it reads the words that a client sent,
// carries the command out and tells the client what to print.
//
// It calls the pool through [rpc.Dispatcher] alone, with a session that it logs in itself: roles, tasks and the way to
// other hosts are the dispatcher's, for a command as for every other client. It knows no HTTP, no database and no service.
//
// There are two tables, and everything else follows from them. commands.go has the commands: what they require and may
// take, what help says, what they do. fields.go has the fields of each class as xe spells them; list and the param
// commands of a class are derived from that once, in derive.go. Start with serve.go.
package xe
