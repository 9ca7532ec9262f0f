package volume

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What lies in an extent is what the image holds there once the volume is closed; what is reserved only is in none.
func TestExtents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := imageFile(t, dir, 64*mib)
	v := open(t, Config{Path: image, Dir: filepath.Join(dir, "mnt"), Format: true})
	path := filepath.Join(v.Dir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), 2*mib/16)
	for _, at := range []int64{0, 4 * mib, 12 * mib} { // with holes between
		if _, err := f.WriteAt(text, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 20*mib, 4*mib); err != nil {
		t.Fatal(err)
	}
	f.Close()
	extents, err := Extents(path)
	if err != nil {
		t.Fatal(err)
	}
	closeVolume(t, v)
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, e := range extents {
		total += e.Length
		within := e.Logical % (2 * mib)
		if e.Logical >= 20*mib || !bytes.Equal(content[e.Physical:e.Physical+e.Length], text[within:within+e.Length]) {
			t.Errorf("extent %+v does not hold the file's content", e)
		}
	}
	if total != 6*mib {
		t.Errorf("the extents hold %d bytes, want %d", total, 6*mib)
	}
	if _, err := Extents(path); !os.IsNotExist(err) {
		t.Errorf("of a file that is gone: %v", err)
	}
}

// More extents than one question to the kernel has room for.
func TestManyExtents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := open(t, Config{Path: imageFile(t, dir, 64*mib), Dir: filepath.Join(dir, "mnt"), Format: true})
	path := filepath.Join(v.Dir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const pieces = 200
	for i := range int64(pieces) {
		if _, err := f.WriteAt(bytes.Repeat([]byte{1}, blockSize), 2*i*blockSize); err != nil {
			t.Fatal(err)
		}
	}
	extents, err := Extents(path)
	if err != nil || len(extents) != pieces {
		t.Errorf("%d extents, want %d, %v", len(extents), pieces, err)
	}
}
