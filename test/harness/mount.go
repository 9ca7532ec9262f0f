package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// XFS mounts a fresh file system that can clone, of a size in bytes; it takes no more of the disk than is
// written. It must be mounted before the daemon that uses it starts.
func XFS(t testing.TB, size int64) string {
	t.Helper()
	return mounted(t, size, "mkfs.xfs", "-q", "-m", "reflink=1")
}

// Ext4 mounts a fresh file system that cannot clone.
func Ext4(t testing.TB, size int64) string {
	t.Helper()
	return mounted(t, size, "mkfs.ext4", "-q", "-F", "-m", "0")
}

func mounted(t testing.TB, size int64, mkfs ...string) string {
	t.Helper()
	dir := Dir(t)
	disk, at := filepath.Join(dir, "disk"), filepath.Join(dir, "fs")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][]string{
		{"truncate", "--size", fmt.Sprint(size), disk},
		append(mkfs, disk),
		{"mkdir", at},
		// umount frees the loop device.
		{"mount", "-o", "loop", disk, at},
	} {
		if err := Run("", step...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := Run("", "umount", at); err != nil {
			t.Error(err)
		}
	})
	return at
}
