package xenapi

import (
	"crypto/md5"
	"encoding/hex"
	"strings"

	"github.com/google/uuid"
)

// Object is implemented by every record type: it names the record's XenAPI class.
type Object interface{ Class() string }

// Ref is an opaque reference to an object of class T. The zero value is the null reference.
// On the wire a ref is "OpaqueRef:" and an identifier, and null is "OpaqueRef:NULL".
type Ref[T Object] string

const refPrefix = "OpaqueRef:"

// NullRef is the null reference on the wire.
const NullRef = refPrefix + "NULL"

// NewRef makes a fresh reference.
func NewRef[T Object]() Ref[T] {
	return Ref[T](refPrefix + uuid.NewString())
}

// ParseRef takes a reference from the wire; the null reference becomes the zero value.
func ParseRef[T Object](s string) Ref[T] {
	if s == NullRef {
		return ""
	}
	return Ref[T](s)
}

// IsNull reports whether r refers to nothing.
func (r Ref[T]) IsNull() bool { return r == "" || r == NullRef }

// String is the wire form.
func (r Ref[T]) String() string {
	if r.IsNull() {
		return NullRef
	}
	return string(r)
}

// Target names the class that r refers to.
func (r Ref[T]) Target() string {
	var t T
	return t.Class()
}

// NewUUID makes a random UUID in lower case.
func NewUUID() string { return uuid.NewString() }

// ParseUUID accepts a UUID in its 36-character form, in either case, and returns it in lower case.
func ParseUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return "", false
	}
	return u.String(), true
}

// NamedUUID lays the MD5 of a name out as a UUID; role UUIDs are made so (facts, section 2).
func NamedUUID(name string) string {
	sum := md5.Sum([]byte(name))
	h := hex.EncodeToString(sum[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
