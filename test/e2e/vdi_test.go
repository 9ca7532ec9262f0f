package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestRawVDI writes a VDI over the wire and reads it back, whole and from the middle, and has two readers
// at once but no reader beside a writer.
func TestRawVDI(t *testing.T) {
	t.Parallel()
	d := start(t)
	c := d.Secure()
	sr, _ := harness.Only[xenapi.SR](d)
	const size = 24 << 20
	image := make([]byte, size)
	for i := range 4 << 20 {
		image[8<<20+i] = byte(rand.N(256)) // the rest is zeroes, which become holes
	}
	vdi, err := c.ImportNewVDI(t.Context(), sr, bytes.NewReader(image), size, nil)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	if used := harness.Record(d, vdi).PhysicalUtilisation; used > 8<<20 {
		t.Logf("the record says that %d bytes are used", used)
	}
	d.Clean(vdi)
	for _, offset := range []int64{0, 1, 9<<20 + 7, size - 1} {
		var got bytes.Buffer
		if n, err := c.ExportVDI(t.Context(), vdi, offset, &got, nil); err != nil || !bytes.Equal(got.Bytes(), image[offset:]) {
			t.Errorf("export from %d: %d bytes, %v; not what was written", offset, n, err)
		}
	}
	part, err := harness.Output("", "curl", "--silent", "--show-error", "--insecure", "--user", "root:"+harness.Password,
		"--range", "9000000-9000099", fmt.Sprintf("https://%s/export_raw_vdi?vdi=%s", d.Address(), harness.Record(d, vdi).UUID))
	if err != nil || part != string(image[9000000:9000100]) {
		t.Errorf("a range: %d bytes, %v; not what was written", len(part), err)
	}
	err = c.ImportVDI(t.Context(), vdi, bytes.NewReader(append(image, 1)), size+1, nil)
	harness.WantCode(t, "an image that is longer than the VDI", err, xenapi.CodeVDIIOError)

	t.Run("in use", func(t *testing.T) {
		d := d.For(t)
		hold := newBrake()
		exported := make(chan error, 1)
		go func() {
			_, err := c.ExportVDI(t.Context(), vdi, 0, hold, nil)
			exported <- err
		}()
		<-hold.reached
		d.Refused(xenapi.CodeVDIInUse, "VDI.destroy", vdi)
		harness.WantCode(t, "import beside an export", c.ImportVDI(t.Context(), vdi, strings.NewReader("x"), 1, nil), xenapi.CodeVDIInUse)
		var beside bytes.Buffer
		if _, err := c.ExportVDI(t.Context(), vdi, size-100, &beside, nil); err != nil || beside.Len() != 100 {
			t.Errorf("a second export beside the first: %d bytes, %v", beside.Len(), err)
		}
		close(hold.release)
		if err := <-exported; err != nil {
			t.Errorf("the first export: %v", err)
		}
	})
	d.Do("VDI.forget", vdi)
	if found := d.Check(); len(found) != 1 || found[0].Invariant != "" {
		t.Errorf("the check says of a VDI that was forgotten: %+v", found)
	}
	d.Do("SR.scan", sr)
	vdi, _ = harness.Only[xenapi.VDI](d)
	d.Do("VDI.destroy", vdi)
	d.Clean()
}

// brake is a writer that stops at its first byte until it is released.
type brake struct{ reached, release chan struct{} }

func newBrake() *brake { return &brake{make(chan struct{}), make(chan struct{})} }

func (b *brake) Write(p []byte) (int, error) {
	select {
	case <-b.release:
	default:
		close(b.reached)
		<-b.release
	}
	return len(p), nil
}
