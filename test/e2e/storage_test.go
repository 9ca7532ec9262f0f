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

// newSR makes an SR in a directory and makes it the pool's default.
func newSR(d *harness.Daemon, label, dir string) xenapi.Ref[xenapi.SR] {
	sr := harness.Call[xenapi.Ref[xenapi.SR]](d, "SR.create", d.Host(), map[string]string{"location": dir}, 0,
		label, "", "file", "user", false, map[string]string{})
	pool, _ := harness.Only[xenapi.Pool](d)
	d.Do("pool.set_default_SR", pool, sr)
	return sr
}

func pbdOf(d *harness.Daemon, sr xenapi.Ref[xenapi.SR]) xenapi.Ref[xenapi.PBD] {
	for ref, pbd := range harness.Records[xenapi.PBD](d) {
		if pbd.SR == sr {
			return ref
		}
	}
	return ""
}

// TestCloneAndCopy applies a patch from an SR that clones and from one that copies (M6): while it runs,
// there is one copy, on the same SR, and then there is none.
func TestCloneAndCopy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		mount func(testing.TB, int64) string
	}{{"clone", harness.XFS}, {"copy", harness.Ext4}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := c.mount(t, 1<<30)
			d := start(t)
			sr := newSR(d, "The default", dir)
			p := harness.Program{Apply: harness.GateWait("gate"), Tail: strings.Repeat("t", 1<<20)}
			ref := d.Upload(p.Signed(t))
			if vdi := harness.Record(d, harness.Record(d, ref).VDI); vdi.SR != sr {
				t.Errorf("the patch is on another SR than the default: %+v", vdi)
			}
			gate := harness.NewGate(t, d, "gate")
			task := d.Async("pool_patch.apply", ref, d.Host())
			open := gate.Arrived()
			vdis := harness.Records[xenapi.VDI](d)
			for _, vdi := range vdis {
				if vdi.SR != sr {
					t.Errorf("VDI %s is not on the patch's SR", vdi.NameLabel)
				}
			}
			if len(vdis) != 2 {
				t.Errorf("%d VDIs are there while the patch is applied, not the patch and a copy", len(vdis))
			}
			open()
			if err := harness.Failure(harness.Wait(d, task)); err != nil {
				t.Fatal(err)
			}
			d.Clean()
		})
	}
}

