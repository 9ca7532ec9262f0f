package rpc

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// jsonWriter appends JSON. Ints are numbers; times and references are strings; void is "".
type jsonWriter struct{ b []byte }

func (w *jsonWriter) raw(s string) { w.b = append(w.b, s...) }

// text writes a string; bytes that are no UTF-8 become U+FFFD.
func (w *jsonWriter) text(s string) {
	w.b = append(w.b, '"')
	done := 0 // what is before it is written
	for i := 0; i < len(s); {
		if jsonPlain[s[i]] {
			i++
			continue
		}
		w.raw(s[done:i])
		r, size := utf8.DecodeRuneInString(s[i:])
		w.escape(r)
		i += size
		done = i
	}
	w.raw(s[done:])
	w.b = append(w.b, '"')
}

// escape writes a character that may not stand for itself. The two line separators are escaped for readers
// that take JSON for JavaScript.
func (w *jsonWriter) escape(r rune) {
	const hex = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		w.b = append(w.b, '\\', byte(r))
	case r == '\n':
		w.raw(`\n`)
	case r == '\r':
		w.raw(`\r`)
	case r == '\t':
		w.raw(`\t`)
	case r < ' ':
		w.b = append(w.b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	case r == '\u2028':
		w.raw(`\u2028`)
	case r == '\u2029':
		w.raw(`\u2029`)
	default:
		w.b = utf8.AppendRune(w.b, r)
	}
}

// jsonPlain are the bytes that stand for themselves.
var jsonPlain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

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
func (w *jsonWriter) datetime(t time.Time) { w.b = append(appendTime(append(w.b, '"'), t), '"') }
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
