package httpd

import (
	"context"
	"sync"
)

// talks are the handlers that have taken a connection over for a conversation. An http.Server neither knows of them nor
// waits for them.
type talks struct {
	mu     sync.Mutex // around the end: none begins after it
	ended  bool
	ending chan struct{}
	inside sync.WaitGroup
}

func newTalks() *talks { return &talks{ending: make(chan struct{})} }

// begin enters a conversation, whose ctx ends with the server, unless that has ended already.
func (t *talks) begin(ctx context.Context) (_ context.Context, done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return ctx, nil, false
	}
	t.inside.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-t.ending:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(); watching.Wait(); t.inside.Done() }, true
}

// end lets none begin any more, and ends those that there are.
func (t *talks) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.ended = true
		close(t.ending)
	}
}

// wait returns when the last has ended, or ctx ends.
func (t *talks) wait(ctx context.Context) {
	empty := make(chan struct{})
	go func() { defer close(empty); t.inside.Wait() }()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}
