// Package pool is the pool and its hosts: which host this daemon is, and what the database says of it.
//
// Its invariants: there is one pool row, and this daemon's host row tells what this daemon is: it is made
// anew from the machine at every start. A host counts as alive while its daemon renews a lease; what only
// the coordinator may do is committed only by the host that is it at that moment. The package knows no HTTP
// and no storage driver. Start with [Enter], then [Stay] and [Coordinating].
package pool
