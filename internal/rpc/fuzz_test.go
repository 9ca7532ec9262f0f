package rpc

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// same compares values; doubles by the 16 digits that the wire has.
func same(a, b Value) string {
	return cmp.Diff(a, b, cmp.Comparer(func(x, y float64) bool {
		return math.Signbit(x) == math.Signbit(y) && string(appendFloat(nil, x)) == string(appendFloat(nil, y))
	}))
}

// call remembers what was dispatched.
type call struct {
	method string
	params Value
}

func (c *call) dispatcher() Dispatcher {
	return dispatchFunc(func(method string, params []Value) (any, error) {
		*c = call{method, Value{Kind: Array, Items: params}}
		return params, nil
	})
}

func addRequests(f *testing.F, pattern string) {
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		f.Fatalf("requests: %v %v", names, err)
	}
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
}

// FuzzXML: a call that is accepted is the same call when it is written anew.
func FuzzXML(f *testing.F) {
	addRequests(f, "testdata/xml/*.request")
	f.Fuzz(func(t *testing.T, body []byte) {
		var first, second call
		if _, err := XML(t.Context(), first.dispatcher(), body); err != nil || first.params.Kind == Nil {
			return
		}
		again := toXML(func(w *xmlWriter) { writeCall(w, first) })
		if _, err := XML(t.Context(), second.dispatcher(), again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := same(first.params, second.params); diff != "" || first.method != second.method {
			t.Errorf("%s became %s: %s", first.method, second.method, diff)
		}
	})
}

func writeCall(w *xmlWriter, c call) {
	w.raw("<methodCall><methodName>")
	w.escape(c.method)
	w.raw("</methodName><params>")
	for _, p := range c.params.Items {
		w.raw("<param>")
		encode(w, p)
		w.raw("</param>")
	}
	w.raw("</params></methodCall>")
}

// FuzzJSON: a call that is accepted is the same call when the client writes it.
func FuzzJSON(f *testing.F) {
	addRequests(f, "testdata/json1/*.request")
	addRequests(f, "testdata/json2/*.request")
	f.Fuzz(func(t *testing.T, body []byte) {
		var first, second call
		reply, err := JSON(t.Context(), first.dispatcher(), body)
		if err != nil || first.params.Kind == Nil {
			return
		}
		params := make([]any, len(first.params.Items))
		for i, p := range first.params.Items {
			params[i] = p
		}
		again := EncodeRequest(first.method, params)
		if _, err := JSON(t.Context(), second.dispatcher(), again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := same(first.params, second.params); diff != "" || first.method != second.method {
			t.Errorf("%s became %s: %s", first.method, second.method, diff)
		}
		result, fault, err := DecodeReply(reply)
		if diff := same(first.params, result); diff != "" || fault != nil || err != nil {
			t.Errorf("the reply %s: %v %v %s", reply, fault, err, diff)
		}
	})
}

// FuzzValue: a value that is accepted is the same value when it is written anew, and no Go type makes
// Decode panic.
func FuzzValue(f *testing.F) {
	for _, seed := range []any{nil, "a", 7, 0.5, true, utc(2015, 2, 13, 10, 20, 30), []string{"a"}, vdiRecord(), Value{}} {
		f.Add(MarshalXMLValue(seed))
	}
	f.Add("<value><double>0.30000000000000004</double></value>")
	f.Add("<value><dateTime.iso8601>00010101T00:00:00Z</dateTime.iso8601></value>")
	types := []any{"", vdiRecord().SR, vdiRecord().OnBoot, int64(0), 0.0, false, utc(1, 1, 1, 0, 0, 0), []string{}, sizes{}, byIndex{}, vdiRecord(), Value{}}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := ParseXMLValue(text)
		if err != nil {
			return
		}
		second, err := ParseXMLValue(MarshalXMLValue(first))
		if diff := same(first, second); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
		for _, zero := range types {
			first.Decode(reflect.New(reflect.TypeOf(zero)).Interface())
		}
	})
}
