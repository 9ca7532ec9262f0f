// Package image copies disk images, writes and reads large files in them, and computes content digests.
//
// It works on open files, that is regular files, block devices and memory files, and knows nothing of SRs,
// VDIs or file systems: the storage drivers open, the engine moves bytes. Only what is allocated is read,
// and what is zero is not stored, so a copy costs what the image holds and not what it could hold.
//
// Invariant: a [Digest] that comes out of a function here describes the bytes that passed through memory in
// that very call, or in the [Writer] that says where they are; and whatever lasts is on stable storage before a function
// returns without an error. Memory is bounded by [MaxMemory] for each call, whatever the size of the image; the
// sums that a Writer or [Blocks] remembers take some 40 bytes for each MiB more.
//
// Start with [Digest] (its format is specified in docs/image-digest.md), then [Copy], then pipeline, which
// keeps several blocks in flight and folds their results in order, then [Writer].
package image
