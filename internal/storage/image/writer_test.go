package image

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// someSizes lie around the borders of pages and blocks, and need more slots than there are.
var someSizes = []int{0, 1, pageSize - 1, pageSize, BlockSize - 1, BlockSize, BlockSize + 1, (writerSlots+3)*BlockSize + 12345}

// holey makes n bytes, of which some blocks in the middle are zero.
func holey(n int) []byte {
	p := random(n)
	for _, block := range []int{1, 2, 5} {
		if at := block * BlockSize; at < n {
			clear(p[at:min(at+BlockSize, n)])
		}
	}
	return p
}

func TestWriter(t *testing.T) {
	t.Parallel()
	for _, parent := range []string{"", "/dev/shm"} { // with and without a way past the page cache
		for _, size := range someSizes {
			for _, step := range []int{BlockSize / 3, 3 * BlockSize} {
				path := filepath.Join(tempDir(t, parent), "file")
				text := holey(size)
				w, err := Create(path, 0o440)
				if err != nil {
					t.Fatal(err)
				}
				for rest := text; len(rest) > 0; {
					n := min(step, len(rest))
					if m, err := w.Write(rest[:n]); m != n || err != nil {
						t.Fatalf("%d of %d bytes, %v", m, n, err)
					}
					if rest = rest[n:]; len(rest)%2 == 0 {
						if err := w.Pause(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				got, err := io.ReadAll(f)
				if err != nil || !bytes.Equal(got, text) || w.Size() != int64(size) {
					t.Errorf("%s: %d bytes were written, and are not what is read, %v", path, size, err)
				}
				if want, err := Sum(t.Context(), f, int64(size)); err != nil || w.Digest() != want {
					t.Errorf("%d bytes have digest %s, want %s, %v", size, w.Digest(), want, err)
				}
			}
		}
	}
}

func TestWriterOfATemporaryFile(t *testing.T) {
	t.Parallel()
	path, text := filepath.Join(t.TempDir(), "file"), holey(7*BlockSize+99)
	w, err := CreateTemporary(path, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	known := Known{}
	if w.Locate(known, 0, 0, 8*BlockSize); len(known) != 0 {
		t.Errorf("%d blocks are known of what was not hashed", len(known))
	}
}

// A program may run as root in the file system that is written: what it puts in a file's place is not written to.
func TestWriterRefusesAnotherFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, 0o600); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	for name, replace := range map[string]func() error{
		"a file": func() error { return os.WriteFile(path, nil, 0o600) },
		"a link": func() error { return os.Symlink(victim, path) },
	} {
		if err := errors.Join(w.Pause(), os.Rename(path, filepath.Join(t.TempDir(), "old")), replace()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(random(2 * BlockSize)); err == nil {
			t.Errorf("%s in its place was written", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if w, err = Create(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestWriterNoSpace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	w, err := Create(filepath.Join(dir, "file"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * writerSlots {
		if _, err = w.Write(random(BlockSize)); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "at offset ") {
		t.Errorf("a full disk: %v", err)
	}
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("closed on a full disk: %v", err)
	}
}

// Only whole blocks of the file that are whole blocks of the image are known.
func TestLocate(t *testing.T) {
	t.Parallel()
	const blocks = 4
	text := random(blocks*BlockSize + 100)
	clear(text[2*BlockSize : 3*BlockSize])
	w, err := Create(filepath.Join(t.TempDir(), "file"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		logical, physical, length int64
		known                     map[int64]int // block of the image to block of the file
	}{
		"all":                  {0, 10 * BlockSize, 5 * BlockSize, map[int64]int{10: 0, 11: 1, 13: 3}},
		"moved by a page":      {0, 10*BlockSize + pageSize, 5 * BlockSize, nil},
		"begins in a block":    {pageSize, 10*BlockSize + pageSize, 2 * BlockSize, map[int64]int{11: 1}},
		"ends in a block":      {0, 7 * BlockSize, 2*BlockSize - pageSize, map[int64]int{7: 0}},
		"less than a block":    {0, 0, BlockSize - 1, nil},
		"earlier in the image": {3 * BlockSize, BlockSize, BlockSize, map[int64]int{1: 3}},
	}
	for name, tt := range tests {
		known := Known{}
		w.Locate(known, tt.logical, tt.physical, tt.length)
		if len(known) != len(tt.known) {
			t.Errorf("%s: %d blocks are known, want %d", name, len(known), len(tt.known))
		}
		for at, block := range tt.known {
			if known[at] != w.sums[block] || known[at] == none {
				t.Errorf("%s: block %d of the image is not block %d of the file", name, at, block)
			}
		}
	}
}

// What is known is not read, and what is not known is.
func TestSumKnown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	w, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	const size = 3*BlockSize + 7
	_, err = w.Write(random(size))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	known := Known{}
	w.Locate(known, 0, 0, size)
	for _, tt := range []struct {
		name   string
		change int64
		same   bool
	}{{"nothing changed", -1, true}, {"a known block changed", BlockSize, true}, {"the end changed", 3 * BlockSize, false}} {
		if tt.change >= 0 {
			if _, err := f.WriteAt([]byte("changed"), tt.change); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := SumKnown(t.Context(), f, size, known); err != nil || (got == w.Digest()) != tt.same {
			t.Errorf("%s: digest %s, that of the writer %s, %v", tt.name, got, w.Digest(), err)
		}
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	for _, parent := range []string{"", "/dev/shm"} {
		for _, size := range someSizes {
			path, text := filepath.Join(tempDir(t, parent), "file"), holey(size)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			r := reader(t, path)
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s: %d of %d bytes, %v", path, len(got), size, err)
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("behind the end: %d bytes, %v", n, err)
			}
		}
	}
}

func reader(t *testing.T, path string) *Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// A file that becomes shorter is not one that ends: its reader must not take a part for the whole.
func TestReaderOfAFileThatIsCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, random((readerSlots+2)*BlockSize), 0o600); err != nil {
		t.Fatal(err)
	}
	r := reader(t, path)
	if err := os.Truncate(path, (readerSlots+1)*BlockSize+5); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, struct{ io.Reader }{r})
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "at offset ") {
		t.Errorf("a file that was cut: %v", err)
	}
	if _, again := r.Read(make([]byte, 1)); !errors.Is(again, io.ErrUnexpectedEOF) {
		t.Errorf("and once more: %v", again)
	}
}
