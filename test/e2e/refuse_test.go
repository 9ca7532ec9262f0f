package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestBadPatches uploads what is not a patch, or not a good one: the task says why, and nothing is left
// (M1, I1, M10).
func TestBadPatches(t *testing.T) {
	t.Parallel()
	d := start(t)
	good := harness.Program{}
	signed := good.Signed(t)
	flip := func(at int) []byte {
		bad := bytes.Clone(signed)
		bad[at] ^= 0x10
		return bad
	}
	info := func(text string) []byte { return (&harness.Program{Info: text}).Signed(t) }
	stranger := harness.NewKey(t, "rsa4096", "never")
	expired := harness.NewKey(t, "ed25519", "1d", "--faked-system-time", "20200101T000000!")
	d.Trust(expired)
	for _, c := range []struct {
		name  string
		patch []byte
		code  string
		says  string // in the error's parameters
	}{
		{"a stranger's key", stranger.SignText(t, good.Text()), xenapi.CodeInvalidPatch, "not trusted"},
		{"an expired key", expired.SignText(t, good.Text(), "--faked-system-time", "20200101T010000!"), xenapi.CodeInvalidPatch, "expired"},
		{"not signed", []byte(good.Text()), xenapi.CodeInvalidPatch, "not signed"},
		{"empty", nil, xenapi.CodeInvalidPatch, "empty"},
		{"garbage", bytes.Repeat([]byte{0xa3, 0x01, 0x77}, 100_000), xenapi.CodeInvalidPatch, ""},
		{"cut short", signed[:len(signed)-10], xenapi.CodeInvalidPatch, ""},
		{"one byte longer", append(bytes.Clone(signed), 0), xenapi.CodeInvalidPatch, ""},
		{"a bit of the program", flip(len(signed) / 2), xenapi.CodeInvalidPatch, ""},
		{"a bit of the signature", flip(len(signed) - 5), xenapi.CodeInvalidPatch, ""},
		{"no XML", info("echo hello"), xenapi.CodeInvalidPatch, "XML"},
		{"two elements", info(`echo '<info/><info/>'`), xenapi.CodeInvalidPatch, ""},
		{"no uuid", info(`echo '<info version="1"/>'`), xenapi.CodeInvalidPatch, "uuid"},
		{"unknown guidance", (&harness.Program{Guidance: "restartEverything"}).Signed(t), xenapi.CodeInvalidPatch, "restartEverything"},
		{"line endings", info("exit 2"), xenapi.CodeInvalidPatchWithLog, "Bad line endings?"},
		{"stray errors", info("echo oops >&2; echo '" + good.XML() + "'"), xenapi.CodeInvalidPatch, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := d.For(t)
			_, err := d.TryUpload(bytes.NewReader(c.patch), int64(len(c.patch)))
			e := harness.WantCode(t, "upload", err, c.code)
			if said := strings.Join(e.Params, " "); !strings.Contains(said, c.says) {
				t.Errorf("the error says %q, and nothing of %q", said, c.says)
			}
			if n := len(harness.Records[xenapi.VDI](d)) + len(harness.Records[xenapi.PoolPatch](d)); n != 0 {
				t.Errorf("%d records are left", n)
			}
			d.Clean()
		})
	}
	t.Run("a uuid in capitals is good", func(t *testing.T) {
		d := d.For(t)
		p := harness.Program{UUID: strings.ToUpper(xenapi.NewUUID())}
		if rec := harness.Record(d, d.Upload(p.Signed(t))); rec.UUID != strings.ToLower(p.UUID) {
			t.Errorf("the record's uuid is %s", rec.UUID)
		}
		d.Clean()
	})
}

// leastMemory is more than what a daemon of this size takes under the race detector, in bytes.
const leastMemory = 700 << 20

// TestTalkative applies a patch that prints 200 MB: it costs the daemon neither memory nor disk (I6).
func TestTalkative(t *testing.T) {
	t.Parallel()
	d := start(t)
	p := harness.Program{Apply: "yes 'and so on and so forth' | head -c 200000000\necho the end"}
	ref := d.Upload(p.Signed(t))
	if out := d.Apply(ref); !strings.Contains(out, "the end") || len(out) > 4<<20 {
		t.Errorf("of 200 MB %d bytes are in the result", len(out))
	}
	if most := peakMemory(t, d.PID()); most > leastMemory {
		t.Errorf("the daemon has taken %d bytes of memory", most)
	}
	d.Clean()
}

// peakMemory is the most memory that a process has had, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kib), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("/proc says nothing of the most memory")
	return 0
}
