// Package event tells clients what changes in the database: event.from and event.next.
//
// One goroutine, [Service.Run], walks the database's states one by one and keeps a bounded log of what each changed:
// which rows, not what is in them. A client's token is a revision, so what it has missed is what the log has after that,
// each object once. Records are shown as they are now. Nobody waits for a client, and a waiting client is an entry in a
// map that is looked at when something has changed, and woken only when that is of its classes.
//
// The invariant: whoever follows event.from from the token "" has, after each batch, exactly the objects of the batch's
// state. Where the log cannot prove what was deleted since a token (it is too old, or of another database, or from between two
// reads of the store) the answer is EVENTS_LOST, never silence.
//
// It knows no wire format, and it does not make records: whoever asks brings a function that shows one. Start reading with
// from.go, then log.go.
package event
