// Package replica keeps copies of the pool's database in VDIs, so that a pool that has lost the disks of all its hosts can be
// read and restored from an SR; and it opens such copies to be read.
//
// It is not for the database's own safety (that is etcd's members, and internal/db's backup), and it makes no format of its
// own: what lies in a VDI is a backup of internal/db, without what is secret in it.
//
// The invariant: from its first write on a replica always holds one whole copy, whatever is torn, and the newest whole one is
// what every reader takes. One host writes a VDI at a time: it has it attached. Whether the database is kept in a VDI stands
// in the VDI's record, metadata_latest, and nowhere else; while it does nobody else writes, resizes or destroys that VDI.
//
// Start reading with image.go (what lies where, and in which order it is written), then write.go and follow.go. The format is
// specified in docs/database.md.
package replica
