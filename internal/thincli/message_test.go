package thincli

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func fromHex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// examples are messages as they go over the wire (facts, section 10, has the first ones).
var examples = []struct {
	hex string
	m   Message
}{
	{"12000000 09000000 00000000 06000000 68656c6c6f0a", Message{Tag: Print, Text: "hello\n"}},
	{"0c000000 09000000 04000000 00000000", Message{Tag: Exit}},
	{"08000000 0a000000 05000000", Message{Tag: OK}},
	{"08000000 0a000000 12000000", Message{Tag: Wait}},
	{"0c000000 0b000000 07000000 03000000", Message{Tag: Chunk, N: 3}},
	{"08000000 0b000000 08000000", Message{Tag: End}},
	{"29000000 09000000 0d000000 05000000 702e62696e 14000000 2f706f6f6c5f70617463685f75706c6f61643f78", Message{Tag: HTTPPut, Text: "p.bin", Path: "/pool_patch_upload?x"}},
	{"0c000000 09000000 04000000 ffffffff", Message{Tag: Exit, N: -1}},
	{"0d000000 09000000 01000000 01000000 66", Message{Tag: Load, Text: "f"}},
	{"08000000 09000000 03000000", Message{Tag: Prompt}},
	{"12000000 09000000 0c000000 01000000 66 01000000 2f", Message{Tag: HTTPGet, Text: "f", Path: "/"}},
	{"1b000000 09000000 0e000000 01000000 43 02000000 01000000 61 01000000 62", Message{Tag: Error, Text: "C", Params: []string{"a", "b"}}},
	{"11000000 09000000 0e000000 01000000 43 00000000", Message{Tag: Error, Text: "C"}},
	{"0d000000 09000000 0f000000 01000000 64", Message{Tag: Debug, Text: "d"}},
	{"0d000000 09000000 10000000 01000000 65", Message{Tag: PrintStderr, Text: "e"}},
	{"0d000000 09000000 11000000 01000000 2f", Message{Tag: HTTPConnect, Text: "/"}},
	{"08000000 0a000000 06000000", Message{Tag: Failed}},
}

func TestMessages(t *testing.T) {
	t.Parallel()
	seen := map[Tag]bool{}
	for _, c := range examples {
		wire := fromHex(t, c.hex)
		seen[c.m.Tag] = true
		if got := Append([]byte("x"), c.m); !bytes.Equal(got, append([]byte("x"), wire...)) {
			t.Errorf("%v is written as % x, want % x", c.m, got[1:], wire)
		}
		got, err := Read(iotest.OneByteReader(bytes.NewReader(wire)), 100)
		if diff := cmp.Diff(c.m, got); diff != "" || err != nil {
			t.Errorf("% x: %v\n%s", wire, err, diff)
		}
		for n := range wire {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if _, err := Read(bytes.NewReader(wire[:n]), 100); !errors.Is(err, want) {
				t.Errorf("%d bytes of % x: %v, want %v", n, wire, err, want)
			}
		}
	}
	for tag, s := range shapes {
		if !seen[tag] {
			t.Errorf("%s has no example", s.name)
		}
	}
}

func TestWhatIsNoMessage(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"nothing":                   "00000000",
		"no tag":                    "04000000 09000000",
		"an unknown tag":            "08000000 09000000 02000000",
		"a tag of another kind":     "08000000 09000000 05000000",
		"an unknown kind":           "08000000 0c000000 05000000",
		"something after it":        "09000000 0a000000 05000000 00",
		"a string beyond the end":   "0c000000 09000000 00000000 01000000",
		"a string of negative size": "0c000000 09000000 00000000 ffffffff",
		"a list beyond the end":     "10000000 09000000 0e000000 00000000 01000000",
		"a list of negative size":   "10000000 09000000 0e000000 00000000 ffffffff",
		"a huge list":               "10000000 09000000 0e000000 00000000 ffffff7f",
		"half a number":             "0a000000 09000000 04000000 0000",
	} {
		if m, err := Read(bytes.NewReader(fromHex(t, text)), 100); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v %v", what, m, err)
		}
	}
}

// A length that is only claimed takes no memory, and one beyond the limit is not waited for.
func TestLengthsAreNotBelieved(t *testing.T) {
	huge := append(fromHex(t, "ffffff7f"), make([]byte, 1000)...)
	if _, err := Read(bytes.NewReader(huge), 100); !errors.Is(err, ErrTooLong) {
		t.Errorf("a length beyond the limit: %v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Read(bytes.NewReader(huge), 1<<31-1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a length within it that is a lie: %v", err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("a lie of 2 GiB took %d bytes", used)
	}
}

func TestPreamble(t *testing.T) {
	t.Parallel()
	wire := fromHex(t, "58656e536f75726365207468696e20434c492070726f746f636f6c 00000000 02000000")
	if got := Preamble(Spoken); !bytes.Equal(got, wire) {
		t.Errorf("% x", got)
	}
	if v, err := ReadPreamble(bytes.NewReader(wire)); v != Spoken || err != nil {
		t.Errorf("%v %v", v, err)
	}
	if v, err := ReadPreamble(bytes.NewReader(Preamble(Version{0, 1}))); v != (Version{0, 1}) || v.beats() || err != nil {
		t.Errorf("an older client: %v %v", v, err)
	}
	for what, said := range map[string]string{
		"HTTP": "HTTP/1.1 500 Internal Error\r\n\r\n", "a little of HTTP": "HTTP", "another major": string(Preamble(Version{1, 2})),
	} {
		var foreign *ForeignError
		if _, err := ReadPreamble(strings.NewReader(said)); !errors.As(err, &foreign) || !strings.HasPrefix(said, string(foreign.Said)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ReadPreamble(bytes.NewReader(wire[:20])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half of it: %v", err)
	}
}

// FuzzRead: what is accepted is written again byte for byte, and nothing else makes a reader stumble.
func FuzzRead(f *testing.F) {
	for _, c := range examples {
		f.Add(fromHex(f, c.hex))
	}
	f.Add(Preamble(Spoken))
	f.Fuzz(func(t *testing.T, wire []byte) {
		_, _ = ReadPreamble(bytes.NewReader(wire))
		in := bytes.NewReader(wire)
		for {
			start := len(wire) - in.Len()
			m, err := Read(in, 1<<16)
			if err != nil {
				return
			}
			end := len(wire) - in.Len()
			if again := Append(nil, m); !bytes.Equal(again, wire[start:end]) {
				t.Fatalf("% x is written again as % x", wire[start:end], again)
			}
		}
	})
}
