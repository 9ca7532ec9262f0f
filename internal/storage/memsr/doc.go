// Package memsr is an SR driver that keeps images in memory, for tests of what stands above the driver contract.
//
// It obeys the contract as the real drivers do (internal/storage/srtest proves it of both) and is stricter: it
// fails the test that destroys an image which is open anywhere, a loop device included, or that makes one twice,
// or leaves one behind. It injects faults before and after each method. It is no driver for production: nothing
// survives the process.
//
// Invariant: an error that is not injected is one that a real driver could return for the same call.
//
// Start with [New] and [Options].
package memsr
