// Package pool is the pool and its hosts: which host this daemon is, and what the database says of it.
//
// Its invariant: there is one pool row, and this daemon's host row tells what this daemon is: it is made
// anew from the machine at every start. The package knows no HTTP and no storage driver. Start with
// [Enter].
package pool
