package image

import (
	"context"
	"crypto/sha256"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
)

// slots is the number of blocks in flight: enough to keep every core hashing while others wait for a disk.
const slots = 12

// MaxMemory is what one call of this package holds in memory at most, in bytes; a list of [Blocks] comes on top.
const MaxMemory = 16 << 20

// block is a slot of the pipeline: it owns a buffer and carries one block of an image at a time.
type block struct {
	index int64
	data  []byte // the content, a prefix of buf
	buf   []byte // BlockSize bytes, aligned to pageSize, so that it can be read and written without a page cache
	zero  bool
	sum   [sha256.Size]byte
	done  chan struct{} // holds one token when the workers have finished with the block
}

// pipeline takes blocks in rising order from next, works on several of them at once, and folds the results in
// the order in which they came.
type pipeline struct {
	size   int64
	next   func(ctx context.Context, b *block) (more bool, err error) // in order; sets index and data
	load   func(b *block) error                                       // concurrently; nil when next fills the data
	store  func(b *block) error                                       // concurrently; nil when nothing is written
	known  Known                                                      // blocks that are neither loaded nor stored
	blocks *Blocks                                                    // nil when the caller wants none
	meter  *meter
}

// run returns when all that it started has ended. An error or the end of ctx stops it at the next block.
func (p *pipeline) run(ctx context.Context) (Digest, error) {
	group, ctx := errgroup.WithContext(ctx)
	free, work, ordered := newSlots(slots), make(chan *block, slots), make(chan *block, slots)

	group.Go(func() error {
		defer close(ordered)
		defer close(work)
		return p.produce(ctx, free, work, ordered)
	})
	for range workers() {
		group.Go(func() error {
			for b := range work {
				if err := p.process(ctx, b); err != nil {
					return err
				}
				b.done <- struct{}{}
			}
			return nil
		})
	}
	fold := newFolder(p.size)
	group.Go(func() error { return p.collect(ctx, fold, ordered, free) })
	if err := group.Wait(); err != nil {
		return Digest{}, err
	}
	p.meter.finish()
	return fold.digest(), nil
}

// workers is more than there are cores, because a worker waits for input and output too.
func workers() int { return min(2*runtime.GOMAXPROCS(0), slots-2) }

func newSlots(n int) chan *block {
	free := make(chan *block, n)
	memory := aligned(n * BlockSize)
	for i := range n {
		buf := memory[i*BlockSize : (i+1)*BlockSize : (i+1)*BlockSize]
		free <- &block{buf: buf, done: make(chan struct{}, 1)}
	}
	return free
}

// aligned makes n bytes that begin at a multiple of pageSize, as reading past the page cache wants them.
func aligned(n int) []byte {
	memory := make([]byte, n+pageSize)
	skew := int(uintptr(unsafe.Pointer(&memory[0])) % pageSize)
	return memory[(pageSize-skew)%pageSize:][:n]
}

func (p *pipeline) produce(ctx context.Context, free <-chan *block, work, ordered chan<- *block) error {
	for {
		var b *block
		select {
		case b = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		more, err := p.next(ctx, b)
		if err != nil || !more {
			return err
		}
		// Both channels hold every slot there is, so neither send waits.
		ordered <- b
		work <- b
	}
}

func (p *pipeline) process(ctx context.Context, b *block) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if sum, ok := p.known[b.index]; ok {
		b.sum, b.zero = sum, false
		return nil
	}
	if p.load != nil {
		if err := p.load(b); err != nil {
			return err
		}
	}
	if b.zero = isZero(b.data); !b.zero {
		b.sum = sha256.Sum256(b.data)
	}
	if p.store != nil {
		return p.store(b)
	}
	return nil
}

func (p *pipeline) collect(ctx context.Context, fold *folder, ordered <-chan *block, free chan<- *block) error {
	for b := range ordered {
		select {
		case <-b.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !b.zero {
			fold.add(b.index, b.sum)
			if p.blocks != nil {
				p.blocks.add(b.index, b.sum)
			}
		}
		p.meter.add(int64(len(b.data)))
		free <- b
	}
	return nil
}

// progressInterval is the shortest time between two calls of a Progress function, but for the last one.
const progressInterval = 100 * time.Millisecond

// meter tells a caller how many of the bytes that must be read have been dealt with. A nil meter tells nobody.
type meter struct {
	report      func(done, total int64)
	done, total int64
	last        time.Time
}

func (m *meter) add(n int64) {
	if m == nil {
		return
	}
	m.done += n
	if now := time.Now(); now.Sub(m.last) >= progressInterval {
		m.last = now
		m.report(m.done, m.total)
	}
}

func (m *meter) finish() {
	if m != nil {
		m.report(m.done, m.total)
	}
}
