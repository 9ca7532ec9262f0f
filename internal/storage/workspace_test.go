package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/storage"
	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// upload makes a lasting VDI with a file patch in it, as an upload does, and gives its digest.
func (p pool) upload(t testing.TB, content string) (ref xenapi.Ref[xenapi.VDI], digest string) {
	t.Helper()
	rec := vdiOf(p.sr)
	rec.VirtualSize = 16 * mib
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		w, err := p.NewWorkspace(ctx, tk, rec)
		if err != nil {
			return err
		}
		defer w.Discard(ctx)
		if err := os.WriteFile(filepath.Join(w.Dir(), "patch"), []byte(content), 0o600); err != nil {
			return err
		}
		if digest, err = w.Seal(ctx); err != nil {
			return err
		}
		ref = w.VDI()
		return w.Keep(ctx, func(vdi *xenapi.VDI) { vdi.Digest = digest }, func(*db.Tx) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return ref, digest
}

// TestWorkspace writes a patch, grows under it, and reads it from private copies.
func TestWorkspace(t *testing.T) {
	t.Parallel()
	for name, clone := range map[string]bool{"clone": true, "copy": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t, memsr.Options{Clone: clone})
			ref, digest := p.upload(t, "a patch")
			if rec := get(p.host, ref); !strings.HasPrefix(digest, "poolpatch1:") || rec.Digest != digest {
				t.Errorf("the digest is %q, recorded %q", digest, rec.Digest)
			}
			p.consistent(t, p.host, "uploaded")
			err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
				first, err := p.OpenCopy(ctx, tk, ref, digest, "one", nil)
				if err != nil {
					return err
				}
				defer first.Discard(ctx)
				second, err := p.OpenCopy(ctx, p.someTask(t), ref, digest, "two", nil)
				if err != nil {
					return err
				}
				defer second.Discard(ctx)
				if err := os.WriteFile(filepath.Join(first.Dir(), "patch"), []byte("modified"), 0o600); err != nil {
					return err
				}
				text, err := os.ReadFile(filepath.Join(second.Dir(), "patch"))
				if string(text) != "a patch" || get(p.host, second.VDI()).NameLabel != "two" || second.VDI() == ref || err != nil {
					t.Errorf("a private copy holds %q, %v", text, err)
				}
				err = second.Grow(ctx, 24*mib)
				if rec := get(p.host, second.VDI()); rec.VirtualSize != 24*mib || second.Size() != 24*mib {
					t.Errorf("grown to %d, %d bytes", rec.VirtualSize, second.Size())
				}
				return err
			})
			wantCode(t, "copies", err, "")
			p.driver.CheckEmpty(get(p.host, ref).UUID)
			p.consistent(t, p.host, "afterwards")
			err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
				w, err := p.OpenCopy(ctx, tk, ref, digest, "again", nil) // the original is as it was
				if err == nil {
					w.Discard(ctx)
					w.Discard(ctx)
				}
				return err
			})
			wantCode(t, "again", err, "")
		})
	}
}

// TestSealKnowsWhatWasWritten: the digest that is computed while files are written, over a growth in between, is
// that of the image that comes out, which a clone is read for.
func TestSealKnowsWhatWasWritten(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true})
	rec := vdiOf(p.sr)
	rec.VirtualSize = 1 << 30 // so that whole blocks of the file are whole blocks of the image
	text := make([]byte, 24*mib)
	rand.NewChaCha8([32]byte{}).Read(text)
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		w, err := p.NewWorkspace(ctx, tk, rec)
		if err != nil {
			return err
		}
		defer w.Discard(ctx)
		lasting, err := w.Create("patch", 0o440)
		if err != nil {
			return err
		}
		temporary, err := w.CreateTemporary("program", 0o700)
		if err != nil {
			return err
		}
		_, err = io.MultiWriter(lasting, temporary).Write(text[:5*mib+1])
		if err := errors.Join(err, w.Grow(ctx, 2<<30)); err != nil {
			return err
		}
		_, err = io.MultiWriter(lasting, temporary).Write(text[5*mib+1:])
		if err := errors.Join(err, lasting.Close(), temporary.Close(), os.Remove(temporary.Path())); err != nil {
			return err
		}
		digest, err := w.Seal(ctx)
		if err != nil {
			return err
		}
		if err := w.Keep(ctx, func(*xenapi.VDI) {}, func(*db.Tx) error { return nil }); err != nil {
			return err
		}
		c, err := p.OpenCopy(ctx, tk, w.VDI(), digest, "copy", nil)
		if err != nil {
			return err
		}
		defer c.Discard(ctx)
		r, err := c.Open("patch")
		if err != nil {
			return err
		}
		defer r.Close()
		if got, err := io.ReadAll(r); !bytes.Equal(got, text) || err != nil {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
		if _, err := c.Open("../patch"); err == nil {
			t.Error("a name led out of the workspace")
		}
		return nil
	})
	wantCode(t, "workspace", err, "")
}

