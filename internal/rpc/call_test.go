package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolpatch/xenapi"
)

type dispatchFunc func(method string, params []Value) (any, error)

func (f dispatchFunc) Dispatch(_ context.Context, method string, params []Value) (any, error) {
	return f(method, params)
}

// refuseAll fails the test if a call comes through.
func refuseAll(t *testing.T) Dispatcher {
	return dispatchFunc(func(method string, params []Value) (any, error) {
		t.Errorf("%s%v was run", method, params)
		return nil, nil
	})
}

// TestXMLMalformed: each of these is answered by a page, not by an API error.
func TestXMLMalformed(t *testing.T) {
	t.Parallel()
	inValue := func(s string) string {
		return "<methodCall><methodName>m</methodName><params><param><value>" + s + "</value></param></params></methodCall>"
	}
	for _, body := range []string{
		"", " ", "text", "{}", "<methodCall>", "<methodCall/>",
		"<methodResponse><params/></methodResponse>",
		"<methodCall><params/></methodCall>",
		"<methodCall><methodName>m</methodName><params></methodCall>",
		"<methodCall><methodName>m</methodName><params/></methodCall>text",
		"<methodCall><methodName>m</methodName><params/></methodCall><methodCall/>",
		"<methodCall><methodName>m</methodName></methodCall>text",
		"<methodCall><methodName>m</methodName><other/></methodCall>",
		"<methodCall><methodName>m</methodName><params><param/></params></methodCall>",
		"<methodCall><methodName>m</methodName><params>text</params></methodCall>",
		"<methodCall><methodName><b>m</b></methodName><params/></methodCall>",
		"<methodCall><methodName>m</methodName><params><param><value/><value/></param></params></methodCall>",
		`<!DOCTYPE methodCall [<!ENTITY e "x">]>` + inValue("&e;"),
		"<!DOCTYPE methodCall>" + inValue("a"),
		`<?xml version="1.0" encoding="utf-16"?>` + inValue("a"),
		inValue("&nbsp;"), inValue("&#0;"), inValue("\x01"), inValue("<a"), inValue("]]>"),
		inValue("<int>1</int>text"), inValue("text<int>1</int>"), inValue("<int>1</int><int>2</int>"),
		inValue("<float>1</float>"), inValue("<int/>"), inValue("<int>1.5</int>"), inValue("<int>9223372036854775808</int>"),
		inValue("<int><int>1</int></int>"), inValue("<boolean>true</boolean>"), inValue("<boolean>2</boolean>"),
		inValue("<double>x</double>"), inValue("<double>nan</double>"), inValue("<double>inf</double>"),
		inValue("<dateTime.iso8601>now</dateTime.iso8601>"), inValue("<nil>x</nil>"),
		inValue("<array/>"), inValue("<array><value/></array>"), inValue("<array><data><int>1</int></data></array>"),
		inValue("<array><data/><data/></array>"), inValue("<struct><member/></struct>"),
		inValue("<struct><member><name>n</name></member></struct>"),
		inValue("<struct><member><value/><name>n</name></member></struct>"),
		inValue("<struct><value/></struct>"), inValue(nested(maxDepth + 1)),
	} {
		if reply, err := XML(t.Context(), refuseAll(t), []byte(body)); err == nil {
			t.Errorf("%s\nwas answered with %s", body, reply)
		}
	}
	if _, err := ParseXMLValue(nested(maxDepth)[len("<array><data>") : len(nested(maxDepth))-len("</data></array>")]); err != nil {
		t.Errorf("%d deep: %v", maxDepth, err)
	}
}

// TestParseXMLValueRefuses: task results come from others too.
func TestParseXMLValueRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "OpaqueRef:1", "<value>", "<string>a</string>", "<value/><value/>", "<value/>text", "<value><a/></value>"} {
		if v, err := ParseXMLValue(text); err == nil {
			t.Errorf("%s became %v", text, v)
		}
	}
}

// nested is the inside of a value that has depth arrays around nothing.
func nested(depth int) string {
	return strings.Repeat("<array><data><value>", depth) + strings.Repeat("</value></data></array>", depth)
}

