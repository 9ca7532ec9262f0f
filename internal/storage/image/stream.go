package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"poolpatch/xenapi"
)

// ReadFrom writes a raw stream into dst, an image of size bytes, and returns the digest of the whole image. Zeroes
// in the stream, and what a stream that is shorter than the image leaves, become holes where dst can have them.
// The data is on stable storage when ReadFrom returns.
//
// The end of ctx stops it at the next block; a Read of r that waits is not interrupted, which is for the owner of r to
// do. Errors: VDI_IO_ERROR when the stream is longer than the image, and then size bytes of it are written; errors of r
// as they are; otherwise as [Copy].
func ReadFrom(ctx context.Context, dst *os.File, r io.Reader, size int64) (Digest, error) {
	t, err := openTarget(dst, size, false)
	if err != nil {
		return Digest{}, err
	}
	defer t.close()
	in := &stream{r: r, size: size}
	p := &pipeline{size: size, store: t.store, next: func(ctx context.Context, b *block) (bool, error) {
		more, err := in.next(b)
		if err != nil || !more {
			return false, err
		}
		return true, t.skipTo(ctx, b.index)
	}}
	digest, err := p.run(ctx)
	if err == nil {
		err = t.finish(ctx)
	}
	if err != nil {
		return Digest{}, fmt.Errorf("import image: %w", err)
	}
	return digest, nil
}

// stream cuts a reader into blocks.
type stream struct {
	r     io.Reader
	size  int64
	index int64
	ended bool
}

func (s *stream) next(b *block) (more bool, err error) {
	if s.ended {
		return false, nil
	}
	n := blockLen(s.index, s.size)
	if n == 0 {
		return false, s.expectEnd()
	}
	read, err := io.ReadFull(s.r, b.buf[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.ended = true
	} else if err != nil {
		return false, fmt.Errorf("read stream at offset %d: %w", s.index*BlockSize+int64(read), err)
	}
	if read == 0 {
		return false, nil
	}
	clear(b.buf[read:n])
	b.index, b.data = s.index, b.buf[:n]
	s.index++
	return true, nil
}

// expectEnd is nil when the stream has no byte more.
func (s *stream) expectEnd() error {
	var one [1]byte
	n, err := io.ReadFull(s.r, one[:])
	switch {
	case n > 0:
		return xenapi.ErrVDIIOError(fmt.Sprintf("the stream is longer than the image of %d bytes", s.size))
	case errors.Is(err, io.EOF):
		return nil
	}
	return fmt.Errorf("read stream at offset %d: %w", s.size, err)
}

// WriteTo writes n bytes of src from offset to w. Holes cost no reading. The end of ctx stops it at the next block; a Write
// that waits is not interrupted. Errors: io.ErrUnexpectedEOF when src is too short; errors of w as they are.
func WriteTo(ctx context.Context, w io.Writer, src *os.File, offset, n int64) error {
	if offset < 0 || n < 0 {
		return fmt.Errorf("export image: offset %d, length %d: %w", offset, n, os.ErrInvalid)
	}
	s, err := openSource(src, offset+n)
	if err != nil {
		return fmt.Errorf("export image: %w", err)
	}
	defer s.close()
	if err := export(ctx, w, s, offset); err != nil {
		return fmt.Errorf("export image: %w", err)
	}
	return nil
}

// export sends everything of s from offset. What lies before the first block of offset is never looked at.
func export(ctx context.Context, w io.Writer, s *source, offset int64) error {
	s.at = offset / BlockSize
	buf, zeroes := aligned(BlockSize), make([]byte, 64<<10)
	for offset < s.size {
		index, ok, err := s.extents.next()
		if err != nil {
			return err
		}
		if !ok {
			index = blockCount(s.size)
		}
		if err := writeZeroes(ctx, w, zeroes, min(index*BlockSize, s.size)-offset); err != nil {
			return err
		}
		offset = max(offset, min(index*BlockSize, s.size))
		if !ok {
			break
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		data := buf[:blockLen(index, s.size)]
		if err := s.readAt(data, index*BlockSize); err != nil {
			return err
		}
		if _, err := w.Write(data[offset-index*BlockSize:]); err != nil {
			return err
		}
		offset = index*BlockSize + int64(len(data))
	}
	return long(s.f, s.size)
}

func writeZeroes(ctx context.Context, w io.Writer, zeroes []byte, n int64) error {
	for n > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		step := min(n, int64(len(zeroes)))
		if _, err := w.Write(zeroes[:step]); err != nil {
			return err
		}
		n -= step
	}
	return nil
}
