// Package task is work that an administrator can see, wait for and cancel, and whose temporary things
// are found again after a crash.
//
// A [Task] is a row of the database from before the work starts until a client destroys it or it is
// collected. Whoever makes something that must not outlive the work (a copy of a VDI, an attachment)
// records it as a [Belonging] of the task in a transaction before it is made, and removes that record
// in the transaction that says the thing is gone or has become a lasting object. So after a crash the
// belongings of a host are exactly what its dead daemon may have left, and [Service.Recover] removes
// them with the same functions that the work itself would have called.
//
// The package does not know what a belonging is, nor how a result looks on the wire. Start with
// [Service.Do].
package task
