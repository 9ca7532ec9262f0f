package rpc

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/xenapi"
)

// TestEncode has a row for each kind of Go value, in both notations.
func TestEncode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v         any
		xml, json string
	}{
		{nil, "<value></value>", `""`},
		{"", "<value></value>", `""`},
		{"a", "<value>a</value>", `"a"`},
		{xenapi.Ref[xenapi.VDI]("OpaqueRef:1"), "<value>OpaqueRef:1</value>", `"OpaqueRef:1"`},
		{xenapi.Ref[xenapi.VDI](""), "<value>OpaqueRef:NULL</value>", `"OpaqueRef:NULL"`},
		{xenapi.OnBootPersist, "<value>persist</value>", `"persist"`},
		{xenapi.OnBoot(""), "<value></value>", `""`},
		{int64(-1), "<value>-1</value>", "-1"},
		{7, "<value>7</value>", "7"},
		{I4(7), "<value><i4>7</i4></value>", "7"},
		{I4(math.MaxInt32 + 1), "<value><i8>2147483648</i8></value>", "2147483648"},
		{true, "<value><boolean>1</boolean></value>", "true"},
		{false, "<value><boolean>0</boolean></value>", "false"},
		{0.1, "<value><double>0.1</double></value>", "0.1"},
		{1.0, "<value><double>1</double></value>", "1.0"},
		{1.0 / 3, "<value><double>0.3333333333333333</double></value>", "0.3333333333333333"},
		{123456789.123456, "<value><double>123456789.123456</double></value>", "123456789.123456"},
		{1e15, "<value><double>1000000000000000</double></value>", "1000000000000000.0"},
		{1e16, "<value><double>1e+16</double></value>", "1e+16"},
		{1e-5, "<value><double>1e-05</double></value>", "1e-05"},
		{math.NaN(), "<value><double>NaN</double></value>", "null"},
		{math.Inf(-1), "<value><double>-Inf</double></value>", "null"},
		{utc(2015, 2, 13, 10, 20, 30), "<value><dateTime.iso8601>20150213T10:20:30Z</dateTime.iso8601></value>", `"20150213T10:20:30Z"`},
		{time.Time{}, "<value><dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601></value>", `"19700101T00:00:00Z"`},
		{[]string(nil), "<value><array><data></data></array></value>", "[]"},
		{[]int64{1, 2}, "<value><array><data><value>1</value><value>2</value></data></array></value>", "[1,2]"},
		{[]any{"a", nil}, "<value><array><data><value>a</value><value><nil/></value></data></array></value>", `["a",null]`},
		{map[string]string(nil), "<value><struct></struct></value>", "{}"},
		{map[string]string{"b": "2", "a": "1"},
			"<value><struct><member><name>a</name><value>1</value></member><member><name>b</name><value>2</value></member></struct></value>",
			`{"a":"1","b":"2"}`},
		{map[int64]bool{2: true}, "<value><struct><member><name>2</name><value><boolean>1</boolean></value></member></struct></value>", `{"2":true}`},
		{map[xenapi.Ref[xenapi.VDI]]int64{"": 1}, "<value><struct><member><name>OpaqueRef:NULL</name><value>1</value></member></struct></value>",
			`{"OpaqueRef:NULL":1}`},
		{struct {
			B      string `json:"b"`
			A      int64  `json:"a,omitempty"`
			Hidden string `json:"hidden" xenapi:"internal"`
			Plain  string
			None   string `json:"-"`
		}{"x", 0, "y", "z", "w"}, "<value><struct><member><name>b</name><value>x</value></member></struct></value>", `{"b":"x"}`},
		{&struct {
			A int64 `json:"a"`
		}{1}, "<value><struct><member><name>a</name><value>1</value></member></struct></value>", `{"a":1}`},
		{Value{}, "<value><nil/></value>", "null"},
		{Value{Kind: Int, Int: 1}, "<value><i4>1</i4></value>", "1"},
	} {
		if got := MarshalXMLValue(c.v); got != c.xml {
			t.Errorf("%#v in XML: %s, want %s", c.v, got, c.xml)
		}
		if got := string(toJSON(func(w *jsonWriter) { encode(w, c.v) })); got != c.json {
			t.Errorf("%#v in JSON: %s, want %s", c.v, got, c.json)
		}
	}
}

// TestRepliesDoNotShare checks that a lent buffer never shows in two replies.
func TestRepliesDoNotShare(t *testing.T) {
	t.Parallel()
	first := toXML(func(w *xmlWriter) { encode(w, "first") })
	toXML(func(w *xmlWriter) { encode(w, "other") })
	if string(first) != "<value>first</value>" {
		t.Errorf("the first reply became %s", first)
	}
}

// TestClient sends a call through both ends of JSON-RPC 2.0.
func TestClient(t *testing.T) {
	t.Parallel()
	var method string
	var params []Value
	server := dispatchFunc(func(m string, p []Value) (any, error) {
		method, params = m, p
		if m == "fail" {
			return nil, xenapi.ErrHandleInvalid("VDI", "OpaqueRef:1")
		}
		return map[string]int64{"size": 7}, nil
	})
	ask := func(m string) (Value, *xenapi.Error, error) {
		t.Helper()
		reply, err := JSON(t.Context(), server, EncodeRequest(m, []any{"<a>", int64(1), xenapi.Ref[xenapi.VDI]("")}))
		if err != nil {
			t.Fatal(err)
		}
		return DecodeReply(reply)
	}
	v, fault, err := ask("VDI.get_\"x\"")
	if diff := cmp.Diff(Value{Kind: Struct, Members: []Member{{"size", Value{Kind: Int, Int: 7}}}}, v); diff != "" || fault != nil || err != nil {
		t.Errorf("%s %v %v", diff, fault, err)
	}
	want := []Value{{Kind: String, Text: "<a>"}, {Kind: Int, Int: 1}, {Kind: String, Text: "OpaqueRef:NULL"}}
	if diff := cmp.Diff(want, params); diff != "" || method != "VDI.get_\"x\"" {
		t.Errorf("%s %s", method, diff)
	}
	_, fault, err = ask("fail")
	if diff := cmp.Diff(xenapi.ErrHandleInvalid("VDI", "OpaqueRef:1"), fault); diff != "" || err != nil {
		t.Errorf("%s %v", diff, err)
	}
}

func TestDecodeReplyRefuses(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "<html>", "[]", "{}", `{"jsonrpc":"2.0","id":0}`, `{"result":1e999}`, `{"error":"text"}`} {
		if v, fault, err := DecodeReply([]byte(body)); err == nil {
			t.Errorf("%s became %v %v", body, v, fault)
		}
	}
}
