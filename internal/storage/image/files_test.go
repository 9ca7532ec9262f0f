package image

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func create(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tempDir is t.TempDir with a choice of the file system.
func tempDir(t testing.TB, parent string) string {
	t.Helper()
	if parent == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "image-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func memory(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	t.Cleanup(func() { f.Close() })
	return f
}

// random makes n bytes that are not compressible and never a zero page.
func random(n int) []byte {
	p := make([]byte, n)
	var seed [32]byte
	seed[0] = byte(n)
	rand.NewChaCha8(seed).Read(p)
	return p
}

// loopDevice puts a block device over a file of size bytes that is full of old content.
func loopDevice(t testing.TB, path string, old []byte) *os.File {
	t.Helper()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	// From here on the device clears itself with its last user, whatever becomes of the test.
	if out, e := exec.Command("losetup", "--detach", device).CombinedOutput(); e != nil {
		t.Errorf("losetup --detach: %v: %s", e, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
