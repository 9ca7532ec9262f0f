package pull

import (
	"context"
	"errors"
	"time"

	"poolpatch/internal/storage/image"
)

// supply is a source as one Get uses it. Its fields are the Get's to lock.
type supply struct {
	Source
	leave   context.CancelFunc // ends its workers
	set     *Set               // what it had when it was asked last; nil before
	banned  bool               // it has sent a block that is none of the image's
	failing int                // requests that have failed in a row
}

// watch asks a source again and again what it has.
func (g *get) watch(ctx context.Context, s *supply) {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	defer g.learn(s, NewSet(0), nil) // what it had counts no more
	for {
		asked, cancel := context.WithTimeout(ctx, readTimeout)
		set, err := s.Have(asked)
		cancel()
		g.learn(s, set, err)
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// learn takes in what a source says that it has. One that does not answer has nothing.
func (g *get) learn(s *supply, set *Set, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.said[s.Name()] = err.Error()
		set = NewSet(0)
	}
	if s.set != nil {
		g.plan.count(s.set, -1)
	}
	s.set = set.copy()
	g.plan.count(s.set, 1)
	g.wake()
}

// work fetches from a source what is missing, until nothing is or ctx ends.
func (g *get) work(ctx context.Context, s *supply) {
	var buf []byte
	for {
		r, changed, more := g.next(s)
		if !more {
			return
		}
		if r.n == 0 {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		if buf == nil {
			buf = image.Buffer(runBlocks * image.BlockSize)
		}
		if err := g.fetch(ctx, s, r, buf); err != nil && !g.backOff(ctx, s) {
			return
		}
	}
}

// next chooses what to fetch; a run of nothing says that something must change first.
func (g *get) next(s *supply) (r run, changed <-chan struct{}, more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.banned || g.plan.left() == 0 {
		return run{}, nil, false
	}
	if s.set != nil {
		r, _ = g.plan.take(s.set)
	}
	return r, g.changed, true
}

// fetch reads a run from a source, and writes what is good of it.
func (g *get) fetch(ctx context.Context, s *supply, r run, buf []byte) error {
	g.mu.Lock()
	first, length := g.plan.span(r)
	g.mu.Unlock()
	asked, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	p := buf[:length]
	err := s.Read(asked, first, p)
	for i := r.at; err == nil && i < r.at+r.n; i++ {
		n := g.share.blocks.Length(g.share.blocks.Index(i))
		if err = g.assembly.Put(g.share.blocks.Index(i), p[:n]); err == nil {
			g.landed(i, n)
		} else if !errors.Is(err, image.ErrCorrupt) {
			g.fail(err)
		}
		p = p[n:]
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plan.giveBack(r)
	if err == nil {
		s.failing = 0
		return nil
	}
	s.banned = s.banned || errors.Is(err, image.ErrCorrupt)
	g.said[s.Name()] = err.Error()
	g.wake()
	return err
}

// landed records that a block is written: others may have it.
func (g *get) landed(i int, n int64) {
	g.share.done.Add(g.share.blocks.Index(i))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plan.land(i)
	g.last = time.Now()
	if g.done += n; g.options.Progress != nil {
		g.options.Progress(g.done, g.total)
	}
	if g.plan.left() == 0 {
		close(g.all)
		g.wake()
	}
}

// backOff waits after a failure, longer each time, and reports whether the source is to be asked again.
func (g *get) backOff(ctx context.Context, s *supply) bool {
	g.mu.Lock()
	s.failing++
	pause := min(firstBackoff<<min(s.failing-1, 10), maxBackoff)
	banned := s.banned
	g.mu.Unlock()
	if banned || ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
