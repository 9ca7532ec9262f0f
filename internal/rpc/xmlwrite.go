package rpc

import (
	"strconv"
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
	for i := 0; i < len(s); {
		c := s[i]
		switch {
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
		case c < ' ' && c != '\t' && c != '\n':
		case c < utf8.RuneSelf:
			w.b = append(w.b, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != '\ufffe' && r != '\uffff' {
				w.b = utf8.AppendRune(w.b, r)
			}
			i += size
			continue
		}
		i++
	}
}

func (w *xmlWriter) integer(n int64) {
	w.raw("<value>")
	w.b = strconv.AppendInt(w.b, n, 10)
	w.raw("</value>")
}

func (w *xmlWriter) i4(n int64) {
	w.raw("<value><i4>")
	w.b = strconv.AppendInt(w.b, n, 10)
	w.raw("</i4></value>")
}

func (w *xmlWriter) float(f float64) {
	w.raw("<value><double>")
	w.b = appendFloat(w.b, f)
	w.raw("</double></value>")
}

// appendFloat writes 16 significant digits at most.
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
	w.raw("<value><dateTime.iso8601>" + formatTime(t) + "</dateTime.iso8601></value>")
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
