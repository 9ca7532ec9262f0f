package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// source reads the allocated blocks of an image.
type source struct {
	*extents
	f      *os.File
	direct *os.File // the same file past the page cache; nil where that is not possible
}

// openSource prepares to read size bytes of f. An image is read once and is large: past the page cache it costs
// no memory of others, and the disk is asked for whole blocks by several workers at once.
func openSource(f *os.File, size int64) (*source, error) {
	if size < 0 {
		return nil, fmt.Errorf("read %s: size %d: %w", f.Name(), size, os.ErrInvalid)
	}
	if err := long(f, size); err != nil {
		return nil, err
	}
	return &source{f: f, extents: &extents{f: f, size: size}, direct: reopenDirect(f, os.O_RDONLY)}, nil
}

// reopenDirect opens the same file once more, past the page cache, or returns nil where the file cannot.
func reopenDirect(f *os.File, flag int) *os.File {
	d, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flag|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return d
}

// cached reports whether the range is mostly in the page cache, where reading it costs the disk nothing. A kernel before
// 6.5 cannot tell, and then it is taken not to be.
func cached(f *os.File, offset int64, n int) bool {
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(offset), Len: uint64(n)}, &stat, 0)
	return err == nil && stat.Cache > uint64(n/pageSize/2)
}

func (s *source) close() {
	if s.direct != nil {
		s.direct.Close()
	}
}

// next implements pipeline.next.
func (s *source) next(_ context.Context, b *block) (bool, error) {
	index, ok, err := s.extents.next()
	if err != nil || !ok {
		return false, err
	}
	b.index, b.data = index, b.buf[:blockLen(index, s.size)]
	return true, nil
}

// load implements pipeline.load.
func (s *source) load(b *block) error { return s.readAt(b.data, b.index*BlockSize) }

func (s *source) readAt(p []byte, offset int64) error {
	if s.direct != nil && len(p)%pageSize == 0 && !cached(s.f, offset, len(p)) {
		if n, err := s.direct.ReadAt(p, offset); err == nil && n == len(p) {
			return nil
		}
		// A file that refuses this one way of reading may still be read; an error of the disk comes again.
	}
	n, err := s.f.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s at offset %d: %w", s.f.Name(), offset+int64(n), err)
}
