package db

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"
)

const (
	// commitDeadline bounds one request to the store.
	commitDeadline = 10 * time.Second
	// resolveDeadline bounds finding out what became of a commit whose reply was lost.
	resolveDeadline = 10 * time.Second
	// resolvePause lies between two attempts at that.
	resolvePause = 200 * time.Millisecond
	// catchUpDeadline bounds the wait until the cache shows what the store has done already.
	catchUpDeadline = 10 * time.Second
	// maxAttempts bounds how often an update runs its function.
	maxAttempts = 100
	// maxPause bounds the pause after each of the later attempts, a random part of it.
	maxPause = 5 * time.Millisecond
	// patience is the number of attempts without a pause.
	patience = 5
)

var (
	// ErrUnknownOutcome says that the store did not tell whether a commit landed, nor could be asked. If
	// it landed, the cache shows it once the store is back. The caller must look, not repeat.
	ErrUnknownOutcome = errors.New("it is not known whether the commit landed")
	// ErrBehind says that the commit landed, but that the cache does not show it yet.
	ErrBehind = errors.New("committed, but the cache has not caught up")
	// ErrContention says that an update met conflicts until its attempts were used up. Nothing changed.
	ErrContention = errors.New("too many conflicting updates")

	// ErrUnavailable says that the store takes no commits now, as when too few of those who keep it are there. Nothing
	// changed.
	ErrUnavailable = errors.New("the database takes no changes now")

	// errStale says that a transaction read what is no longer so.
	errStale = errors.New("transaction is stale")
)

// View shows fn one state of the database. It does no input or output, waits for nobody and makes nobody
// wait, so fn may take its time. It returns fn's error.
func (d *DB) View(fn func(*Tx) error) error { return fn(view(d.current.Load())) }

// Wait shows fn the state now, and again after changes, until fn is done or fails. Changes that come while
// fn runs are shown together. It ends with ctx's error, or ErrClosed; after the end of ctx fn is not asked at all, so that
// a loop around Wait ends too.
func (d *DB) Wait(ctx context.Context, fn func(*Tx) (done bool, err error)) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s := d.current.Load()
		if done, err := fn(view(s)); done || err != nil {
			return err
		}
		if err := d.later(ctx, s); err != nil {
			return err
		}
	}
}

// Update runs fn and commits what it wrote, if all that it read is still so in the store; else it runs fn
// again on the state that is. So fn must do nothing besides, or be able to do it again. The updates that
// commit have the effect of running one after another. An fn that returns an error or writes nothing has
// seen one state of the store too, but perhaps not the latest one of another host: see Sync.
//
// A nil error says that the commit is durable and that every later View shows it. fn's own error, or a
// conflict to the end (ErrContention), changes nothing, and so does every other error but two:
// ErrUnknownOutcome (the store was lost at the wrong moment and did not come back in time) and ErrBehind
// (it is committed). Once a commit is sent, ctx's end does not cut it short. An fn that writes nothing
// commits nothing.
//
// fn is never repeated after an outcome that was in doubt, even when the doubt is resolved.
func (d *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	return d.retry(ctx, func() error {
		tx := begin(d.current.Load())
		if err := fn(tx); err != nil || len(tx.writes) == 0 {
			return err
		}
		return d.commit(ctx, tx)
	})
}

// Sync returns when the cache shows everything that was committed, by any host, before Sync was called. It
// costs a commit. A host that was called by another one syncs first if the call names what the caller has
// just made.
func (d *DB) Sync(ctx context.Context) error {
	return d.retry(ctx, func() error { return d.commit(ctx, begin(d.current.Load())) })
}

// Grant makes a lease for PutUnder; see [Store].
func (d *DB) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	lease, err := d.store.Grant(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	return lease, nil
}

// retry attempts something until it ends without a conflict.
func (d *DB) retry(ctx context.Context, attempt func() error) error {
	for n := range maxAttempts {
		if err := attempt(); !errors.Is(err, errStale) {
			return err
		}
		if n < patience {
			continue
		}
		if err := pause(ctx, mrand.N(maxPause)); err != nil {
			return err
		}
	}
	return fmt.Errorf("update after %d attempts: %w", maxAttempts, ErrContention)
}