// TestJSONMalformed: each of these is answered by a page, not by an API error.
func TestJSONMalformed(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"", "text", "null", "1", "<methodCall/>", "{", `{"method":"m","params":[],"id":1}x`,
		`[]`, `[{"jsonrpc":"2.0","method":"m","id":1}]`, // batches
		`{"jsonrpc":"2.0","method":"m","params":[]}`, // notifications
		`{"jsonrpc":"2.0","method":"m","params":[],"id":null}`,
		`{"method":"m","params":[],"id":null}`,
		`{"method":"m","params":[]}`,
		`{"method":"m","params":[],"id":[1]}`, `{"method":"m","params":[],"id":true}`, `{"method":"m","params":[],"id":1.5}`,
		`{"method":"m","id":1}`, `{"method":"m","params":null,"id":1}`, // 1.0 needs params
		`{"jsonrpc":"1.0","method":"m","id":1}`,
		`{"jsonrpc":2.0,"method":"m","params":[],"id":1}`,
		`{"jsonrpc":"2.0","method":"m","params":{"a":1},"id":1}`,
		`{"jsonrpc":"2.0","params":[],"id":1}`, `{"jsonrpc":"2.0","method":1,"id":1}`, `{"jsonrpc":"2.0","method":null,"id":1}`,
		`{"method":"m","params":[1,],"id":1}`, `{"method":"m","params":[01],"id":1}`, `{"method":"m","params":[NaN],"id":1}`,
		`{"method":"m","params":[9223372036854775808],"id":1}`, `{"method":"m","params":[1e999],"id":1}`,
		fmt.Sprintf(`{"method":"m","params":%s%s,"id":1}`, strings.Repeat("[", maxDepth+2), strings.Repeat("]", maxDepth+2)),
	} {
		if reply, err := JSON(t.Context(), refuseAll(t), []byte(body)); err == nil {
			t.Errorf("%s\nwas answered with %s", body, reply)
		}
	}
}

// TestJSONCall checks what tells the versions apart, and that the id comes back as it was.
func TestJSONCall(t *testing.T) {
	t.Parallel()
	count := dispatchFunc(func(_ string, params []Value) (any, error) { return len(params), nil })
	for _, c := range []struct{ body, reply string }{
		{`{"jsonrpc":"2.0","method":"m","id":0}`, `{"jsonrpc":"2.0","result":0,"id":0}`},
		{`{"jsonrpc":"2.0","method":"m","params":null,"id":-1}`, `{"jsonrpc":"2.0","result":0,"id":-1}`},
		{`{"jsonrpc":"2.0","method":"m","params":[],"id":""}`, `{"jsonrpc":"2.0","result":0,"id":""}`},
		{`{"jsonrpc":"2.0","method":"m","params":[1,2],"id": "\u0041" }`, `{"jsonrpc":"2.0","result":2,"id":"\u0041"}`},
		{`{"method":"m","params":["a"],"id":"x"}`, `{"result":1,"error":null,"id":"x"}`},
		{`{"jsonrpc":"1.0","method":"m","params":["a"],"id":5,"more":{}}`, `{"result":1,"error":null,"id":5}`},
		{`{"jsonrpc":null,"method":"m","params":[],"id":5}`, `{"result":0,"error":null,"id":5}`},
	} {
		reply, err := JSON(t.Context(), count, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
		}
		if diff := cmp.Diff(c.reply, string(reply)); diff != "" {
			t.Errorf("%s: %s", c.body, diff)
		}
	}
}

// TestXMLCall checks the ways to write the frame of a call.
func TestXMLCall(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"<methodCall><methodName>m</methodName></methodCall>",
		"<methodCall><methodName>m</methodName><params/></methodCall>",
		"\ufeff<methodCall><methodName>m</methodName><params></params></methodCall>",
		"<?xml version='1.0' encoding='US-ASCII'?>\n<!-- c --><methodCall>\n<methodName>\n m </methodName><params>\n</params>\n</methodCall>\n<!-- c -->\n",
	} {
		ran := ""
		if _, err := XML(t.Context(), dispatchFunc(func(m string, params []Value) (any, error) {
			ran = fmt.Sprint(m, len(params))
			return nil, nil
		}), []byte(body)); err != nil || ran != "m0" {
			t.Errorf("%s: ran %q, %v", body, ran, err)
		}
	}
}

