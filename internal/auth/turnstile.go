package auth

import (
	"context"
	"slices"
	"sync"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// MaxThreads is the most password checks that a pool may have a host run at once: each takes 19 MiB of memory.
const MaxThreads = 64

// mostHashing is how many passwords may be checked at once on this host, which bounds the memory of logins.
func (s *Service) mostHashing() (most int) {
	_ = s.db.View(func(tx *db.Tx) error {
		for _, rec := range db.All[xenapi.Pool](tx) {
			most = int(min(rec.LocalAuthMaxThreads, MaxThreads))
		}
		return nil
	})
	return max(most, 1)
}

// turnstile lets some in at a time, in the order in which they came. How many is asked each time: it may change.
type turnstile struct {
	mu      sync.Mutex
	inside  int
	waiting []chan struct{} // each is closed when its turn has come
}

// enter waits for its turn, or for the end of ctx. Who has entered leaves.
func (t *turnstile) enter(ctx context.Context, most func() int) error {
	turn := make(chan struct{})
	t.mu.Lock()
	t.waiting = append(t.waiting, turn)
	t.admit(most())
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		if i := slices.Index(t.waiting, turn); i >= 0 {
			t.waiting = slices.Delete(t.waiting, i, i+1)
		} else {
			t.inside-- // its turn had come at this moment
			t.admit(most())
		}
		return context.Cause(ctx)
	}
}

func (t *turnstile) leave(most func() int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside--
	t.admit(most())
}

// admit lets in as many as may be inside.
func (t *turnstile) admit(most int) {
	for t.inside < most && len(t.waiting) > 0 {
		t.inside++
		close(t.waiting[0])
		t.waiting = t.waiting[1:]
	}
}