// TestTamperedCopyIsNotMounted (I1): whatever was done to an image since it was written, its file system is not
// shown to the kernel. An image that can not be mounted at all is refused with the same error as one that can:
// it was never tried.
func TestTamperedCopyIsNotMounted(t *testing.T) {
	t.Parallel()
	for _, clone := range []bool{true, false} {
		for _, tt := range []struct {
			name   string
			tamper func(f *os.File) error
			digest func(right string) string
		}{
			{"one byte", func(f *os.File) error { _, err := f.WriteAt([]byte{1}, 16*mib-1); return err }, nil},
			{"no file system", func(f *os.File) error { _, err := f.WriteAt(make([]byte, 64<<10), 0); return err }, nil},
			{"no digest known", func(*os.File) error { return nil }, func(string) string { return "" }},
			{"another digest", func(*os.File) error { return nil }, func(right string) string { return right[:len(right)-1] + "x" }},
		} {
			p := newPool(t, memsr.Options{Clone: clone})
			ref, digest := p.upload(t, "a patch")
			on, err := p.driver.Attach(t.Context(), storage.Config{UUID: get(p.host, p.sr).UUID})
			if err != nil {
				t.Fatal(err)
			}
			f, err := on.Open(t.Context(), get(p.host, ref).Location, storage.ReadWrite)
			if err := errors.Join(err, tt.tamper(f), f.Close()); err != nil {
				t.Fatal(err)
			}
			if tt.digest != nil {
				digest = tt.digest(digest)
			}
			err = p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
				w, err := p.OpenCopy(ctx, tk, ref, digest, "copy", nil)
				if err == nil {
					w.Discard(ctx)
				}
				return err
			})
			wantCode(t, tt.name, err, xenapi.CodeInvalidPatch)
			p.driver.CheckEmpty(get(p.host, ref).UUID)
			p.consistent(t, p.host, tt.name)
		}
	}
}

// TestWorkspaceFails in each driver call: nothing is left mounted, attached or on the SR.
func TestWorkspaceFails(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Create", "Open"} {
		p := newPool(t, memsr.Options{})
		p.driver.Inject(failing(method), nil)
		err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
			_, err := p.NewWorkspace(ctx, tk, vdiOf(p.sr))
			return err
		})
		wantCode(t, method, err, xenapi.CodeSRBackendFailure)
		p.driver.Inject(nil, nil)
		p.driver.CheckEmpty()
		p.consistent(t, p.host, method)
	}
	p := newPool(t, memsr.Options{Size: 20 * mib})
	ref, digest := p.upload(t, "a patch")
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		_, err := p.OpenCopy(ctx, tk, ref, digest, "copy", nil)
		return err
	})
	wantError(t, "no space for a copy", err, full(p, p.sr, 16*mib, 4*mib))
	p.driver.CheckEmpty(get(p.host, ref).UUID)
	p.consistent(t, p.host, "full")
}

// full is what is said of an SR without room (M10).
func full(p pool, sr xenapi.Ref[xenapi.SR], needed, free int64) *xenapi.Error {
	rec := get(p.host, sr)
	return xenapi.ErrOutOfSpace(fmt.Sprintf("SR %s (%s): %d bytes needed, %d bytes free", rec.UUID, rec.NameLabel, needed, free))
}

// M6, M10: a private copy for which its VDI's SR has no room goes onto another one that has, and each SR that is full
// is named.
func TestCopyOfAFullSR(t *testing.T) {
	t.Parallel()
	for name, clone := range map[string]bool{"clone": true, "copy": false} {
		p := newPool(t, memsr.Options{Size: 20 * mib, Clone: clone})
		other := p.newSR(t, true)
		ref, digest := p.upload(t, "a patch")
		none := xenapi.ErrHostHasNoPatchSR(here, "none")
		for _, c := range []struct {
			what string
			sr   xenapi.Ref[xenapi.SR] // that elsewhere gives
			err  error                 // of elsewhere
			want *xenapi.Error
		}{
			{"room elsewhere", other, nil, nil},
			{"room nowhere", "", none, none},
			{"room that was gone when it was used", p.sr, nil, full(p, p.sr, 16*mib, 4*mib)},
		} {
			what := name + ", " + c.what
			err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
				w, err := p.OpenCopy(ctx, tk, ref, digest, "copy", func(need int64) (xenapi.Ref[xenapi.SR], error) {
					if need != 16*mib {
						t.Errorf("%s: asked for %d bytes", what, need)
					}
					return c.sr, c.err
				})
				if err != nil {
					return err
				}
				defer w.Discard(ctx)
				if sr := get(p.host, w.VDI()).SR; sr != c.sr {
					t.Errorf("%s: the copy is on SR %s", what, sr)
				}
				return nil
			})
			if c.want == nil {
				wantCode(t, what, err, "")
			} else {
				wantError(t, what, err, c.want)
			}
			p.driver.CheckEmpty(get(p.host, ref).UUID)
			p.consistent(t, p.host, what)
		}
	}
}

