package image

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Clone makes dst share all blocks of src, in constant time: afterwards both have the same content and size, and a
// write to one does not show in the other. It is on stable storage when Clone returns. Errors:
// errors.ErrUnsupported where the file system cannot, or the two files are not on the same one; then dst has the size of
// src and any content.
func Clone(dst, src *os.File) error {
	info, err := src.Stat()
	if err != nil {
		return fmt.Errorf("clone %s: %w", src.Name(), err)
	}
	// Before: only a destination that ends where the source ends can share a last block that is not whole.
	if err := dst.Truncate(info.Size()); err != nil {
		return fmt.Errorf("truncate %s: %w", dst.Name(), err)
	}
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		if cannotClone(err) {
			err = errors.Join(err, errors.ErrUnsupported)
		}
		return fmt.Errorf("clone %s to %s: %w", src.Name(), dst.Name(), err)
	}
	if err := dst.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dst.Name(), err)
	}
	return nil
}

func cannotClone(err error) bool {
	for _, no := range []error{unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.ENOSYS, unix.ETXTBSY} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// reflink is the short way of Copy; shared false without an error means that there is none. A
// destination that is a device or is longer than size, which it must stay, has none.
func reflink(dst, src *os.File, size int64) (shared bool, err error) {
	before, err := length(dst)
	if err != nil {
		return false, fmt.Errorf("size of %s: %w", dst.Name(), err)
	}
	info, err := dst.Stat()
	if err != nil {
		return false, fmt.Errorf("size of %s: %w", dst.Name(), err)
	}
	if n, err := length(src); err != nil || n != size || before > size || !info.Mode().IsRegular() {
		return false, nil // the long way has the words for what is wrong
	}
	if err := Clone(dst, src); err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

// CanClone reports whether files in dir can share blocks. It tries with two files without a name, which are gone
// when it returns, or if the process is killed.
func CanClone(dir string) bool {
	src, err := nameless(dir)
	if err != nil {
		return false
	}
	defer src.Close()
	dst, err := nameless(dir)
	if err != nil {
		return false
	}
	defer dst.Close()
	if _, err := src.Write(zeroPage[:]); err != nil {
		return false
	}
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
}

// nameless opens a file that has no name; where the file system has no such thing, one whose name is removed at once.
func nameless(dir string) (*os.File, error) {
	if f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(dir, ".canclone-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
