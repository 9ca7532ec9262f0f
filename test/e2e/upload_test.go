package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestCurl uploads with curl in every way in which it sends a body.
func TestCurl(t *testing.T) {
	t.Parallel()
	d := start(t)
	for _, c := range []struct {
		name  string
		pipe  bool
		args  []string
		known bool // whether the daemon is told the length
	}{
		{"from a file", false, []string{"--upload-file", "FILE"}, true},
		{"from a pipe, in chunks", true, []string{"--upload-file", "-"}, false},
		{"HTTP/1.0", false, []string{"--http1.0", "--upload-file", "FILE"}, true},
		{"Expect", false, []string{"--header", "Expect: 100-continue", "--upload-file", "FILE"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := d.For(t)
			p := harness.Program{Tail: strings.Repeat("x", 5<<20)}
			patch := p.Signed(t)
			file := filepath.Join(harness.Dir(t), "patch")
			if err := os.WriteFile(file, patch, 0o600); err != nil {
				t.Fatal(err)
			}
			task := d.NewTask("upload")
			args := []string{"curl", "--silent", "--show-error", "--insecure", "--user", "root:" + harness.Password, "--max-time", "60"}
			for _, a := range c.args {
				args = append(args, strings.ReplaceAll(a, "FILE", file))
			}
			stdin := ""
			if c.pipe {
				stdin = string(patch)
			}
			out, err := harness.Output(stdin, append(args, fmt.Sprintf("https://%s/pool_patch_upload?task_id=%s", d.Address(), task))...)
			if err != nil && !strings.Contains(err.Error(), "transfer closed") {
				t.Fatal(err, out)
			}
			rec := harness.Wait(d, task)
			if err := harness.Failure(rec); err != nil {
				t.Fatal(err)
			}
			// The bare ref, for xe takes it as it is.
			ref := xenapi.Ref[xenapi.PoolPatch](rec.Result)
			got := harness.Record(d, ref)
			if got.UUID != p.UUID || got.Size != int64(len(patch)) {
				t.Errorf("the record says %s, %d bytes; %s, %d bytes were sent", got.UUID, got.Size, p.UUID, len(patch))
			}
			size := int64(4 << 30)
			if c.known {
				size = 4 * int64(len(patch))
			}
			if vdi := harness.Record(d, got.VDI); vdi.VirtualSize < size || vdi.VirtualSize > size+1<<20 {
				t.Errorf("the VDI is %d bytes large, not %d", vdi.VirtualSize, size)
			}
			var down bytes.Buffer
			if n, err := d.Secure().DownloadPatch(t.Context(), p.UUID, &down, nil); err != nil || !bytes.Equal(down.Bytes(), patch) {
				t.Errorf("download: %d bytes, %v; not what was uploaded", n, err)
			}
			d.Do("pool_patch.destroy", ref)
			d.Clean()
		})
	}
}

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
