package auth

import (
	"context"
	"sync"

	"poolpatch/xenapi"
)

// maxWaiting bounds those who wait at a gate: more are told to come back.
const maxWaiting = 200

// gate lets so many in at once, and the others wait. How many may change meanwhile.
type gate struct {
	mu              sync.Mutex
	inside, waiting int
	left            chan struct{} // closed when somebody leaves; nil where nobody waits
}

// enter waits until there is room, or ctx ends. Who is in leaves. Errors: TOO_BUSY.
func (g *gate) enter(ctx context.Context, most func() int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= most() && g.waiting >= maxWaiting {
		return xenapi.ErrTooBusy()
	}
	for g.inside >= most() {
		if err := g.wait(ctx); err != nil {
			return err
		}
	}
	g.inside++
	return nil
}

// wait lets go of the lock until somebody leaves.
func (g *gate) wait(ctx context.Context) error {
	if g.left == nil {
		g.left = make(chan struct{})
	}
	left := g.left
	g.waiting++
	g.mu.Unlock()
	defer func() { g.mu.Lock(); g.waiting-- }()
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.left != nil {
		close(g.left)
		g.left = nil
	}
}
