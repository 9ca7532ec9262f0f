package image

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func blocks(t *testing.T, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestReserveFillsHolesAndKeepsContent(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 32 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("content"), 9<<20); err != nil {
		t.Fatal(err)
	}
	before, err := Sum(t.Context(), f, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := Reserve(t.Context(), f, size); err != nil {
		t.Fatal(err)
	}
	if got := blocks(t, f); got < size {
		t.Errorf("%d bytes are allocated, want all %d", got, size)
	}
	after, err := Sum(t.Context(), f, size)
	if err != nil || after != before {
		t.Errorf("digest is %v, %v; it was %v", after, err, before)
	}
}

func TestReserveGivesBackWhatItCannotFinish(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	size := int64(st.Bavail)*st.Bsize + 64<<30
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	// One hole that fits, then data, then one that does not.
	if _, err := f.WriteAt([]byte("x"), 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := Reserve(t.Context(), f, size); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v, want ENOSPC", err)
	}
	if got := blocks(t, f); got > 1<<20 {
		t.Errorf("%d bytes are still allocated", got)
	}
}

func TestReserveRefusesMemory(t *testing.T) {
	fd, err := unix.MemfdCreate("image", 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "image")
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := Reserve(t.Context(), f, 1<<20); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}
