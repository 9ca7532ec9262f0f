package e2e

import (
	"io"
	"strconv"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestLarge uploads, prechecks and applies a patch of more than 2^31 bytes that gpg signs as it goes, so that it comes as
// a stream of unknown length and outgrows the VDI that is made for such a stream (M4, I6).
func TestLarge(t *testing.T) {
	t.Parallel()
	const size = 3 << 30
	d := harness.Start(t, harness.Options{Build: harness.Build{Raceless: true}, Trusted: []*harness.Key{harness.TheKey(t)}})
	p := harness.Program{Precheck: "stat -c %s $0"}
	text := p.Text()
	r := harness.TheKey(t).SignStream(t, io.MultiReader(strings.NewReader(text), io.LimitReader(zeroes{}, size)), "--compress-algo", "none")
	ref, err := d.TryUpload(r, -1)
	if err != nil {
		t.Fatalf("upload: %v", err)
	}
	rec := harness.Record(d, ref)
	if rec.Size <= size {
		t.Errorf("the record says that the patch is %d bytes long", rec.Size)
	}
	if vdi := harness.Record(d, rec.VDI); vdi.VirtualSize < 4*size {
		t.Errorf("the VDI has not grown: %d bytes", vdi.VirtualSize)
	}
	if out, want := d.Apply(ref), strconv.Itoa(size+len(text)); !strings.HasPrefix(out, want) {
		t.Errorf("the precheck finds the program %q bytes long, not %s", out, want)
	}
	if most := peakMemory(t, d.PID()); most > 150<<20 {
		t.Errorf("the daemon has taken %d bytes of memory", most)
	}
	d.Clean()
	d.Do("VDI.destroy", rec.VDI)
	if n := len(harness.Records[xenapi.VDI](d)); n != 0 {
		t.Errorf("%d VDIs are left", n)
	}
}

// zeroes is an endless stream.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
