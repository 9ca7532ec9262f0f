package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// extents walks over the blocks of an image of which something is allocated, in rising order. It asks the file
// for its holes as it goes, so it needs no memory; a file that cannot tell, such as a block device, is all data.
type extents struct {
	f        *os.File
	size     int64
	at       int64 // blocks before this one have been given out
	opaque   bool  // the file cannot tell its holes
	from, to int64 // the current run of blocks
}

// next gives the next block that must be read, or ok false at the end.
func (e *extents) next() (index int64, ok bool, err error) {
	if e.from >= e.to {
		if e.from, e.to, err = e.run(); err != nil || e.from >= e.to {
			return 0, false, err
		}
	}
	index = e.from
	e.from++
	return index, true, nil
}

// run finds the next run of blocks; from == to at the end. Neighbouring extents may share a block, which is given once.
func (e *extents) run() (from, to int64, err error) {
	offset := e.at * BlockSize
	if offset >= e.size {
		return 0, 0, nil
	}
	start, end, err := e.seek(offset)
	if err != nil {
		return 0, 0, fmt.Errorf("find data of %s after offset %d: %w", e.f.Name(), offset, err)
	}
	start, end = min(start, e.size), min(end, e.size)
	from, to = start/BlockSize, blockCount(end)
	if start == end {
		from, to = blockCount(e.size), blockCount(e.size)
	}
	e.at = to
	return from, to, nil
}

// seek finds the first extent that ends after offset. start == end == size when there is none.
func (e *extents) seek(offset int64) (start, end int64, err error) {
	if e.opaque {
		return offset, e.size, nil
	}
	fd := int(e.f.Fd())
	start, err = unix.Seek(fd, offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return e.size, e.size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		e.opaque = true
		return offset, e.size, nil
	case err != nil:
		return 0, 0, err
	}
	if start >= e.size {
		return e.size, e.size, nil
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	return start, end, err
}

// allocated counts the bytes of the blocks that a walk will give.
func allocated(ctx context.Context, f *os.File, size int64) (total int64, err error) {
	e := &extents{f: f, size: size}
	for {
		from, to, err := e.run()
		if err != nil || from >= to {
			return total, err
		}
		total += min(to*BlockSize, size) - from*BlockSize
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
	}
}

// End is where the last data of an image of size bytes ends: what follows is a hole, and reads as zeroes. An image that cannot
// tell its holes ends at size.
func End(f *os.File, size int64) (int64, error) {
	e := &extents{f: f, size: size}
	for end := int64(0); ; {
		from, to, err := e.run()
		if err != nil || from >= to {
			return end, err
		}
		end = min(to*BlockSize, size)
	}
}

// length is how many bytes can be read from f: the size of a file or of a block device.
func length(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Mode().IsRegular() {
		return info.Size(), nil
	}
	return f.Seek(0, io.SeekEnd)
}

// long is nil when f has at least size bytes.
func long(f *os.File, size int64) error {
	n, err := length(f)
	if err != nil {
		return fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	if n < size {
		return fmt.Errorf("read %s: ends at offset %d of %d: %w", f.Name(), n, size, io.ErrUnexpectedEOF)
	}
	return nil
}
