// Package hotfix is the patch file and its run contract: what makes a file a patch, how its program is got
// out of it, and how that program is asked what it is, whether it can be applied, and to apply.
//
// The two formats are specified in docs/patch-file.md and docs/run-contract.md. The package knows no
// database, no SR and no HTTP: it reads a stream, writes into a directory that it is given, and runs what it
// wrote there.
//
// Invariant (I1): a program is executed only as a Verified, a Verified comes only from Verifier.Extract, and
// Extract verifies the very bytes that it writes, in the pass that writes them. Everything else is refused
// with INVALID_PATCH and a reason that a person understands.
//
// Start with verify.go, the one pass over a file; message.go is the grammar that it accepts, contract.go the
// three calls of a program. build.go and sign.go are the way there: they make patches.
package hotfix
