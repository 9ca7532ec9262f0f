package hotfix

import "hash"

const (
	readAhead  = 64 << 10  // of the packet reader
	bufferSize = 256 << 10 // of one step of the pass; fits into the cache of a core
	buffers    = 4         // in flight per hash, so memory does not depend on the patch's size
)

// background hashes buffers in a goroutine of its own, so that hashing goes beside reading and writing.
//
// The one caller takes a buffer, fills it, gives it to add, and may go on reading it until it takes the
// next one: a buffer comes back only through the queue, after it has been hashed.
type background struct {
	hashes     []hash.Hash
	full, free chan []byte
	done       chan struct{}
	stopped    bool
}

func newBackground(hashes ...hash.Hash) *background {
	b := &background{
		hashes: hashes,
		full:   make(chan []byte, buffers), free: make(chan []byte, buffers),
		done: make(chan struct{}),
	}
	for range buffers {
		b.free <- nil
	}
	go b.run()
	return b
}

func (b *background) run() {
	defer close(b.done)
	for p := range b.full {
		for _, h := range b.hashes {
			h.Write(p)
		}
		b.free <- p[:cap(p)]
	}
}

// buffer gives a buffer that nobody uses. Buffers are made when they are first needed.
func (b *background) buffer() []byte {
	p := <-b.free
	if p == nil {
		p = make([]byte, bufferSize)
	}
	return p
}

// add hashes a part of the buffer that was taken last, from its beginning.
func (b *background) add(p []byte) { b.full <- p }

// stop ends the goroutine when all that was added has been hashed. It may be called twice.
func (b *background) stop() {
	if !b.stopped {
		b.stopped = true
		close(b.full)
	}
	<-b.done
}

// sum gives the first hash's sum.
func (b *background) sum() []byte {
	b.stop()
	return b.hashes[0].Sum(nil)
}
