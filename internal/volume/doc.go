// Package volume is a file system inside a disk image: a loop device, an ext4 file system, a mount, growth while
// mounted, and the way back. It is the only package that calls mount(2).
//
// It knows no SR and no VDI: it is given an open file or a block device. It does not decide whether an image may be
// mounted; who calls it has checked the image's digest before.
//
// Invariant: nothing that it makes outlives the process but what others use. [Isolate] has moved the process into a mount
// namespace of its own, which the kernel dissolves with the process, and every loop device clears itself when its last user is gone.
// So after a crash there is no mount and no loop device to remove; only empty directories may be left. A device that
// was shown to others, and that they still use, is found again by [Adopt].
// While the process lives, every [Volume] is undone by its Close, and an Open that fails has undone what it did.
//
// Each step has a deadline, and one that hangs in the kernel past it returns an error: its goroutine stays until
// the kernel lets go, and then undoes what came too late.
//
// Start with [Open], which is the whole life of a volume, then [Isolate].
package volume
