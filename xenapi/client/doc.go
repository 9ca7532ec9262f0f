// Package client calls a pool: XenAPI as JSON-RPC 2.0 over HTTPS, plain HTTP or the unix socket of a host's
// daemon, and the HTTP handlers that move patches and disk images.
//
// [Dial] logs in. [Call] is one message and its result, with the records of package xenapi; [Run] is one
// that may take long, as a task whose progress is shown. [Client.UploadPatch], [Client.DownloadPatch],
// [Client.ImportVDI] and [Client.ExportVDI] stream, in constant memory. [Client.Watch] follows what changes, over
// broken connections and hosts that start again.
//
// The package is not a cache and not a shell: it keeps no records, prints nothing and reads no files but
// those that it is given.
//
// What the pool refuses is a [*xenapi.Error], to be found with errors.As; every other error says that
// the pool could not be asked or did not answer.
//
// Invariant: a call is sent again only when that cannot do anything twice. The pool refuses a session that
// has ended before it does anything, so the client logs in anew and repeats, once; when a connection breaks,
// only messages that read are repeated. A transfer whose context ends has its task cancelled, and returns when
// the pool has cleaned up.
//
// Start with client.go; task.go is how work that takes long is waited for, put.go how bytes go in, watch.go how events are
// followed.
package client