// commit makes tx durable. After errStale the cache shows what the transaction did not know.
//
// One commit of a process is in flight at a time, and each is guarded by the one before it through the
// writer's key. That costs little (a commit takes less than a millisecond) and lets resolve settle the
// fate of a commit for good.
func (d *DB) commit(ctx context.Context, tx *Tx) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	if d.lost.Load() { // known without asking, which would take long
		return fmt.Errorf("commit: %w: %w", ErrRefused, ErrUnavailable)
	}
	guards, known := tx.guards(), d.current.Load()
	if !known.holds(guards) {
		return errStale // seen without asking the store
	}
	last, _ := known.mods.get(d.writer)
	schema, _ := known.mods.get(schemaKey)
	guards = append(guards, Guard{d.writer, last}, Guard{schemaKey, schema})
	id := rand.Text()
	revision, err := d.send(ctx, guards, append(tx.ops(id), Op{Key: d.writer, Value: []byte(id)}))
	// A crash here leaves the whole commit or nothing of it; the next start reads which.
	switch {
	case errors.Is(err, ErrConflict):
		return d.await(ctx, func(s *snapshot) bool { return !s.holds(guards) }, errStale)
	case errors.Is(err, ErrRefused):
		return fmt.Errorf("commit: %w", err)
	case err != nil:
		return d.resolve(ctx, id, last, err)
	}
	return d.shown(ctx, revision)
}

// send gives the store a commit. A caller that goes away does not make its outcome unknown.
func (d *DB) send(ctx context.Context, guards []Guard, ops []Op) (int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitDeadline)
	defer cancel()
	return d.store.Commit(ctx, guards, ops)
}

// resolve finds out what became of the commit id, whose request failed with cause. The store may still be
// working on it, so that not to see it proves nothing. Therefore, unless it has landed, resolve writes the
// writer's key itself, under the same guard as the commit: only one of the two can land.
func (d *DB) resolve(ctx context.Context, id string, last int64, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resolveDeadline)
	defer cancel()
	fence := rand.Text()
	for {
		item, err := d.lastCommit(ctx)
		switch {
		case err != nil:
		case string(item.Value) == id:
			return d.shown(ctx, item.ModRevision)
		case string(item.Value) == fence:
			return fmt.Errorf("commit: %w: %w", ErrUnavailable, cause)
		case item.ModRevision != last:
			return fmt.Errorf("commit: %w: another process writes as %s: %w", ErrUnknownOutcome, d.writer, cause)
		default:
			// What became of this is seen in the next round.
			_, err = d.send(ctx, []Guard{{d.writer, last}}, []Op{{Key: d.writer, Value: []byte(fence)}})
		}
		if err == nil {
			continue
		}
		// A store that has been without its majority for so long that it says so is not waited for.
		if errors.Is(err, ErrUnavailable) || pause(ctx, resolvePause) != nil {
			return fmt.Errorf("commit: %w: %w", ErrUnknownOutcome, cause)
		}
	}
}

// lastCommit reads the writer's key; its zero value is an absent key.
func (d *DB) lastCommit(ctx context.Context) (Item, error) {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	items, _, err := d.store.Load(ctx, d.writer)
	for _, item := range items {
		if item.Key == d.writer {
			return item, err
		}
	}
	return Item{}, err
}

// shown waits until the cache shows a commit that has landed.
func (d *DB) shown(ctx context.Context, revision int64) error {
	err := d.await(ctx, func(s *snapshot) bool { return s.revision >= revision }, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBehind, err)
	}
	return nil
}

// await waits until the cache is as cond wants it, whatever becomes of ctx, and then returns then.
func (d *DB) await(ctx context.Context, cond func(*snapshot) bool, then error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), catchUpDeadline)
	defer cancel()
	for s := d.current.Load(); !cond(s); s = d.current.Load() {
		if err := d.later(ctx, s); err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
	}
	return then
}

// later returns when a later state than s is there.
func (d *DB) later(ctx context.Context, s *snapshot) error {
	select {
	case <-s.next:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.done:
		return d.cause
	}
}

func (d *DB) lock(ctx context.Context) error {
	select {
	case <-d.done: // also where it would be this commit's turn
		return d.cause
	default:
	}
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.done:
		return d.cause
	}
}

func (d *DB) unlock() { <-d.turn }
