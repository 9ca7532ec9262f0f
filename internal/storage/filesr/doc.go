// Package filesr is the SR driver "file": an SR is a directory, a VDI is a sparse file in it.
//
// It serves a directory of the host itself and, with the same code, one that several hosts share (NFS, a
// cluster file system). It mounts nothing, copies nothing and keeps no locks between hosts: the caller
// serialises what concerns one image. docs/sr-file.md specifies what lies in the directory.
//
// Invariant: an image exists if and only if its metadata file does, which is made last and removed first. So
// whatever a crash leaves is an image, or content without metadata that List calls incomplete and Destroy removes.
//
// Start with [Driver], then sr.make and sr.Destroy: their order is the crash safety.
package filesr
