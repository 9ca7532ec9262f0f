package rpc

import (
	"testing"
	"time"

	"poolpatch/xenapi"
)

// What a value becomes without the wire is what a reader of the wire sees.
func TestValueOfIsWhatTheWireGives(t *testing.T) {
	t.Parallel()
	when := time.Date(2015, 2, 13, 10, 0, 0, 987, time.FixedZone("", 3600))
	for _, v := range []any{
		"text", true, false, 1.5, when, []string{"a", "b"}, []string{}, map[string]string{"k": "v", "a": "b"}, map[string][]bool{"x": {true}},
		xenapi.PBD{UUID: "u", Host: "OpaqueRef:h", DeviceConfig: map[string]string{"location": "/sr"}}, xenapi.Ref[xenapi.VDI](""),
		[]xenapi.Task{{Created: when}}, nil, int64(7), Value{Kind: Struct, Members: []Member{{"m", Value{Kind: Array}}}},
	} {
		want, err := parseJSON(toJSON(func(w *jsonWriter) { encode(w, v) }))
		if err != nil {
			t.Fatal(err)
		}
		if got := ValueOf(v); string(toJSON(func(w *jsonWriter) { encode(w, got) })) != string(toJSON(func(w *jsonWriter) { encode(w, want) })) {
			t.Errorf("%v is %v, want %v", v, got, want)
		}
	}
	if v := ValueOf(time.Time{}); v.Kind != Time || FormatTime(v.Time) != "19700101T00:00:00Z" {
		t.Errorf("never is %v", v)
	}
	if m, ok := ValueOf(map[string]int64{"a": 1}).Member("a"); !ok || m.Kind != Int || m.Int != 1 {
		t.Errorf("the member is %v", m)
	}
	if _, ok := ValueOf(map[string]int64{"a": 1}).Member("b"); ok {
		t.Error("a member that is not there was found")
	}
}
