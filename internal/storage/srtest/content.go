package srtest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"poolpatch/internal/storage"
)

// random gives bytes that depend on the seed alone and do not compress.
func random(seed uint64, n int64) []byte {
	data := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

func zeroes(n int64) []byte { return make([]byte, n) }

func (s *subject) open(t *testing.T, img storage.Image, mode storage.Mode) *os.File {
	t.Helper()
	f, err := s.Open(deadline(t), img.Location, mode)
	if err != nil {
		t.Fatalf("open %q: %v", img.Location, err)
	}
	return f
}

// write puts n random bytes at an offset.
func (s *subject) write(t *testing.T, img storage.Image, seed uint64, offset, n int64) {
	t.Helper()
	f, err := s.Open(deadline(t), img.Location, storage.ReadWrite)
	if err != nil {
		t.Errorf("open %q: %v", img.Location, err)
		return
	}
	defer f.Close()
	if _, err := f.WriteAt(random(seed, n), offset); err != nil {
		t.Errorf("write %q: %v", img.Location, err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("sync %q: %v", img.Location, err)
	}
}

// want compares the whole content with parts.
func (s *subject) want(t *testing.T, img storage.Image, parts ...[]byte) {
	t.Helper()
	f, err := s.Open(deadline(t), img.Location, storage.ReadOnly)
	if err != nil {
		t.Errorf("open %q: %v", img.Location, err)
		return
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil {
		t.Errorf("read %q: %v", img.Location, err)
	}
	if want := bytes.Join(parts, nil); !bytes.Equal(got, want) {
		t.Errorf("content of %q is not what was written (%d bytes, want %d)", img.Location, len(got), len(want))
	}
}
