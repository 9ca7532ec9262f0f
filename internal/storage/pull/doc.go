// Package pull makes a copy of an image from hosts that have it, or have parts of it.
//
// [Get] fetches the blocks that a trusted digest vouches for, several at once from each source, the rarest first, so
// that hosts which pull the same image at the same time get different parts and then give them to one another:
// what a Get has written, a [Share] shows to others. So the time for many hosts grows far slower than their
// number, and the host that had the image first is not the bottleneck.
//
// The package knows no network, no database and no SR: the caller gives it sources. Its invariants: no block lands that
// is not what the digest says, whoever sent it; a block is shared only after it was written; what Get holds in memory does not
// grow with the image. Start with get.go.
package pull
