// Package authority is how the hosts of a pool know one another: the pool's own certificate authority, the
// certificates of its hosts, and the tokens with which a host joins.
//
// Everything comes in at one port, and the server name (SNI) tells what a connection is. Hosts dial
// [ServerName], whatever the address, and both sides show a certificate of the pool authority. A host that
// wants to join dials [JoinName]: it has no certificate yet, but knows by its token whose it must meet.
// Every other name, and none, is an ordinary client, who gets the host's ordinary certificate.
//
// It is not for users: sessions and roles are internal/auth's, the ordinary certificate is internal/httpd's.
// It keeps nothing and sends nothing: callers store the bytes that it gives, and make the connections.
//
// Its invariant: a connection has a peer ([Keyholder.Peer]) only if the peer proved to hold the key of a
// certificate that an authority trusted now issued, that is valid now, to a host that is allowed now. What
// counts is looked at each time, so changing the trust, the certificate or who is allowed needs no restart.
//
// An authority is replaced in three steps, each on every host before the next: trust both ([Trust.Add]),
// change to certificates of the new one, trust the new one alone ([Trust.Without]).
//
// Start with keyholder.go, which has the life of a host, then tls.go.
package authority
