package image

import (
	"context"
	"fmt"
	"os"
)

// Options says how [Copy] works.
type Options struct {
	// Size is the virtual size of the source, in bytes. The source must be at least that long.
	Size int64

	// DstZeroed says that the destination reads as zeroes now, so that nothing need be done where the source is
	// zero. Without it such ranges are zeroed, as holes where the destination can have them.
	DstZeroed bool

	// Reflink allows the two files to share their blocks, which takes no time. Nothing is read then, so there is no
	// digest: Copy returns the zero Digest, and who needs one calls [Sum]. Where sharing is impossible Copy copies.
	Reflink bool

	// Progress is called at most about ten times a second and once at the end, from one goroutine at a time. It
	// counts the bytes of the blocks that are allocated in the source.
	Progress func(done, total int64)

	// Blocks, when it is not nil, is filled with the sums of the blocks.
	Blocks *Blocks
}

func (o *Options) meter(ctx context.Context, src *os.File) (*meter, error) {
	if o.Progress == nil {
		return nil, nil
	}
	total, err := allocated(ctx, src, o.Size)
	return &meter{report: o.Progress, total: total}, err
}

// Copy makes the first Size bytes of dst equal to those of src and returns the digest of what it read. The zero
// Digest without an error means that the files share their blocks (see [Options].Reflink).
//
// A destination that is a file is extended to Size where it is shorter; what it has behind Size is left alone. The
// data is on stable storage when Copy returns. After an error or the end of ctx, which stops it within a
// block, the destination holds anything. Errors: io.ErrUnexpectedEOF for a source that is shorter than Size;
// what the system said otherwise, such as syscall.ENOSPC or syscall.EIO, with the offset.
func Copy(ctx context.Context, dst, src *os.File, o Options) (Digest, error) {
	if o.Reflink {
		if shared, err := reflink(dst, src, o.Size); shared || err != nil {
			return Digest{}, err
		}
	}
	s, err := openSource(src, o.Size)
	if err != nil {
		return Digest{}, err
	}
	defer s.close()
	t, err := openTarget(dst, o.Size, o.DstZeroed)
	if err != nil {
		return Digest{}, err
	}
	defer t.close()
	m, err := o.meter(ctx, src)
	if err != nil {
		return Digest{}, err
	}
	return move(ctx, s, t, o, m)
}

func move(ctx context.Context, s *source, t *target, o Options, m *meter) (Digest, error) {
	p := newPipeline(s, o.Blocks, m)
	p.next = func(ctx context.Context, b *block) (bool, error) {
		more, err := s.next(ctx, b)
		if err != nil || !more {
			return false, err
		}
		return true, t.skipTo(ctx, b.index)
	}
	p.store = t.store
	digest, err := p.run(ctx)
	if err != nil {
		return Digest{}, fmt.Errorf("copy image: %w", err)
	}
	if err := long(s.f, o.Size); err != nil { // a hole at the end may be a file that was cut meanwhile
		return Digest{}, fmt.Errorf("copy image: %w", err)
	}
	if err := t.finish(ctx); err != nil {
		return Digest{}, fmt.Errorf("copy image: %w", err)
	}
	return digest, nil
}

// Sum computes the digest of the first size bytes of f. Errors: io.ErrUnexpectedEOF for a file that is shorter;
// read errors with their offset. The offset of f is undefined afterwards.
func Sum(ctx context.Context, f *os.File, size int64) (Digest, error) {
	return SumKnown(ctx, f, size, nil)
}

// SumKnown is [Sum] that does not read the blocks whose sums are known.
func SumKnown(ctx context.Context, f *os.File, size int64, known Known) (Digest, error) {
	s, err := openSource(f, size)
	if err != nil {
		return Digest{}, err
	}
	defer s.close()
	p := newPipeline(s, nil, nil)
	p.known = known
	return sum(ctx, p, s)
}

// SumBlocks is [Sum] that also fills blocks with the sums of the blocks.
func SumBlocks(ctx context.Context, f *os.File, size int64, blocks *Blocks) (Digest, error) {
	s, err := openSource(f, size)
	if err != nil {
		return Digest{}, err
	}
	defer s.close()
	return sum(ctx, newPipeline(s, blocks, nil), s)
}

func sum(ctx context.Context, p *pipeline, s *source) (Digest, error) {
	digest, err := p.run(ctx)
	if err == nil {
		err = long(s.f, s.size) // a hole at the end may be a file that was cut meanwhile
	}
	if err != nil {
		return Digest{}, fmt.Errorf("digest image: %w", err)
	}
	return digest, nil
}

func newPipeline(s *source, blocks *Blocks, m *meter) *pipeline {
	if blocks != nil {
		blocks.reset(s.size)
	}
	return &pipeline{size: s.size, next: s.next, load: s.load, blocks: blocks, meter: m}
}
