package storage_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"poolpatch/internal/storage/memsr"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// TestReadVDI reads a VDI as far as there is data in it. Meanwhile nobody writes to it, or takes it away.
func TestReadVDI(t *testing.T) {
	t.Parallel()
	p := newPool(t, memsr.Options{})
	rec := vdiOf(p.sr)
	rec.VirtualSize = 2 * mib
	ref, err := p.create(t, rec)
	if err != nil {
		t.Fatal(err)
	}
	read := func(fn func(r io.Reader, length int64) error) error {
		return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ReadVDI(ctx, tk, ref, fn) })
	}
	write := func(r io.Reader) error {
		return p.do(t.Context(), func(ctx context.Context, tk *task.Task) error { return p.ImportRaw(ctx, tk, ref, r, -1) })
	}
	wantCode(t, "of zeroes", read(func(r io.Reader, length int64) error {
		if text, err := io.ReadAll(r); err != nil || length != 0 || len(text) != 0 {
			t.Errorf("an empty VDI: %d bytes of %d, %v", len(text), length, err)
		}
		return nil
	}), "")
	wantCode(t, "import", write(strings.NewReader("imported")), "")
	wantCode(t, "read", read(func(r io.Reader, length int64) error {
		wantCode(t, "write meanwhile", write(strings.NewReader("x")), xenapi.CodeVDIInUse)
		wantCode(t, "destroy meanwhile", p.destroy(t, ref), xenapi.CodeVDIInUse)
		wantCode(t, "read meanwhile", read(func(io.Reader, int64) error { return nil }), "")
		text, err := io.ReadAll(r)
		if err != nil || length != mib || int64(len(text)) != length || !strings.HasPrefix(string(text), "imported\x00") {
			t.Errorf("%d bytes of %d, %v", len(text), length, err)
		}
		return nil
	}), "")
	mine := errors.New("mine")
	if err := read(func(io.Reader, int64) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("an error of the reader's owner became %v", err)
	}
	busy := writing{func() error { return read(func(io.Reader, int64) error { return nil }) }}
	wantCode(t, "read of what is written", write(busy), xenapi.CodeVDIInUse)
	p.consistent(t, p.host, "afterwards")
	p.driver.Break(get(p.host, p.sr).UUID, get(p.host, ref).UUID)
	wantCode(t, "image gone", read(func(io.Reader, int64) error { return nil }), xenapi.CodeVDIMissing)
}

// writing is a stream that does something when it is read, and fails with what comes of it.
type writing struct{ do func() error }

func (w writing) Read([]byte) (int, error) { return 0, w.do() }
