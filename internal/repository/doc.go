// Package repository is where a pool fetches its patches from by itself: directories behind http or https, each with a signed
// index (docs/repository.md) that says which patches there are and in which order they are applied.
//
// It is not for verifying, storing or running patches: a patch that it fetches goes the way of every upload (package patch),
// and what it adds is who says that a patch is wanted, and when. Nothing of a server is believed: the index counts for its
// signature, a patch for the digest in the index and then for its own signature.
//
// Invariants: an index older than the last one that was synced is refused; what an index says counts only once every patch of it
// that the pool needs is there, so a crash leaves patches that were uploaded, and nothing else; a patch that was
// interrupted on a host is not run again (I3).
//
// Start with sync.go, then updates.go; index.go is the format, source.go the way to the bytes, schedule.go the clock.
package repository