// TestNoRoom fills the SR at each moment when it can fill up: the error says so, and nothing is left
// (M10).
func TestNoRoom(t *testing.T) {
	t.Parallel()
	dir := harness.Ext4(t, 96<<20)
	d := start(t)
	full := newSR(d, "The small one", dir)
	for sr := range harness.Records[xenapi.SR](d) {
		if sr != full {
			d.Do("PBD.unplug", pbdOf(d, sr))
		}
	}
	big := harness.Program{Tail: strings.Repeat("b", 30<<20)}
	small := harness.Program{}

	t.Run("for the VDI", func(t *testing.T) {
		d := d.For(t)
		patch := big.Signed(t)
		_, err := d.TryUpload(bytes.NewReader(patch), int64(len(patch)))
		e := harness.WantCode(t, "upload", err, xenapi.CodeHostHasNoPatchSR)
		said := strings.Join(e.Params, "\n")
		for _, word := range []string{"The small one", "bytes needed", "Local storage", "not plugged"} {
			if !strings.Contains(said, word) {
				t.Errorf("the error says nothing of %q:\n%s", word, said)
			}
		}
		d.Clean()
	})
	t.Run("without a length", func(t *testing.T) {
		d := d.For(t)
		_, err := d.TryUpload(bytes.NewReader(small.Signed(t)), -1)
		harness.WantCode(t, "an upload that may need 4 GiB", err, xenapi.CodeHostHasNoPatchSR)
		d.Clean()
	})
	t.Run("in the middle", func(t *testing.T) {
		d := d.For(t)
		p := harness.Program{Tail: strings.Repeat("m", 14<<20)}
		patch := p.Signed(t)
		task := d.NewTask("upload")
		conn, err := d.Begin(task, fmt.Sprintf("Content-Length: %d", len(patch)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(patch[:1<<20]); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the upload has its VDI", func() bool { return len(harness.Records[xenapi.VDI](d)) == 1 })
		// Somebody else takes the room that there was when the SR was chosen.
		hog := filepath.Join(dir, "hog")
		if err := harness.Run("", "dd", "if=/dev/zero", "of="+hog, "bs=1M"); err == nil {
			t.Error("the SR is not full")
		}
		_, _ = conn.Write(patch[1<<20:]) // the daemon may hang up
		_ = conn.CloseWrite()
		err = harness.Failure(harness.Wait(d, task))
		if code := xenapi.CodeOf(err); code != xenapi.CodeSRFull && code != xenapi.CodeOutOfSpace {
			t.Errorf("an upload whose SR filled up: %v", err)
		}
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
		d.Clean()
	})
	t.Run("for the copy", func(t *testing.T) {
		d := d.For(t)
		p := harness.Program{Tail: strings.Repeat("c", 14<<20)}
		ref := d.Upload(p.Signed(t))
		sr := harness.Record(d, full)
		hog := harness.Call[xenapi.Ref[xenapi.VDI]](d, "VDI.create", newVDI("hog", full, 64<<20))
		c := d.Secure()
		if err := c.ImportVDI(t.Context(), hog, io.LimitReader(ones{}, 56<<20), 56<<20, nil); err != nil {
			t.Fatalf("fill the SR of %d bytes: %v", sr.PhysicalSize, err)
		}
		_, err := harness.Try[string](d, "pool_patch.apply", ref, d.Host())
		e := harness.WantCode(t, "apply without room for the copy", err, xenapi.CodeOutOfSpace)
		if said := strings.Join(e.Params, "\n"); !strings.Contains(said, "The small one") || !strings.Contains(said, "bytes needed") {
			t.Errorf("the error does not name the SR and what it lacks:\n%s", said)
		}
		if _, there := harness.HostPatch(d, ref); there || d.Read(harness.Ran) != "" {
			t.Error("a patch that found no room has left a trace")
		}
		d.Clean(hog)
		d.Do("VDI.destroy", hog)
		d.Apply(ref)
		d.Clean()
	})
}

// ones is an endless stream that no SR can leave out.
type ones struct{}

func (ones) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}

// newVDI is what VDI.create is told.
func newVDI(label string, sr xenapi.Ref[xenapi.SR], size int64) map[string]any {
	return map[string]any{
		"name_label": label, "name_description": "", "SR": sr, "virtual_size": size, "type": "user",
		"sharable": false, "read_only": false, "other_config": map[string]string{},
	}
}

// TestProcessThatStays: a process that a patch leaves behind uses the host's private copy. That goes when the process
// has ended.
func TestProcessThatStays(t *testing.T) {
	t.Parallel()
	d := start(t)
	stay := "echo started > started; " + harness.GateWait("gate")
	p := harness.Program{Apply: "mkfifo started; setsid sh -c '" + stay + "' > /dev/null 2>&1 & read word < started"}
	gate := harness.NewGate(t, d, "gate")
	ref := d.Upload(p.Signed(t))
	d.Apply(ref)
	open := gate.Arrived()
	if copies := len(harness.Records[xenapi.VDI](d)); copies != 2 {
		t.Errorf("%d VDIs are there while a process uses the copy", copies)
	}
	for _, f := range d.Check() {
		if f.Invariant != "" {
			t.Errorf("check: %+v", f)
		}
	}
	open()
	d.Clean()
}

// TestAutoScan: on an SR that is scanned by itself a change is seen without a call.
func TestAutoScan(t *testing.T) {
	t.Parallel()
	d := start(t)
	sr, _ := harness.Only[xenapi.SR](d)
	vdi := harness.Call[xenapi.Ref[xenapi.VDI]](d, "VDI.create", newVDI("forgotten", sr, 1<<20))
	d.Do("VDI.forget", vdi)
	d.Do("SR.add_to_other_config", sr, "auto-scan", "true")
	harness.Eventually(t, "the VDI is found again", func() bool { return len(harness.Records[xenapi.VDI](d)) == 1 })
	vdi, _ = harness.Only[xenapi.VDI](d)
	d.Do("VDI.destroy", vdi)
	d.Clean()
}

// TestUnplugged asks for a patch whose SR is not there, and gets it when it is there again.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	d := start(t)
	sr, _ := harness.Only[xenapi.SR](d)
	p := harness.Program{}
	ref := d.Upload(p.Signed(t))
	d.Do("PBD.unplug", pbdOf(d, sr))
	if _, err := harness.Try[string](d, "pool_patch.apply", ref, d.Host()); err == nil {
		t.Error("a patch was applied from an SR that is not there")
	} else if _, there := harness.HostPatch(d, ref); there {
		t.Errorf("an apply that could not begin (%v) has left a row", err)
	}
	other := harness.Program{}
	patch := other.Signed(t)
	_, err := d.TryUpload(bytes.NewReader(patch), int64(len(patch)))
	harness.WantCode(t, "upload without an SR", err, xenapi.CodeHostHasNoPatchSR)
	if _, there := harness.Records[xenapi.PoolPatch](d)[ref]; !there {
		t.Error("the record of a patch went because its SR was not there for a while")
	}
	d.Do("PBD.plug", pbdOf(d, sr))
	d.Apply(ref)
	d.Clean()
}
