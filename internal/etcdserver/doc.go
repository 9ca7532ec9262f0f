// Package etcdserver starts and stops the etcd that is embedded in the daemon, or connects to a cluster of
// your own.
//
// It is not for reading or writing: it hands out a client, which package etcdkv makes a store of. The
// embedded server is the only member of its cluster and listens nowhere: it is reached in this process
// alone. Its invariants: one process has a directory at a time, and what a client was told is committed is
// there after kill -9 and power loss (fsync is on). Start reading with Start.
package etcdserver
