package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// target writes an image: runs of pages that are not zero are written, the rest is or becomes zero.
type target struct {
	f          *os.File
	direct     *os.File // the same file past the page cache; nil where that is not possible
	size       int64
	zeroed     bool  // what is not written is zero already
	endsAtSize bool  // it is a file that has nothing behind size
	at         int64 // blocks before this one are written, zero, or in flight
}

// openTarget makes f long enough for size bytes. It never shortens: an image keeps its virtual size.
func openTarget(f *os.File, size int64, zeroed bool) (*target, error) {
	n, err := length(f)
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	if n < size {
		if err := extend(f, size); err != nil {
			return nil, fmt.Errorf("extend %s from %d to %d bytes: %w", f.Name(), n, size, err)
		}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	return &target{
		f: f, direct: reopenDirect(f, os.O_WRONLY), size: size, zeroed: zeroed || n == 0,
		endsAtSize: n <= size && info.Mode().IsRegular(),
	}, nil
}

func extend(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return unix.ENOSPC
	}
	return f.Truncate(size)
}

func (t *target) close() {
	if t.direct != nil {
		t.direct.Close()
	}
}

// finish zeroes what comes after the last block and puts everything on stable storage.
func (t *target) finish(ctx context.Context) error {
	if err := t.skipTo(ctx, blockCount(t.size)); err != nil {
		return err
	}
	if err := t.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", t.f.Name(), err)
	}
	return nil
}

// zeroStep is how much is zeroed between two looks at the context, in blocks.
const zeroStep = 64

// skipTo makes the blocks between the last one and index zero. Callers come in rising order.
func (t *target) skipTo(ctx context.Context, index int64) error {
	for from := t.at; from < index && !t.zeroed; from += zeroStep {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		end := min(min(index, from+zeroStep)*BlockSize, t.size)
		if err := t.zero(from*BlockSize, end-from*BlockSize); err != nil {
			return err
		}
	}
	t.at = index + 1
	return nil
}

// store implements pipeline.store.
func (t *target) store(b *block) error {
	offset, data := b.index*BlockSize, b.data
	for len(data) > 0 {
		n := zeroPrefix(data)
		if n > 0 && !t.zeroed {
			if err := t.zero(offset, int64(n)); err != nil {
				return err
			}
		}
		offset, data = offset+int64(n), data[n:]
		n = dataPrefix(data)
		if err := t.writeAt(data[:n], offset); err != nil {
			return err
		}
		offset, data = offset+int64(n), data[n:]
	}
	return nil
}

func (t *target) writeAt(p []byte, offset int64) error {
	if len(p) == 0 {
		return nil
	}
	if t.direct != nil && len(p)%pageSize == 0 {
		if n, err := t.direct.WriteAt(p, offset); err == nil && n == len(p) {
			return nil
		}
		// A file that refuses this one way of writing may still be written; any other error comes again.
	}
	if n, err := t.f.WriteAt(p, offset); err != nil {
		return fmt.Errorf("write %s at offset %d: %w", t.f.Name(), offset+int64(n), err)
	}
	return nil
}

// zero makes a range that begins at a page zero: by a hole, else in whatever way the device has, else by writing zeroes.
func (t *target) zero(offset, n int64) error {
	whole := n &^ (pageSize - 1)
	if t.endsAtSize && offset+n == t.size && n > whole {
		whole += pageSize // the file ends in this page, so all of it can become a hole
	}
	if whole > 0 {
		done, err := t.punch(offset, whole)
		if err != nil {
			return fmt.Errorf("zero %s at offset %d: %w", t.f.Name(), offset, err)
		}
		if done {
			offset, n = offset+whole, n-whole
		}
	}
	for end := offset + n; offset < end; offset += pageSize {
		if _, err := t.f.WriteAt(zeroPage[:min(pageSize, end-offset)], offset); err != nil {
			return fmt.Errorf("zero %s at offset %d: %w", t.f.Name(), offset, err)
		}
	}
	return nil
}

// punch zeroes whole pages without writing them; done is false where neither way of doing so exists.
func (t *target) punch(offset, n int64) (done bool, err error) {
	for _, mode := range []uint32{unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE} {
		err := unix.Fallocate(int(t.f.Fd()), mode|unix.FALLOC_FL_KEEP_SIZE, offset, n)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
			return false, err
		}
	}
	return false, nil
}
