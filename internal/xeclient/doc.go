// Package xeclient is the thin client of xe, XenAPI's command line (facts, section 10): it sends the words of a command
// line and then does what the server says: print, ask, send a file, fetch one, exit.
//
// It knows no command. It reads no flags and no environment, and it makes connections only through the functions that it is
// given. Its invariant: a server, whoever it is, gets to see and to write only files that the command line names as the
// value of a key=value word, and none that it overwrites; what it says is bounded. Start with client.go.
package xeclient
