package image

import (
	"io"
	"os"
	"sync"
)

// readerSlots is the number of blocks that a Reader reads ahead.
const readerSlots = 4

// Reader reads a file from its beginning to its end, past the page cache where that is possible, a few blocks ahead. It
// is for one goroutine.
type Reader struct {
	s      *source
	ring   []*fetched
	head   int    // of ring: the block that is read, or comes next
	rest   []byte // of that block
	next   int64  // the block to be fetched next
	err    error  // the end, once it was reached
	flying sync.WaitGroup
}

// fetched is a block with what came of reading it.
type fetched struct {
	*block
	err error
}

// NewReader reads as much of f as there is now. Close closes f too.
func NewReader(f *os.File) (*Reader, error) {
	size, err := length(f)
	if err != nil {
		return nil, err
	}
	s, err := openSource(f, size)
	if err != nil {
		return nil, err
	}
	r := &Reader{s: s}
	free := newSlots(readerSlots)
	for range readerSlots {
		b := &fetched{block: <-free}
		r.ring = append(r.ring, b)
		r.fetch(b)
	}
	return r, nil
}

// fetch starts to read the next block into b.
func (r *Reader) fetch(b *fetched) {
	b.index, b.data = r.next, b.buf[:max(0, blockLen(r.next, r.s.size))]
	r.next++
	r.flying.Go(func() {
		if len(b.data) > 0 {
			b.err = r.s.load(b.block)
		}
		b.done <- struct{}{}
	})
}

// Read implements [io.Reader]. Errors say at which offset the file could not be read.
func (r *Reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		r.fetch(r.ring[r.head])
		r.head = (r.head + 1) % readerSlots
	}
	return n, nil
}

// advance waits for the next block. The one that ends the file is not given back, so nothing is fetched behind it.
func (r *Reader) advance() error {
	if r.err != nil {
		return r.err
	}
	b := r.ring[r.head]
	<-b.done
	if r.rest, r.err = b.data, b.err; r.err == nil && len(b.data) == 0 {
		r.err = io.EOF
	}
	if r.err != nil {
		r.rest = nil
	}
	return r.err
}

// Close closes the file when nothing of it is being read any more.
func (r *Reader) Close() error {
	r.flying.Wait()
	r.s.close()
	return r.s.f.Close()
}
