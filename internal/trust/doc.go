// Package trust is what this host trusts when it connects to servers outside of its pool, and which clients' certificates it
// believes: the CA certificates and the revocation lists that administrators have installed, pool-wide.
//
// It is not for the hosts of the pool among themselves: they know one another by an authority of their own, which nothing here
// touches (internal/authority). Nor does it open sessions: internal/auth asks it about certificates.
//
// Its invariant: the rows of the pool are the truth, and they are looked at each time, so what is installed, uninstalled or revoked
// counts from the moment that this host sees the commit, without a restart. A row never changes, so what was read of it is kept.
// What cannot be read makes nobody trusted: a damaged revocation list refuses everything that it might revoke, which is all.
//
// Start with install.go, which has the rows, then library.go and verify.go.
package trust
