package rpc

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// jsonWriter appends JSON. Ints are numbers; times and references are strings; void is "".
type jsonWriter struct{ b []byte }

func (w *jsonWriter) raw(s string) { w.b = append(w.b, s...) }

func (w *jsonWriter) text(s string) {
	quoted, _ := json.Marshal(s) // a string always has a form
	w.b = append(w.b, quoted...)
}

func (w *jsonWriter) integer(n int64) { w.b = strconv.AppendInt(w.b, n, 10) }
func (w *jsonWriter) i4(n int64)      { w.integer(n) }

// float keeps a fraction or an exponent, so that a reader takes the number for a double again; JSON has no
// word for what is no number.
func (w *jsonWriter) float(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.raw("null")
		return
	}
	start := len(w.b)
	w.b = appendFloat(w.b, f)
	for _, c := range w.b[start:] {
		if c == '.' || c == 'e' {
			return
		}
	}
	w.raw(".0")
}

func (w *jsonWriter) boolean(v bool)       { w.b = strconv.AppendBool(w.b, v) }
func (w *jsonWriter) datetime(t time.Time) { w.text(formatTime(t)) }
func (w *jsonWriter) void()                { w.raw(`""`) }
func (w *jsonWriter) null()                { w.raw("null") }
func (w *jsonWriter) beginArray()          { w.raw("[") }
func (w *jsonWriter) item(i int)           { w.comma(i) }
func (w *jsonWriter) endArray()            { w.raw("]") }
func (w *jsonWriter) beginStruct()         { w.raw("{") }
func (w *jsonWriter) member(i int, name string) {
	w.comma(i)
	w.text(name)
	w.raw(":")
}
func (w *jsonWriter) endMember() {}
func (w *jsonWriter) endStruct() { w.raw("}") }

func (w *jsonWriter) comma(i int) {
	if i > 0 {
		w.raw(",")
	}
}
