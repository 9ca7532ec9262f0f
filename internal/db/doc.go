// Package db keeps the pool's records: typed tables and serializable transactions over a small
// key-value store, with a watched copy of everything in memory.
//
// It is not for bytes of patches (those are in VDIs), and it knows no class: the tables are given to
// [Open]. It is no cache that callers have to refresh: reads are always one consistent state, and an
// update that has returned is in every later read of the same [DB].
//
// The invariant: a [DB] holds exactly the state of one revision of the store, advanced batch by batch in
// commit order, and a transaction commits only if everything that it read is still so in the store.
// What becomes of a commit is never guessed: see [DB.Update] and [ErrUnknownOutcome].
//
// Start reading with store.go (what is asked of a store), then update.go (the commit protocol), then
// snapshot.go (the state in memory). The keys are specified in docs/database.md.
package db
