// Package xenapi is the vocabulary of poolpatch: XenAPI's classes as Go structs, a typed reference per
// class, the enumerations, the declared messages and one constructor per error code.
//
// It does no input or output and knows no database and no wire format. What it promises: a record type's
// tags are the single description of its class, and everything that works on all classes alike (the
// implicit messages, the wire codecs, the database) reads them through [ClassOf].
//
// Start with [PoolPatch], the record that the project exists for, then [Class] and [Error].
package xenapi
