package rpc

import (
	"time"
)

// ValueOf is the value that stands on the wire for a Go value, without the wire: what encode.go would write and decode.go
// then read. Callers in this process look at a message's result so.
func ValueOf(v any) Value {
	var b builder
	encode(&b, v)
	return b.done
}

// builder is a notation that is not written down.
type builder struct {
	done Value    // the value that ended last
	open []*Value // arrays and structs that have not ended, the outermost first
}

// put ends a value: it belongs to the innermost array or struct.
func (b *builder) put(v Value) {
	if len(b.open) == 0 {
		b.done = v
		return
	}
	in := b.open[len(b.open)-1]
	if in.Kind == Array {
		in.Items = append(in.Items, v)
		return
	}
	in.Members[len(in.Members)-1].Value = v
}

func (b *builder) begin(k Kind) { b.open = append(b.open, &Value{Kind: k}) }

func (b *builder) end() {
	last := len(b.open) - 1
	v := b.open[last]
	b.open = b.open[:last]
	b.put(*v)
}

func (b *builder) text(s string)        { b.put(Value{Kind: String, Text: s}) }
func (b *builder) integer(n int64)      { b.put(Value{Kind: Int, Int: n}) }
func (b *builder) i4(n int64)           { b.integer(n) }
func (b *builder) float(f float64)      { b.put(Value{Kind: Double, Double: f}) }
func (b *builder) boolean(v bool)       { b.put(Value{Kind: Bool, Bool: v}) }
func (b *builder) void()                { b.text("") }
func (b *builder) null()                { b.put(Value{}) }
func (b *builder) beginArray()          { b.begin(Array) }
func (b *builder) item(int)             {}
func (b *builder) endArray()            { b.end() }
func (b *builder) beginStruct()         { b.begin(Struct) }
func (b *builder) endMember()           {}
func (b *builder) endStruct()           { b.end() }
func (b *builder) datetime(t time.Time) { b.put(Value{Kind: Time, Time: onWire(t)}) }

func (b *builder) member(_ int, name string) {
	in := b.open[len(b.open)-1]
	in.Members = append(in.Members, Member{Name: name})
}

// onWire is a time as it is read again: of a second's precision, in UTC, and the epoch for never.
func onWire(t time.Time) time.Time {
	if t.IsZero() {
		t = epoch
	}
	return t.UTC().Truncate(time.Second)
}

// FormatTime writes a time as XenAPI does.
func FormatTime(t time.Time) string { return string(appendTime(nil, t)) }

// Member finds a member of a struct.
func (v Value) Member(name string) (Value, bool) {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Value, true
		}
	}
	return Value{}, false
}
