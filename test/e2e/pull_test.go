package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolpatch/test/harness"
	"poolpatch/xenapi"
)

// TestWithoutSharedStorage: what lies on one host's own storage gets onto another's (M6).
func TestWithoutSharedStorage(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	program := harness.Program{UUID: xenapi.NewUUID(), Tail: strings.Repeat("some megabytes ", 1<<18)}
	ref := p.one.Upload(program.Signed(t))
	patch := harness.Record(p.one, ref)
	if sr := harness.Record(p.one, patch.VDI).SR; sr != p.local {
		t.Fatalf("the patch is on SR %s", sr)
	}
	p.one.Do("pool_patch.precheck", ref, p.second)
	p.one.Do("pool_patch.apply", ref, p.second)
	if ran := p.two.Read(harness.Ran); strings.Count(ran, program.UUID) != 1 {
		t.Errorf("on the other host ran %q", ran)
	}
	p.clean()

	// A copy is the same to the byte, with a digest where the original has one and without.
	copied := harness.Call[xenapi.Ref[xenapi.VDI]](p.one, "VDI.copy", patch.VDI, p.other)
	if got := harness.Record(p.one, copied); got.SR != p.other {
		t.Errorf("the copy is on SR %s", got.SR)
	}
	content := func(d *harness.Daemon, vdi xenapi.Ref[xenapi.VDI]) []byte {
		var out bytes.Buffer
		if _, err := d.Client().ExportVDI(context.Background(), vdi, 0, &out, nil); err != nil {
			t.Error(err)
		}
		return out.Bytes()
	}
	original := content(p.one, patch.VDI)
	if got := content(p.two, copied); !bytes.Equal(got, original) {
		t.Errorf("the copy has %d bytes, and not those of the original, %d", len(got), len(original))
	}
	if err := p.two.Client().ImportVDI(context.Background(), copied, strings.NewReader("changed"), 7, nil); err != nil {
		t.Fatal(err)
	}
	back := harness.Call[xenapi.Ref[xenapi.VDI]](p.two, "VDI.copy", copied, p.local)
	if got := content(p.one, back); !bytes.Equal(got, content(p.two, copied)) || !bytes.HasPrefix(got, []byte("changed")) {
		t.Error("the copy of the changed copy is not as that is")
	}
	p.two.Do("VDI.copy", patch.VDI, xenapi.NullRef, xenapi.NullRef, copied) // into one that exists, and holds something
	if got := content(p.two, copied); !bytes.Equal(got, original) {
		t.Error("what was in the destination shines through")
	}
	p.two.Do("VDI.destroy", copied)
	p.one.Do("VDI.destroy", back)

	// The patch moves to the other host's storage, and is applied from there.
	moved := harness.Call[xenapi.Ref[xenapi.VDI]](p.one, "VDI.pool_migrate", patch.VDI, p.other, map[string]string{})
	if at := harness.Record(p.one, ref).VDI; at != moved || harness.Record(p.one, moved).SR != p.other {
		t.Errorf("it has moved to %s, the patch says %s", moved, at)
	}
	p.one.Refused(xenapi.CodeHandleInvalid, "VDI.get_record", patch.VDI)
	p.clean()
	p.two.Do("pool_patch.apply", ref, p.first)
	p.clean()
}

// TestCorruptImage: a byte that has changed on its SR never lands on another host, and nothing of it runs (I1).
func TestCorruptImage(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	program := harness.Program{UUID: xenapi.NewUUID()}
	ref := p.one.Upload(program.Signed(t))
	images, err := filepath.Glob(p.one.Path("var/lib/poolpatch/sr/*.raw"))
	if err != nil || len(images) != 1 {
		t.Fatalf("the images are %v, %v", images, err)
	}
	image, err := os.OpenFile(images[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := image.WriteAt([]byte("!"), 3<<20); err != nil {
		t.Fatal(err)
	}
	p.one.Refused(xenapi.CodeVDIIOError, "pool_patch.apply", ref, p.second)
	if p.two.Exists(harness.Ran) {
		t.Error("the program ran")
	}
	p.one.Refused(xenapi.CodeVDIIOError, "VDI.copy", harness.Record(p.one, ref).VDI, p.other)
	p.clean()
}
