package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve gives the holes of an image space on the file system below it, without changing what they read as
// or the digest. Writing into a hole makes the file system allocate blocks one request at a time, which
// direct I/O waits for: on ext4 a loop device over a reserved file takes a stream four times as fast.
// Trimming the image's own file system gives the space back.
//
// All or nothing: after an error nothing is reserved. Errors: errors.ErrUnsupported where f is no file or is
// kept in memory; syscall.ENOSPC.
func Reserve(ctx context.Context, f *os.File, size int64) error {
	if !reservable(f) {
		return fmt.Errorf("reserve space for %s: %w", f.Name(), errors.ErrUnsupported)
	}
	var done []hole
	err := eachHole(ctx, f, size, func(h hole) error {
		done = append(done, h)
		return fallocate(f, 0, h)
	})
	if err == nil {
		return nil
	}
	for _, h := range done {
		// They were holes a moment ago and nobody else has the image: nothing is lost.
		err = errors.Join(err, fallocate(f, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, h))
	}
	return fmt.Errorf("reserve space for %s: %w", f.Name(), err)
}

func reservable(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Type != unix.TMPFS_MAGIC
}

type hole struct{ from, to int64 }

func fallocate(f *os.File, mode uint32, h hole) error {
	err := unix.Fallocate(int(f.Fd()), mode, h.from, h.to-h.from)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = errors.Join(err, errors.ErrUnsupported)
	}
	return err
}

// eachHole gives fn every range of the file that holds no data, in order.
func eachHole(ctx context.Context, f *os.File, size int64, fn func(hole) error) error {
	fd := int(f.Fd())
	for at := int64(0); at < size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		from, err := unix.Seek(fd, at, unix.SEEK_HOLE)
		if err != nil || from >= size {
			return err
		}
		to, err := unix.Seek(fd, from, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			to, err = size, nil
		}
		if err != nil {
			return err
		}
		if err := fn(hole{from, min(to, size)}); err != nil {
			return err
		}
		at = to
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}
