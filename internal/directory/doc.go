// Package directory asks an LDAP directory, Active Directory or another, whether a name and a password belong together, and
// what somebody's identifier and groups are.
//
// It is not for what that allows: internal/auth knows the pool's subjects and roles, and keeps how the directory is reached.
// It joins no domain, speaks no Kerberos, follows no referrals and keeps nothing.
//
// Its invariants: no password goes over a connection that is neither TLS nor a socket of this machine; an empty password goes
// nowhere, because a directory takes it for a caller without a name and lets it in; nothing from outside gets into a filter
// unescaped; and what a directory sends is bounded, in time and in size. Start reading with Directory.Authenticate.
package directory
