package api

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"poolpatch/xenapi"
)

// theVDI is what the expressions below are about.
func theVDI() reflect.Value {
	rec := xenapi.New[xenapi.VDI]()
	rec.UUID, rec.NameLabel, rec.VirtualSize, rec.Type, rec.Managed = "u", `it's "1"`, 4096, xenapi.VDITypeUser, true
	rec.SnapshotTime = time.Date(2015, 2, 13, 10, 0, 0, 0, time.UTC)
	rec.Tags, rec.OtherConfig = []string{"a", "b c"}, map[string]string{"z": "1", "k": `'\`}
	return reflect.ValueOf(rec)
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`true`: true, `false`: false, ` ( true ) `: true, "not true": false, "not not true": true, "not(false)": true, "not false and false": false,
		"true or false and false": true, "(true or false) and false": false, "false or false or true": true, "true and true and false": false,
		`field "uuid"="u"`: true, `field"uuid"='u'`: true, `"u" = field "uuid"`: true, `"a"="a"`: true, `"a"="b"`: false, `field "uuid"=field "uuid"`: true,
		`field "uuid" = "U"`: false, "field\n\t\"uuid\"\r= \"u\"": true,
		`field "name__label"="it's \"1\""`: true, `field "name_label"='it\'s "1"'`: true, `field "name__label"=""`: false,
		`field "virtual_size"="4096"`: true, `field "managed"="true"`: true, `field "is_a_snapshot"="true"`: false, `field "type"="user"`: true,
		`field "SR"="OpaqueRef:NULL"`: true, `field "snapshot_time"="20150213T10:00:00Z"`: true,
		`field "tags"="('a' 'b c')"`: true, `field "other__config"="(('k' '\\'\\\\') ('z' '1'))"`: true, `field "xenstore_data"="()"`: true,
		`field "managed"="true" and not field "type"="system"`:     true,
		strings.Repeat("(", 99) + "true" + strings.Repeat(")", 99): true,
		strings.Repeat("true and ", 30_000) + "true":               true,
	} {
		meant, err := parseExpression(xenapi.ClassOf[xenapi.VDI](), text)
		if err != nil {
			t.Errorf("%.60q: %v", text, err)
			continue
		}
		if got := meant(theVDI()); got != want {
			t.Errorf("%.60q: %v", text, got)
		}
	}
	rec := theVDI()
	f, _ := xenapi.ClassOf[xenapi.VDI]().Field("other_config")
	if got, want := asText(rec.Field(f.Index)), `(('k' '\'\\') ('z' '1'))`; got != want {
		t.Errorf("a map is %s, want %s", got, want)
	}
}

func TestExpressionsThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                           "at byte 0: here must be field",
		`  `:                         "at byte 2: here must be field",
		`yes`:                        "at byte 0: here must be field",
		`true false`:                 "at byte 5: the expression ends here",
		`true)`:                      "at byte 4: the expression ends here",
		`(true`:                      "at byte 5: here must be a )",
		`true and`:                   "at byte 8: here must be field",
		`not`:                        "at byte 3: here must be field",
		`field "uuid"`:               "at byte 12: here must be a =",
		`field "uuid"=`:              "at byte 13: here must be field",
		`field uuid="u"`:             "at byte 6: here must be field",
		`field "uuid"="u`:            "at byte 13: the string that begins here has no end",
		`field "uuid"="u\`:           "at byte 13: the string that begins here has no end",
		`field  "colour"="red"`:      `at byte 7: VDI has no field "colour"`,
		`field "digest"=""`:          `at byte 6: VDI has no field "digest"`, // a column that is not on the wire
		strings.Repeat("not ", 200):  "this is nested more than 100 times",
		strings.Repeat("(", 100_000): "this is nested more than 100 times",
	} {
		_, err := parseExpression(xenapi.ClassOf[xenapi.VDI](), text)
		if xenapi.CodeOf(err) != xenapi.CodeInvalidValue || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// Whatever a client sends, the parser ends, and what it takes means what its parts mean.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{`field "name__label"="x"`, `not (true or "a"='b') and false`, `"\"" = field 'tags'`, `((`} {
		f.Add(seed)
	}
	class := xenapi.ClassOf[xenapi.VDI]()
	f.Fuzz(func(t *testing.T, text string) {
		meant, err := parseExpression(class, text)
		if err != nil {
			var at int
			if _, err := fmt.Sscanf(err.(*xenapi.Error).Params[1], "at byte %d: ", &at); err != nil || at < 0 || at > len(text) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		is := meant(theVDI())
		for whole, want := range map[string]bool{"not(%s)": !is, "(%s)and true": is, "(%s)or true": true, "false or(%s)": is} {
			again, err := parseExpression(class, fmt.Sprintf(whole, text))
			if err != nil {
				if strings.Contains(err.Error(), "nested") {
					continue
				}
				t.Fatalf("%q in %q: %v", text, whole, err)
			}
			if again(theVDI()) != want {
				t.Errorf("%q is %v, and %q is not %v", text, is, whole, want)
			}
		}
	})
}