// M6: where no SR has room for all of a VDI, one that takes as it is written is good for what the VDI holds.
func TestCopyOnAThinSR(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Size: 36 * mib})
	ref, digest := p.upload(t, "a patch")
	hog := vdiOf(p.sr)
	hog.VirtualSize = 10 * mib // 10 MiB are left
	if _, err := p.create(t, hog); err != nil {
		t.Fatal(err)
	}
	p.change(t, ref, func(vdi *xenapi.VDI) { vdi.PhysicalUtilisation = 8 * mib })
	none := func(int64) (xenapi.Ref[xenapi.SR], error) { return "", xenapi.ErrHostHasNoPatchSR(here, "none") }
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		_, err := p.OpenCopy(ctx, tk, ref, digest, "copy", none)
		return err
	})
	wantError(t, "a copy is tried", err, full(p, p.sr, 16*mib, 10*mib)) // this SR takes the whole size at once
}

// M10: whoever writes into a workspace hears that its SR is full, in whatever words the kernel says so.
func TestExplain(t *testing.T) {
	t.Parallel()
	other, domain := errors.New("something else"), error(xenapi.ErrCannotFindPatch())
	for _, c := range []struct {
		size int64 // of the SR
		err  error
		code string // "" leaves the error as it is
	}{
		{20 * mib, syscall.EIO, xenapi.CodeOutOfSpace},
		{20 * mib, fmt.Errorf("write: %w", syscall.ENOSPC), xenapi.CodeOutOfSpace},
		{64 * mib, syscall.EDQUOT, xenapi.CodeOutOfSpace},
		{64 * mib, syscall.EIO, xenapi.CodeVDIIOError},
		{20 * mib, xenapi.ErrSRFull(16*mib, 4*mib), xenapi.CodeOutOfSpace},
		{20 * mib, other, ""},
		{20 * mib, domain, ""},
		{20 * mib, nil, ""},
	} {
		p := newPool(t, memsr.Options{Size: c.size})
		rec := vdiOf(p.sr)
		rec.VirtualSize = 16 * mib
		var got error
		err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
			w, err := p.NewWorkspace(ctx, tk, rec)
			if err != nil {
				return err
			}
			defer w.Discard(ctx)
			got = w.Explain(ctx, c.err)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.code == "" && got != c.err || c.code != "" && xenapi.CodeOf(got) != c.code {
			t.Errorf("%v on an SR of %d MiB is %v", c.err, c.size/mib, got)
		}
		if sr := get(p.host, p.sr).UUID; c.code == xenapi.CodeOutOfSpace && !strings.Contains(got.Error(), sr) {
			t.Errorf("%v does not name the SR %s", got, sr)
		}
	}
}

// TestProcessThatStays: what a process of a patch still uses when its task discards it goes once that has ended, and is no
// fault until then.
func TestProcessThatStays(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{Clone: true})
	ref, digest := p.upload(t, "a patch")
	var held *os.File
	err := p.do(t.Context(), func(ctx context.Context, tk *task.Task) error {
		w, err := p.OpenCopy(ctx, tk, ref, digest, "copy", nil)
		if err != nil {
			return err
		}
		defer w.Discard(ctx)
		held, err = os.Open(w.Dir())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	collect := func() { p.tasks.UndoEnded(t.Context(), p.Undo()) }
	collect()
	if images := p.images(t, p.sr); len(images) != 2 || len(p.belongings()) != 2 {
		t.Errorf("in use: images %v, owned %v", images, p.belongings())
	}
	faults, err := p.Audit(t.Context(), false)
	if broken := slices.ContainsFunc(faults, func(f check.Fault) bool { return f.Invariant != "" || f.Fix != nil }); broken || len(faults) != 2 || err != nil {
		t.Errorf("in use: the audit finds %v, %v", faults, err)
	}
	wantCode(t, "detach under it", p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.UnplugPBD(ctx, tk, p.pbd) }), xenapi.CodeVDIInUse)
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(time.Minute); len(p.belongings()) > 0 && time.Now().Before(deadline); {
		collect() // the kernel lets go in its own time
	}
	p.driver.CheckEmpty(get(p.host, ref).UUID)
	p.consistent(t, p.host, "afterwards")
}
