// Package patch is the mission: a signed patch goes up into a VDI and is applied from a private copy of it.
//
// Its invariants are those of ARCHITECTURE.md: nothing unverified is mounted or executed (I1), a record
// points only at content that is complete and on stable storage (I2), a patch never runs twice on a host
// unless a person asks (I3), and whatever it makes belongs to a task until it is gone or recorded (I4).
//
// It knows no HTTP, no wire format and no SR driver: it asks for what it needs through the interfaces in
// content.go. Start with state.go, which says what can be true of a patch on a host, then upload.go and
// apply.go, which are the two protocols.
package patch
