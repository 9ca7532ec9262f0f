package thincli

import (
	"encoding/binary"
	"fmt"
	"io"
)

// greeting begins a conversation, from either side; a version follows it.
const greeting = "XenSource thin CLI protocol"

// Version is what a side speaks. Majors must be equal; from minor 2 on a client sends Wait while it is busy.
type Version struct{ Major, Minor int32 }

// Spoken is the version of this package.
var Spoken = Version{0, 2}

// beats reports whether a client of this version says that it is still at work.
func (v Version) beats() bool { return v.Minor >= 2 }

// Preamble is the greeting with a version.
func Preamble(v Version) []byte {
	return appendInt(appendInt([]byte(greeting), v.Major), v.Minor)
}

// ForeignError is a peer that does not speak this protocol, or not this version of it.
type ForeignError struct{ Said []byte }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("the peer does not speak xe's protocol: %q", e.Said)
}

// ReadPreamble reads a greeting and gives the version. What is none is a *ForeignError with what was said so far.
func ReadPreamble(r io.Reader) (Version, error) {
	said := make([]byte, len(greeting)+2*intSize)
	n, err := io.ReadFull(r, said)
	if string(said[:min(n, len(greeting))]) != greeting[:min(n, len(greeting))] {
		return Version{}, &ForeignError{said[:n]}
	}
	if err != nil {
		return Version{}, fmt.Errorf("read the greeting: %w", err)
	}
	version := said[len(greeting):]
	v := Version{int32(binary.LittleEndian.Uint32(version)), int32(binary.LittleEndian.Uint32(version[intSize:]))}
	if v.Major != Spoken.Major {
		return v, &ForeignError{said}
	}
	return v, nil
}
