package pull

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"poolpatch/internal/storage/image"
)

const (
	// parallel is how many requests run at each source at once.
	parallel = 2
	// runBlocks is how many consecutive blocks one request asks for at most.
	runBlocks = 4
	// maxSources bounds how many sources are used at once, and with it the memory.
	maxSources = 8
	// MaxMemory is what one Get holds in buffers at most, in bytes. The list of blocks comes on top.
	MaxMemory = maxSources * parallel * runBlocks * image.BlockSize

	// lookInterval lies between two looks at what sources there are and what they have.
	lookInterval = time.Second
	// readTimeout bounds one request.
	readTimeout = time.Minute
	// firstBackoff and maxBackoff bound the pause after a failure of a source, which doubles each time.
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// NoProgress is how long a Get goes on without getting a block.
	NoProgress = 2 * time.Minute
)

// Source is a host that has an image, or a part of it.
type Source interface {
	// Name says who it is, and is the same as long as it is the same.
	Name() string
	// Have is the set of blocks that it can give now.
	Have(ctx context.Context) (*Set, error)
	// Read fills p with the consecutive blocks from first, which it has said to have.
	Read(ctx context.Context, first int64, p []byte) error
}

// Options of Get.
type Options struct {
	// Zeroed says that the destination reads as zeroes now.
	Zeroed bool
	// Progress, if it is not nil, is called with the bytes that have been written and those that there are, by one
	// goroutine at a time.
	Progress func(done, total int64)
}

// Incomplete says that an image could not be had.
type Incomplete struct {
	Missing int               // blocks
	First   int64             // offset of the first one, in bytes
	Said    map[string]string // by source: what it said last
}

// Error implements error.
func (e *Incomplete) Error() string {
	said := []string{"no host has them"}
	for name, text := range e.Said {
		said = append(said, name+": "+text)
	}
	if len(said) > 1 {
		said = said[1:]
	}
	return fmt.Sprintf("%d blocks of the image could not be had, the first one at offset %d (%s)", e.Missing, e.First, strings.Join(said, "; "))
}

// Get writes the image of a share's list into the share's file. The list must be that of the trusted digest. sources is
// asked again and again who there is; those that have nothing yet may come to have it. Blocks are on stable storage
// when it returns. Errors: *Incomplete; image.ErrCorrupt for a list that is not the digest's; what the system said when
// a block could not be written, such as syscall.ENOSPC.
func Get(ctx context.Context, digest image.Digest, share *Share, sources func() []Source, o Options) error {
	if share.blocks.Digest() != digest {
		return fmt.Errorf("list of blocks: %w", image.ErrCorrupt)
	}
	assembly, err := image.NewAssembly(share.file, share.blocks, o.Zeroed)
	if err != nil {
		return err
	}
	defer assembly.Close()
	working, stop := context.WithCancel(ctx)
	g := newGet(share, assembly, o, stop)
	var workers sync.WaitGroup
	g.follow(working, sources, &workers)
	stop()
	workers.Wait()
	if err := g.err(ctx); err != nil {
		return err
	}
	return assembly.Finish(ctx)
}

// get is the state of one Get.
type get struct {
	share    *Share
	assembly *image.Assembly
	options  Options
	stop     context.CancelFunc // ends the work early
	total    int64              // bytes of all blocks

	mu      sync.Mutex
	plan    *plan
	said    map[string]string
	done    int64 // bytes
	last    time.Time
	changed chan struct{} // closed and replaced when a worker may find work that it did not find before
	all     chan struct{} // closed when nothing is missing
	failure error
}

func newGet(share *Share, assembly *image.Assembly, o Options, stop context.CancelFunc) *get {
	g := &get{
		share: share, assembly: assembly, options: o, stop: stop, plan: newPlan(share.blocks),
		said: map[string]string{}, last: time.Now(), changed: make(chan struct{}), all: make(chan struct{}),
	}
	for i := range share.blocks.Len() {
		g.total += share.blocks.Length(share.blocks.Index(i))
	}
	if g.plan.left() == 0 {
		close(g.all)
	}
	return g
}

// follow gives every source its workers until nothing is missing, nothing comes any more, or ctx ends.
func (g *get) follow(ctx context.Context, sources func() []Source, workers *sync.WaitGroup) {
	known := map[string]*supply{}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		g.meet(ctx, sources(), known, workers)
		select {
		case <-g.all:
			return
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if g.stalled(known) {
			return
		}
	}
}

// meet begins with the sources that are new, and ends with those that are gone. One that has lied is never new again.
func (g *get) meet(ctx context.Context, found []Source, known map[string]*supply, workers *sync.WaitGroup) {
	there := map[string]bool{}
	for _, source := range found {
		there[source.Name()] = true
	}
	for name, s := range known {
		if !there[name] && !g.isBanned(s) {
			s.leave()
			delete(known, name)
		}
	}
	for _, source := range found {
		if known[source.Name()] == nil && len(known) < maxSources {
			s := &supply{Source: source}
			known[source.Name()] = s
			g.begin(ctx, s, workers)
		}
	}
}

func (g *get) begin(ctx context.Context, s *supply, workers *sync.WaitGroup) {
	ctx, s.leave = context.WithCancel(ctx)
	workers.Go(func() { g.watch(ctx, s) })
	for range parallel {
		workers.Go(func() { g.work(ctx, s) })
	}
}

func (g *get) isBanned(s *supply) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.banned
}

// stalled reports whether nothing has come for too long, or cannot come: every source there is has lied.
func (g *get) stalled(known map[string]*supply) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	useless := len(known) > 0
	for _, s := range known {
		useless = useless && s.banned
	}
	return useless || time.Since(g.last) > NoProgress
}

// err says why something is missing, or nil when nothing is.
func (g *get) err(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.failure != nil:
		return g.failure
	case g.plan.left() == 0:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &Incomplete{g.plan.left(), g.plan.first() * image.BlockSize, g.said}
}

// fail ends everything: what went wrong is not a source's fault.
func (g *get) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil {
		g.failure = err
	}
	g.stop()
}

// wake has the workers look again. The caller holds the lock.
func (g *get) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}
