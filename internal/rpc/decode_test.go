package rpc

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolpatch/xenapi"
)

type (
	vdiRef  = xenapi.Ref[xenapi.VDI]
	sizes   = map[string]int64
	byIndex = map[int64]string
)

func utc(year, month, day, hour, minute, second int) time.Time {
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
}

// TestAccepted has a row for each thing that XenAPI takes for a parameter.
func TestAccepted(t *testing.T) {
	t.Parallel()
	when := utc(2015, 2, 13, 10, 20, 30)
	for _, c := range []struct {
		xml  string // inside <value>
		want any
	}{
		{"bare", "bare"},
		{"<string>typed</string>", "typed"},
		{"", ""},
		{"<string/>", ""},
		{"  two words\n", "  two words\n"},
		{"a<!-- note -->b", "ab"},
		{"<![CDATA[<&>]]>", "<&>"},
		{"&lt;&gt;&amp;&quot;&apos;&#65;&#x1F600;", `<>&"'A😀`},
		{"<string>a\r\nb</string>", "a\nb"},
		{"a&#13;b", "a\rb"},

		{"<int>7</int>", int64(7)},
		{"<i4>-7</i4>", int64(-7)},
		{"<i8>9223372036854775807</i8>", int64(9223372036854775807)},
		{"<int> 7 </int>", int64(7)},
		{" <int>7</int> ", int64(7)},
		{"7", int64(7)},
		{"<string>-7</string>", int64(-7)},
		{"<int>7</int>", 7},
		{"<int>7</int>", I4(7)},

		{"<double>1.5</double>", 1.5},
		{"<double>6e1</double>", 60.0},
		{"<int>60</int>", 60.0},
		{"60.1", 60.1},
		{"<string>60</string>", 60.0},

		{"<boolean>1</boolean>", true},
		{"<boolean>0</boolean>", false},

		{"<dateTime.iso8601>20150213T10:20:30Z</dateTime.iso8601>", when},
		{"<dateTime.iso8601>20150213T10:20:30</dateTime.iso8601>", when},
		{"<dateTime.iso8601>20150213T11:20:30+01:00</dateTime.iso8601>", when},
		{"<dateTime.iso8601>20150213T09:20:30-0100</dateTime.iso8601>", when},
		{"<dateTime.iso8601>20150213T102030Z</dateTime.iso8601>", when},
		{"<dateTime.iso8601>2015-02-13T10:20:30Z</dateTime.iso8601>", when},
		{"2015-02-13T10:20:30", when},
		{"2015-02-13T11:20:30+01:00", when},
		{"2015-02-13T11:20:30+0100", when},
		{"20150213T10:20:30Z", when},
		{"20150213T10:20:30.999Z", when},
		{"19700101T00:00:00Z", time.Time{}}, // the epoch is "never"
		{"00010101T00:00:00Z", time.Time{}},

		{"persist", xenapi.OnBootPersist},
		{"PerSist", xenapi.OnBootPersist}, // stored as declared
		{"OpaqueRef:1", vdiRef("OpaqueRef:1")},
		{"OpaqueRef:NULL", vdiRef("")},
		{"", vdiRef("")},

		{"<array><data></data></array>", []string{}},
		{"<array><data><value>a</value>\n<value>b</value></data></array>", []string{"a", "b"}},
		{"<array><data><value>OpaqueRef:NULL</value></data></array>", []vdiRef{""}},
		{"<struct></struct>", map[string]string{}},
		{"<struct><member><name>k</name><value>v</value></member></struct>", map[string]string{"k": "v"}},
		{"<struct><member><name>k</name><value>7</value></member></struct>", sizes{"k": 7}},
		{"<struct><member><name>7</name><value>v</value></member></struct>", byIndex{7: "v"}},
		{"<struct><member><name>OpaqueRef:NULL</name><value>v</value></member></struct>", map[vdiRef]string{"": "v"}},
		{"<struct><member><name>a&amp;b</name><value><array><data/></array></value></member></struct>",
			map[string][]string{"a&b": {}}},
		{"<nil/>", Value{}},
	} {
		t.Run(c.xml, func(t *testing.T) {
			t.Parallel()
			got := reflect.New(reflect.TypeOf(c.want))
			if err := mustParse(t, c.xml).Decode(got.Interface()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Elem().Interface()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func mustParse(t *testing.T, inner string) Value {
	t.Helper()
	v, err := ParseXMLValue("<value>" + inner + "</value>")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRefused has a row for each thing that XenAPI does not take, and what the error says.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		xml string
		dst any
		say string
	}{
		{"<int>1</int>", new(string), "expected string, found int"},
		{"<double>1</double>", new(string), "expected string, found double"},
		{"<boolean>1</boolean>", new(string), "expected string, found boolean"},
		{"<nil/>", new(string), "expected string, found nil"},
		{"<dateTime.iso8601>20150213T10:20:30Z</dateTime.iso8601>", new(string), "expected string, found dateTime"},
		{"<int>1</int>", new(vdiRef), "expected string, found int"},
		{"<double>1</double>", new(int64), "expected int, found double"},
		{"<boolean>1</boolean>", new(int64), "expected int, found boolean"},
		{"1.5", new(int64), `expected int, found the string "1.5"`},
		{"", new(int64), `expected int, found the string ""`},
		{"9223372036854775808", new(int64), "expected int, found the string"},
		{"<boolean>1</boolean>", new(float64), "expected double, found boolean"},
		{"nan", new(float64), `expected double, found the string "nan"`},
		{"inf", new(float64), `expected double, found the string "inf"`},
		{"true", new(bool), "expected boolean, found string"},
		{"<int>1</int>", new(bool), "expected boolean, found int"},
		{"<int>1</int>", new(time.Time), "expected dateTime, found int"},
		{"yesterday", new(time.Time), `expected dateTime, found the string "yesterday"`},
		{"00000101T00:00:00Z", new(time.Time), "expected dateTime"},
		{"99991231T23:59:59-01:00", new(time.Time), "expected dateTime"},
		{"sometimes", new(xenapi.OnBoot), `"sometimes" is none of reset, persist`},
		{"a", new([]string), "expected array, found string"},
		{"<array><data><value>a</value><value><int>1</int></value></data></array>", new([]string),
			"element 1: expected string, found int"},
		{"<array><data/></array>", new(sizes), "expected struct, found array"},
		{"<struct><member><name>k</name><value>v</value></member></struct>", new(sizes),
			`value of "k": expected int, found the string "v"`},
		{"<struct><member><name>k</name><value>v</value></member></struct>", new(byIndex),
			`key "k": expected int, found the string "k"`},
		{"text", new(xenapi.VDI), "expected struct, found string"},
		{"<struct><member><name>virtual_size</name><value/></member></struct>", new(xenapi.VDI),
			`field virtual_size: expected int, found the string ""`},
		{"text", new(chan int), "no value can become a chan int"},
	} {
		t.Run(c.xml+" "+c.say, func(t *testing.T) {
			t.Parallel()
			err := mustParse(t, c.xml).Decode(c.dst)
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("got %v, want %s", err, c.say)
			}
		})
	}
}

func TestDecodeNotUTF8(t *testing.T) {
	t.Parallel()
	v := Value{Kind: Array, Items: []Value{{Kind: String, Text: "a\xff"}}}
	err := v.Decode(new([]string))
	if !errors.Is(err, xenapi.NewError(xenapi.CodeInvalidValue)) {
		t.Errorf("got %v", err)
	}
}

// TestDecodeRecord checks that defaults stay, unknown members are ignored and internal columns are not the
// caller's to give.
func TestDecodeRecord(t *testing.T) {
	t.Parallel()
	v := mustParse(t, `<struct>
		<member><name>name_label</name><value>disk</value></member>
		<member><name>virtual_size</name><value>4096</value></member>
		<member><name>SR</name><value>OpaqueRef:sr</value></member>
		<member><name>sm_config</name><value><struct/></value></member>
		<member><name>from_the_future</name><value><int>1</int></value></member>
		<member><name>digest</name><value>forged</value></member>
	</struct>`)
	got := xenapi.New[xenapi.VDI]()
	present, err := DecodeRecord(v, &got)
	if err != nil {
		t.Fatal(err)
	}
	want := xenapi.New[xenapi.VDI]() // on_boot stays persist
	want.NameLabel, want.VirtualSize, want.SR, want.SMConfig = "disk", 4096, "OpaqueRef:sr", map[string]string{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{"name_label": true, "virtual_size": true, "SR": true, "sm_config": true}, present); diff != "" {
		t.Error(diff)
	}
	if _, err := DecodeRecord(Value{Kind: Int}, &got); err == nil {
		t.Error("an int became a record")
	}
}
