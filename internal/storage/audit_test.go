package storage_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// broken is an SR with one VDI that something is wrong with.
type broken struct {
	pool
	vdi    xenapi.Ref[xenapi.VDI]
	rec    xenapi.VDI
	srUUID string
	before storage.Image // of the VDI
}

func newBroken(t *testing.T) broken {
	t.Helper()
	b := broken{pool: newPool(t, memsr.Options{})}
	b.vdi = b.newVDI(t, b.sr)
	b.rec, b.srUUID = get(b.host, b.vdi), get(b.host, b.sr).UUID
	b.before = b.images(t, b.sr)[0]
	return b
}

// resize changes what the record says.
func (b broken) resize(t *testing.T) {
	b.change(t, b.vdi, func(vdi *xenapi.VDI) { vdi.VirtualSize = 7 })
}

// forget takes the record away.
func (b broken) forget(t *testing.T) {
	b.update(t, func(tx *db.Tx) error { return db.Delete(tx, b.vdi) })
}

// forgetVDI is VDI.forget.
func (b broken) forgetVDI(t *testing.T) {
	t.Helper()
	wantCode(t, "forget", b.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return b.ForgetVDI(ctx, tk, b.vdi) }), "")
}

// TestRepair: what a repair says it has done is done in one pass, and what a record names is never destroyed.
func TestRepair(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		spoil func(t *testing.T, b broken)
		finds []string // a word of each finding's problem
		does  []string // what was repaired, "" where a person decides
		image bool     // the image is there, and whole, in the end
	}{
		{"metadata removed", func(_ *testing.T, b broken) { b.driver.Break(b.srUUID, b.rec.UUID) },
			[]string{"missing"}, []string{"its metadata was written anew"}, true},
		{"metadata damaged", func(_ *testing.T, b broken) { b.driver.Damage(b.srUUID, b.rec.UUID) },
			[]string{"the description of"}, []string{"its metadata was written anew"}, true},
		{"metadata removed and the size wrong", func(t *testing.T, b broken) { b.driver.Break(b.srUUID, b.rec.UUID); b.resize(t) },
			[]string{"missing", "bytes large"}, []string{"its metadata was written anew", "the record was put right"}, true},
		{"content removed", func(_ *testing.T, b broken) { b.driver.Lose(b.srUUID, b.rec.UUID) },
			[]string{"is not on SR"}, []string{""}, false},
		{"record lost", func(t *testing.T, b broken) { b.forget(t) },
			[]string{"no record and no task owns it"}, []string{"its record was made"}, true},
		{"record lost, metadata damaged", func(t *testing.T, b broken) { b.forget(t); b.driver.Damage(b.srUUID, b.rec.UUID) },
			[]string{"no record knows it"}, []string{""}, false},
		{"record and metadata lost", func(t *testing.T, b broken) { b.forget(t); b.driver.Break(b.srUUID, b.rec.UUID) },
			[]string{"no task owns it"}, []string{"the image was destroyed"}, false},
		{"record forgotten, metadata removed", func(t *testing.T, b broken) { b.forgetVDI(t); b.driver.Break(b.srUUID, b.rec.UUID) },
			[]string{"its metadata is missing"}, []string{""}, false},
		{"record and content lost", func(t *testing.T, b broken) { b.forget(t); b.driver.Lose(b.srUUID, b.rec.UUID) },
			[]string{"its content is gone"}, []string{"its metadata was removed"}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			b := newBroken(t)
			c.spoil(t, b)
			findings, err := check.Run(t.Context(), false, true, b)
			if err != nil || len(findings) != len(c.finds) {
				t.Fatalf("found %+v, %v", findings, err)
			}
			left := 0
			for i, f := range findings {
				if !strings.Contains(f.Problem, c.finds[i]) || f.Repaired && f.Repair != c.does[i] || f.Repaired != (c.does[i] != "") || f.Repaired == (f.Advice != "") {
					t.Errorf("found %+v", f)
				}
				if !f.Repaired {
					left++
				}
			}
			if again, err := check.Run(t.Context(), false, true, b); len(again) != left || err != nil {
				t.Errorf("found in a second pass: %+v, %v", again, err)
			}
			if c.image {
				wantCode(t, "update", b.UpdateSR(t.Context(), b.sr), "") // of the sizes that the test has spoiled too
				b.whole(t)
			}
		})
	}
}

// whole checks that the image is as it was before anything was wrong with it.
func (b broken) whole(t *testing.T) {
	t.Helper()
	images := b.images(t, b.sr)
	if diff := cmp.Diff([]storage.Image{b.before}, images); diff != "" {
		t.Errorf("the image (-want +got):\n%s", diff)
	}
	if refs := all[xenapi.VDI](b.host); len(refs) != 1 || b.read(t, refs[0]) != "original" {
		t.Errorf("VDIs %v, want the one with its content", refs)
	}
	b.consistent(t, b.host, "repaired")
}

// A VDI whose content is gone stays one that can be given up.
func TestGiveUpAVDIWithoutContent(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	b.driver.Lose(b.srUUID, b.rec.UUID)
	wantCode(t, "destroy", b.destroy(t, b.vdi), "")
	b.driver.CheckEmpty()
	b.consistent(t, b.host, "afterwards")
}

// An SR that cannot be listed is what an audit finds, and not its end.
func TestAnSRThatCannotBeListed(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	b.driver.Inject(failing("List"), nil)
	findings, err := check.Run(t.Context(), false, true, b)
	if err != nil || len(findings) != 1 || findings[0].Object != "SR "+b.srUUID || findings[0].Advice == "" || findings[0].Repaired {
		t.Errorf("found %+v, %v", findings, err)
	}
}

// A scan sees to the other images, and names the one that it cannot understand.
func TestScanOfDamagedMetadata(t *testing.T) {
	t.Parallel()
	b := newBroken(t)
	other := b.newVDI(t, b.sr)
	b.change(t, other, func(vdi *xenapi.VDI) { vdi.VirtualSize = 7 })
	b.driver.Damage(b.srUUID, b.rec.UUID)
	err := b.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return b.ScanSR(ctx, tk, b.sr) })
	wantError(t, "scan", err, xenapi.ErrSRBackendFailure("1", "", "the description of "+b.rec.UUID+" is damaged; poolpatch check says what to do"))
	if get(b.host, b.vdi).UUID == "" || get(b.host, other).VirtualSize != 2*mib {
		t.Errorf("after the scan: %+v, %+v", get(b.host, b.vdi), get(b.host, other))
	}
}
