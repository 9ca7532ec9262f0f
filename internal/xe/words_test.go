package xe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		lines []string
		want  words
	}{
		{"nothing", []string{""}, words{}},
		{"a command", []string{"vdi-list"}, words{command: "vdi-list"}},
		{"lines that end as HTTP's", []string{"vdi-list\r", "uuid=x\r"}, words{"vdi-list", []pair{{"uuid", "x"}}}},
		{"the first = parts", []string{"c", "a=b=c", "d="}, words{"c", []pair{{"a", "b=c"}, {"d", ""}}}},
		{"switches", []string{"c", "--minimal", "--x=y"}, words{"c", []pair{{"minimal", "true"}, {"x", "y"}}}},
		{"short options", []string{"-u", "root", "c", "-pw", "p=w", "-s", "h", "-p", "443", "-h", "i"}, words{"c", []pair{
			{"username", "root"}, {"password", "p=w"}, {"server", "h"}, {"port", "443"}, {"server", "i"}}}},
		{"a short option without its value", []string{"c", "-u"}, words{"c", []pair{{"-u", ""}}}},
		{"a session before the command", []string{"session_id=OpaqueRef:s", "c"}, words{"c", []pair{{"session_id", "OpaqueRef:s"}}}},
		{"a bare word", []string{"help", "vdi-list"}, words{"help", []pair{{"vdi-list", ""}}}},
		{"empty lines", []string{"", "c", "", "a=b", ""}, words{"c", []pair{{"a", "b"}}}},
	} {
		if diff := cmp.Diff(c.want, parse(c.lines), cmp.AllowUnexported(words{}, pair{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

func TestMapsAndSets(t *testing.T) {
	t.Parallel()
	w := parse([]string{"c", "other-config:a=1", "other-config-b=2", "other-config=3", "other-config:=4", "other-configuration=5", "tags:x=", "tags:y"})
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, w.entries("other-config")); diff != "" {
		t.Errorf("map:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"x", "y"}, w.set("tags")); diff != "" {
		t.Errorf("set:\n%s", diff)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "1K": 1 << 10, "1KB": 1 << 10, "1KiB": 1 << 10, "2MiB": 2 << 20, "3 GiB": 3 << 30, "4TiB": 4 << 40, "-1": -1, "8388607TiB": 8388607 << 40,
	} {
		if n, err := parseSize("size", text); n != want || err != nil {
			t.Errorf("%q is %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "x", "1.5GiB", "KiB", "1XiB", "1KiBKiB", "9223372036854775808", "8388608TiB", "1 K K"} {
		if n, err := parseSize("size", text); err == nil {
			t.Errorf("%q is %d", text, n)
		}
	}
}

func TestBooleans(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"true": true, "T": true, "yes": true, "y": true, "1": true, "false": false, "F": false, "no": false, "n": false, "0": false} {
		if b, err := parseBool("b", text); b != want || err != nil {
			t.Errorf("%q is %v, %v", text, b, err)
		}
	}
	if _, err := parseBool("b", "maybe"); err == nil || err.Error() != "Failed to parse parameter 'b': expecting 'true' or 'false'" {
		t.Error(err)
	}
}

// The layout is that of xe, to the space.
func TestLayout(t *testing.T) {
	t.Parallel()
	got := layout([]cell{
		{"uuid ( RO)", "5b1c"}, {"name-label ( RO)", "XS65E001"}, {"name-description ( RO)", "Public Availability"}, {"size ( RO)", "60867072"},
		{"hosts (SRO)", "a, b"}, {"after-apply-guidance (SRO)", "restartHost"},
	})
	const want = `uuid ( RO)                    : 5b1c
              name-label ( RO): XS65E001
        name-description ( RO): Public Availability
                    size ( RO): 60867072
                   hosts (SRO): a, b
    after-apply-guidance (SRO): restartHost
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
