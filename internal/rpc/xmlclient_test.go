package rpc

import (
	"slices"
	"testing"
)

// A call that is written is one that is read.
func TestXMLCallThatIsWritten(t *testing.T) {
	t.Parallel()
	params := []Value{{Kind: String, Text: "a<b"}, {Kind: Array, Items: []Value{{Kind: Bool, Bool: true}}}}
	method, got, err := parseCall(EncodeXMLCall("Class.method&more", params))
	if err != nil || method != "Class.method&more" || len(got) != 2 || got[0].Text != "a<b" || !got[1].Items[0].Bool {
		t.Errorf("%s %v %v", method, got, err)
	}
}

func TestXMLReplies(t *testing.T) {
	t.Parallel()
	reply := func(member string) string {
		return "<methodResponse><params><param><value><struct>" + member + "</struct></value></param></params></methodResponse>"
	}
	member := func(name, value string) string {
		return "<member><name>" + name + "</name><value>" + value + "</value></member>"
	}
	failure := member("Status", "Failure")
	for _, c := range []struct {
		what, body string
		value      string
		code       []string
	}{
		{"success", reply(member("Status", "Success") + member("Value", "x")), "x", nil},
		{"failure", reply(failure + member("ErrorDescription", "<array><data><value>A</value><value>b</value></data></array>")), "", []string{"A", "b"}},
		{"no value", reply(member("Status", "Success")), "", nil},
		{"no status", reply(member("Value", "x")), "", nil},
		{"empty description", reply(failure + member("ErrorDescription", "<array><data></data></array>")), "", nil},
		{"description of another kind", reply(failure + member("ErrorDescription", "A")), "", nil},
		{"two values", "<methodResponse><params><param><value>a</value></param><param><value>b</value></param></params></methodResponse>", "", nil},
		{"a fault", "<methodResponse><fault><value>a</value></fault></methodResponse>", "", nil},
		{"something behind", reply(member("Status", "Success")+member("Value", "x")) + "more", "", nil},
		{"nothing", "", "", nil},
	} {
		value, told, err := DecodeXMLReply([]byte(c.body))
		switch {
		case (err == nil) != (c.value != "" || c.code != nil):
			t.Errorf("%s: %v", c.what, err)
		case c.code != nil && !slices.Equal(told.Description(), c.code), value.Text != c.value:
			t.Errorf("%s: %q %v", c.what, value.Text, told)
		}
	}
}

func TestJSONCallThatIsAText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{`{"method":"a.b","params":["x",1]}`: 2, `{"method":"a.b"}`: 0, `{"method":"a.b","params":{}}`: -1, `{`: -1} {
		method, params, err := ParseJSONCall([]byte(text))
		if (err != nil) != (want < 0) || err == nil && (method != "a.b" || len(params) != want) {
			t.Errorf("%s: %s %v %v", text, method, params, err)
		}
	}
	if got := string(MarshalJSONValue(map[string]any{"b": []string{"x"}, "a": 1})); got != `{"a":1,"b":["x"]}` {
		t.Errorf("as JSON: %s", got)
	}
}
