package rpc

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// xmlWriter appends XML-RPC. Strings and ints are untyped text, as XenAPI writes them.
type xmlWriter struct{ b []byte }

func (w *xmlWriter) raw(s string) { w.b = append(w.b, s...) }

func (w *xmlWriter) text(s string) {
	w.raw("<value>")
	w.escape(s)
	w.raw("</value>")
}

// escape writes the text of an element. Control characters that XML 1.0 has no way to write are dropped.
func (w *xmlWriter) escape(s string) {
	done := 0 // what is before it is written
	for i := 0; i < len(s); {
		if xmlPlain[s[i]] {
			i++
			continue
		}
		w.raw(s[done:i])
		size := 1
		switch c := s[i]; {
		case c == '<':
			w.raw("&lt;")
		case c == '>':
			w.raw("&gt;")
		case c == '&':
			w.raw("&amp;")
		case c == '"':
			w.raw("&quot;")
		case c == '\r':
			w.raw("&#13;") // a bare one would be read as a line feed
		case c >= utf8.RuneSelf:
			size = w.wide(s[i:])
		}
		i += size
		done = i
	}
	w.raw(s[done:])
}

// wide writes the first character of s; bytes that are no UTF-8 become U+FFFD.
func (w *xmlWriter) wide(s string) (size int) {
	r, size := utf8.DecodeRuneInString(s)
	if r != '\ufffe' && r != '\uffff' {
		w.b = utf8.AppendRune(w.b, r)
	}
	return size
}

// xmlPlain are the bytes that stand for themselves.
var xmlPlain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = !strings.ContainsRune(`<>&"`, c)
	}
	plain['\t'], plain['\n'] = true, true
	return plain
}()

func (w *xmlWriter) integer(n int64) {
	w.raw("<value>")
	w.b = strconv.AppendInt(w.b, n, 10)
	w.raw("</value>")
}

func (w *xmlWriter) i4(n int64) {
	name := "i4"
	if n != int64(int32(n)) {
		name = "i8"
	}
	w.raw("<value><" + name + ">")
	w.b = strconv.AppendInt(w.b, n, 10)
	w.raw("</" + name + "></value>")
}

func (w *xmlWriter) float(f float64) {
	w.raw("<value><double>")
	w.b = appendFloat(w.b, f)
	w.raw("</double></value>")
}

// appendFloat writes 16 significant digits at most, as printf's %.16g does. A double that needs a 17th is
// rounded once: what was written is read and written again as it was.
func appendFloat(b []byte, f float64) []byte {
	return strconv.AppendFloat(b, f, 'g', 16, 64)
}

func (w *xmlWriter) boolean(v bool) {
	if v {
		w.raw("<value><boolean>1</boolean></value>")
		return
	}
	w.raw("<value><boolean>0</boolean></value>")
}

func (w *xmlWriter) datetime(t time.Time) {
	w.raw("<value><dateTime.iso8601>")
	w.b = appendTime(w.b, t)
	w.raw("</dateTime.iso8601></value>")
}

func (w *xmlWriter) void()        { w.raw("<value></value>") }
func (w *xmlWriter) null()        { w.raw("<value><nil/></value>") }
func (w *xmlWriter) beginArray()  { w.raw("<value><array><data>") }
func (w *xmlWriter) item(int)     {}
func (w *xmlWriter) endArray()    { w.raw("</data></array></value>") }
func (w *xmlWriter) beginStruct() { w.raw("<value><struct>") }
func (w *xmlWriter) member(_ int, name string) {
	w.raw("<member><name>")
	w.escape(name)
	w.raw("</name>")
}
func (w *xmlWriter) endMember() { w.raw("</member>") }
func (w *xmlWriter) endStruct() { w.raw("</struct></value>") }
