// Package etcdserver starts and stops the etcd that is embedded in the daemon, forms a pool's cluster of such, or
// connects to a cluster of your own.
//
// It is not for reading or writing: it hands out a client, which package etcdkv makes a store of. It listens
// nowhere: its own process reaches a member directly, the other hosts by the handlers that the daemon serves on
// its one port. It is not for deciding which hosts are members. Its invariants: one process has a directory at
// a time; what a client was told is committed is there after kill -9 and power loss of any minority (fsync
// is on); a member votes only after it has caught up. Start reading with Start, then cluster.go.
//
// A pool's first host starts with Config.Peer. To make another host a member: Advertise (once), AddLearner,
// Members; on the new host Start with those as Config.Join, serve its handlers, Ready; then Promote.
package etcdserver
