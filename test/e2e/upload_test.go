package e2e

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestOldestClient uploads as xe does from a pipe: HTTP/1.0, no Host, no length, and not a byte of the
// body before the daemon has answered.
func TestOldestClient(t *testing.T) {
	t.Parallel()
	d := start(t)
	p := harness.Program{}
	ref, err := d.TryUpload(bytes.NewReader(p.Signed(t)), -1)
	if err != nil {
		t.Fatal(err)
	}
	rec := harness.Record(d, ref)
	if size := harness.Record(d, rec.VDI).VirtualSize; rec.UUID != p.UUID || size != 4<<30 {
		t.Errorf("the record is %+v, its VDI %d bytes large", rec, size)
	}
	d.Clean()
}

// TestPebibyte uploads as a client does that does not know the length: it announces a pebibyte and cuts
// the connection at the end.
func TestPebibyte(t *testing.T) {
	t.Parallel()
	d := start(t)
	p := harness.Program{}
	task := d.NewTask("upload")
	conn, err := d.Begin(task, "Content-Length: 1125899906842624")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(p.Signed(t)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	rec := harness.Wait(d, task)
	if err := harness.Failure(rec); err != nil {
		t.Fatal(err)
	}
	if got := harness.Record(d, xenapi.Ref[xenapi.PoolPatch](rec.Result)); got.UUID != p.UUID {
		t.Errorf("the record is %+v", got)
	}
	d.Clean()
}

// TestProbe sends the empty upload with which one client asks whether the real one may come: it is
// answered, and nothing comes of it.
func TestProbe(t *testing.T) {
	t.Parallel()
	d := start(t)
	conn, err := d.Begin("", "Content-Length: 0")
	if err != nil {
		t.Fatalf("the probe is answered with %v", err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if n := len(harness.Records[xenapi.VDI](d)) + len(harness.Records[xenapi.PoolPatch](d)); n != 0 {
		t.Errorf("the probe has made %d records", n)
	}
	d.Clean()
}

// TestCompressed sends a patch whose program is a thousand times as large: the VDI grows with what comes out of the stream
// (M4), and a host finds room for it in its copy.
func TestCompressed(t *testing.T) {
	t.Parallel()
	d := start(t)
	p := harness.Program{Tail: strings.Repeat("much of the same\n", 2<<20)}
	text := p.Text()
	patch := harness.TheKey(t).SignText(t, text, "--compress-algo", "zlib")
	ref := d.Upload(patch)
	if size := harness.Record(d, harness.Record(d, ref).VDI).VirtualSize; size < int64(2*len(text)) || 100*len(patch) > len(text) {
		t.Errorf("a patch of %d bytes with a program of %d is in a VDI of %d", len(patch), len(text), size)
	}
	d.Apply(ref)
	if ran := d.Read(harness.Ran); strings.Count(ran, p.UUID) != 1 {
		t.Errorf("ran %q", ran)
	}
	d.Clean()
}

// TestTwoUploads sends the same patch twice at once, which is one record, and another patch that says it
// is the same, which is refused.
func TestTwoUploads(t *testing.T) {
	t.Parallel()
	d := start(t)
	p := harness.Program{Tail: strings.Repeat("y", 1<<20)}
	patch := p.Signed(t)
	same := make(chan xenapi.Ref[xenapi.Task], 2)
	for range cap(same) {
		task := d.NewTask("upload")
		go func() {
			_ = d.Put(task, bytes.NewReader(patch), int64(len(patch)))
			same <- task
		}()
	}
	refs := map[string]bool{}
	for range cap(same) {
		rec := harness.Wait(d, <-same)
		if err := harness.Failure(rec); err != nil {
			t.Fatalf("one of two uploads of the same patch: %v", err)
		}
		refs[rec.Result] = true
	}
	if len(refs) != 1 || len(harness.Records[xenapi.VDI](d)) != 1 {
		t.Errorf("the same patch twice is the records %v and %d VDIs", refs, len(harness.Records[xenapi.VDI](d)))
	}
	other := harness.Program{UUID: p.UUID, Label: "Another patch"}
	bad := other.Signed(t)
	_, err := d.TryUpload(bytes.NewReader(bad), int64(len(bad)))
	harness.WantCode(t, "other content of the same uuid", err, xenapi.CodePatchAlreadyExists)
	d.Clean()
}
