package rpc

import (
	"context"
	"time"
)

// Dispatcher runs one call. The result is any Go value that encode.go can write, nil for void. An error
// that is not a *xenapi.Error is shown as INTERNAL_ERROR without its text.
type Dispatcher interface {
	Dispatch(ctx context.Context, method string, params []Value) (any, error)
}

// maxDepth bounds the nesting of values on the wire.
const maxDepth = 64

// Kind says what was written on the wire, which decides what a value may become: XenAPI takes a string
// for an int, but no int for a string.
type Kind uint8

// The kinds. The zero Value is Nil.
const (
	Nil Kind = iota
	String
	Int
	Double
	Bool
	Time
	Array
	Struct
)

var kindNames = [...]string{"nil", "string", "int", "double", "boolean", "dateTime", "array", "struct"}

// String names the kind as XML-RPC does.
func (k Kind) String() string { return kindNames[k] }

// Value is a decoded value of the wire.
type Value struct {
	Kind    Kind
	Text    string // of a String
	Int     int64
	Double  float64
	Bool    bool
	Time    time.Time // in UTC
	Items   []Value   // of an Array
	Members []Member  // of a Struct, in the order in which they were written
}

// Member is a named value of a Struct.
type Member struct {
	Name  string
	Value Value
}

// I4 is an int that XML-RPC writes as <i4>; every other int goes out as untyped text.
type I4 int64

// timeLayout is how XenAPI writes times: no dashes, colons kept.
const timeLayout = "20060102T15:04:05Z"

// timeLayouts are what it reads; a time without a zone is UTC.
var timeLayouts = []string{
	"20060102T15:04:05Z07:00", "20060102T15:04:05", "20060102T15:04:05Z0700",
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700", "20060102T150405Z07:00",
}

// parseTime reads a time of a second's precision, in UTC. Years that XenAPI cannot write are refused. The
// year 1, which some clients send for a time that was never set, is read as the epoch, which says "never".
func parseTime(text string) (time.Time, bool) {
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		t = t.UTC().Truncate(time.Second)
		if t.IsZero() {
			t = epoch
		}
		return t, t.Year() >= 1 && t.Year() <= 9999
	}
	return time.Time{}, false
}

var epoch = time.Unix(0, 0).UTC()

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		t = epoch
	}
	return t.UTC().AppendFormat(b, timeLayout)
}