// TestErrors checks that the text of an error that is none of the domain never goes out, nor does the
// cause of one that is.
func TestErrors(t *testing.T) {
	t.Parallel()
	var none *xenapi.Error
	hidden := errors.New("open /secret")
	for _, c := range []struct {
		err  error
		want string
	}{
		{hidden, xenapi.CodeInternalError},
		{context.Canceled, xenapi.CodeInternalError},
		{none, xenapi.CodeInternalError},
		{xenapi.ErrHandleInvalid("VDI", "OpaqueRef:1").Because(hidden), xenapi.CodeHandleInvalid},
		{fmt.Errorf("open /secret: %w", xenapi.ErrHandleInvalid("VDI", "OpaqueRef:1")), xenapi.CodeHandleInvalid},
	} {
		d := dispatchFunc(func(string, []Value) (any, error) { return "half a result", c.err })
		for _, reply := range allReplies(t, d) {
			if !strings.Contains(reply, c.want) || strings.Contains(reply, "secret") || strings.Contains(reply, "half") {
				t.Errorf("%v: %s", c.err, reply)
			}
		}
	}
}

// TestListMethodsFailure: only its success has no envelope.
func TestListMethodsFailure(t *testing.T) {
	t.Parallel()
	d := dispatchFunc(func(string, []Value) (any, error) { return nil, xenapi.ErrTooBusy() })
	reply, err := XML(t.Context(), d, []byte("<methodCall><methodName>system.listMethods</methodName></methodCall>"))
	if err != nil || !strings.Contains(string(reply), "<name>Status</name><value>Failure</value>") {
		t.Errorf("%s %v", reply, err)
	}
}

// allReplies asks once in each protocol.
func allReplies(t *testing.T, d Dispatcher) []string {
	t.Helper()
	one, err1 := JSON(t.Context(), d, []byte(`{"method":"m","params":[],"id":1}`))
	two, err2 := JSON(t.Context(), d, []byte(`{"jsonrpc":"2.0","method":"m","id":1}`))
	xml, err3 := XML(t.Context(), d, []byte("<methodCall><methodName>m</methodName></methodCall>"))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return []string{string(one), string(two), string(xml)}
}

// TestNotUTF8: such a call is read but not run.
func TestNotUTF8(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer      func(context.Context, Dispatcher, []byte) ([]byte, error)
		body, reply string
	}{
		{XML, "<methodCall><methodName>m</methodName><params><param><value>\xff</value></param></params></methodCall>",
			"<value>INVALID_VALUE</value>"},
		{JSON, `{"method":"m","params":["` + "\xc3" + `"],"id":1}`, `"error":["INVALID_VALUE",`},
		{JSON, `{"jsonrpc":"2.0","method":"m","params":["` + "\xc3" + `"],"id":1}`, `"message":"INVALID_VALUE"`},
	} {
		reply, err := c.answer(t.Context(), refuseAll(t), []byte(c.body))
		if err != nil || !strings.Contains(string(reply), c.reply) {
			t.Errorf("%q: %s %v", c.body, reply, err)
		}
	}
}

// TestDispatcherSees checks that the codecs hand on the caller's context and the kinds of the parameters.
func TestDispatcherSees(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "caller")
	d := contextDispatcher(func(ctx context.Context) (any, error) { return ctx.Value(key{}), nil })
	xml, err := XML(ctx, d, []byte("<methodCall><methodName>m</methodName></methodCall>"))
	if err != nil || !strings.Contains(string(xml), "<value>caller</value>") {
		t.Errorf("%s %v", xml, err)
	}
	json, err := JSON(ctx, d, EncodeRequest("m", nil))
	if err != nil || !strings.Contains(string(json), `"result":"caller"`) {
		t.Errorf("%s %v", json, err)
	}
}

type contextDispatcher func(ctx context.Context) (any, error)

func (f contextDispatcher) Dispatch(ctx context.Context, _ string, _ []Value) (any, error) {
	return f(ctx)
}
