package srtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mountTimeout = time.Minute // for each of mkfs, mount, umount
	// smallestXFS is the least that mkfs.xfs takes, with something to spare; the file is sparse.
	smallestXFS = 384 << 20

	leftoverPattern = "poolpatch-srtest-*"
	lockSuffix      = ".lock"
	diskSuffix      = ".disk"
)

// XFS mounts a fresh file system that can clone (reflink) and gives its mount point. It needs root.
func XFS(t testing.TB) string {
	t.Helper()
	return onDisk(t, smallestXFS, "mkfs.xfs", "-q", "-m", "reflink=1")
}

// Ext4 mounts a fresh ext4 file system of a size in bytes, which cannot clone.
func Ext4(t testing.TB, size int64) string {
	t.Helper()
	return onDisk(t, size, "mkfs.ext4", "-q", "-F")
}

// Tmpfs mounts a file system in memory of a size in bytes, which cannot clone.
func Tmpfs(t testing.TB, size int64) string {
	t.Helper()
	dir := mountPoint(t)
	run(t, "mount", "-t", "tmpfs", "-o", "size="+strconv.FormatInt(size, 10), "tmpfs", dir)
	return dir
}

// onDisk makes a file system in a sparse file and mounts it.
func onDisk(t testing.TB, size int64, mkfs ...string) string {
	t.Helper()
	dir := mountPoint(t)
	disk := dir + diskSuffix
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, size)); err != nil {
		t.Fatal(err)
	}
	run(t, append(mkfs, disk)...)
	run(t, "mount", "-o", "loop", disk, dir) // umount frees the loop device
	return dir
}

// ReadOnly makes a mounted file system refuse to be written.
func ReadOnly(t testing.TB, dir string) {
	t.Helper()
	run(t, "mount", "-o", "remount,ro", dir)
}

// PowerLoss makes a file system of [XFS] lose what is neither on its disk nor in its log, as when power fails. The
// caller then closes what it has open there and calls restart, which mounts it again.
func PowerLoss(t testing.TB, dir string) (restart func()) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const (
		goingDown  = 0x8004587d // XFS_IOC_GOINGDOWN
		noLogFlush = 2          // XFS_FSOP_GOING_FLAGS_NOLOGFLUSH
	)
	if err := unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush); err != nil {
		t.Fatalf("shut down %s: %v", dir, err)
	}
	return func() {
		t.Helper()
		run(t, "umount", dir)
		run(t, "mount", "-o", "loop", dir+diskSuffix, dir)
	}
}

// mountPoint makes an empty directory that is unmounted and removed at the end of the test, or, when the test is
// killed, by the next one: the lock beside it says that its process lives.
func mountPoint(t testing.TB) string {
	t.Helper()
	unlock := exclusive(t)
	defer unlock()
	removeLeftovers(t)
	dir, err := os.MkdirTemp("", leftoverPattern)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := flock(dir+lockSuffix, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(dir); err != nil {
			t.Error(err)
		}
		alive.Close()
	})
	return dir
}

// exclusive keeps others from taking a mount point that is just being made for a leftover.
func exclusive(t testing.TB) (unlock func()) {
	t.Helper()
	f, err := flock(filepath.Join(os.TempDir(), "poolpatch-srtest.guard"), 0)
	if err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

// flock takes the lock on a file, which ends with the process at the latest.
func flock(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|flags); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func removeLeftovers(t testing.TB) {
	t.Helper()
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), leftoverPattern+lockSuffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, lock := range locks {
		f, err := flock(lock, unix.LOCK_NB)
		if err != nil {
			continue // its process lives
		}
		if err := remove(strings.TrimSuffix(lock, lockSuffix)); err != nil {
			t.Logf("what a killed test left: %v", err)
		}
		f.Close()
	}
}

// remove unmounts a mount point and removes what belongs to it, the lock last: until then the next test tries again.
func remove(dir string) error {
	if mounted(dir) {
		if err := command("umount", dir); err != nil {
			return err
		}
	}
	for _, name := range []string{dir, dir + diskSuffix, dir + lockSuffix} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// mounted reports whether dir is on another file system than its parent.
func mounted(dir string) bool {
	var at, above unix.Stat_t
	return unix.Stat(dir, &at) == nil && unix.Stat(filepath.Dir(dir), &above) == nil && at.Dev != above.Dev
}

func run(t testing.TB, argv ...string) {
	t.Helper()
	if err := command(argv...); err != nil {
		t.Fatal(err)
	}
}

// busyTries is how often a command that finds its file system busy is run, a few milliseconds each: a child that a
// parallel test has just started has our open files until it executes its program.
const busyTries = 100

func command(argv ...string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), mountTimeout)
	defer cancel()
	for range busyTries {
		out, failed := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		if failed == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), failed, bytes.TrimSpace(out))
		if !bytes.Contains(out, []byte("busy")) {
			return err
		}
	}
	return err
}
