package replica

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/xenapi"
)

const (
	// interval lies between two writes of a database that changes all the time. A redo log has none.
	interval = 2 * time.Second
	// retryPause lies between two attempts to write where one has failed.
	retryPause = 10 * time.Second
	// awayFor is how long a VDI may be in use by others, or out of sight, before that is a failure: somebody reads it, the last
	// writer's host has died and may come back, the SR is unplugged to be forgotten.
	awayFor = 30 * time.Second
)

// Run keeps the replicas that this host writes up to date, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.watch(ctx) })
	group.Go(func() error { return s.keep(ctx) })
	return group.Wait()
}

// deciding are the classes that say which replicas there are, and which host writes them.
var deciding = []string{"VDI", "PBD", "pool", "host", "presence"}

// watch counts the changes that make a write.
func (s *Service) watch(ctx context.Context) error {
	state := s.db.State()
	for {
		next, err := s.db.Next(ctx, state)
		if err != nil {
			return err
		}
		changed, moved := s.matters(next, state)
		if changed {
			s.changes.Add(1)
		}
		if moved {
			s.moved.Store(true)
		}
		if moved || changed && s.writing.Load() {
			s.look()
		}
		state = next
	}
}

// matters tells a change from a row that was written as it was, and from what ends with the daemons; and whether it may have
// changed what this host writes.
func (s *Service) matters(next, last db.State) (changed, moved bool) {
	for c := range next.Since(last) {
		if !slices.Contains(s.options.Passing, c.Class.Name) && !reflect.DeepEqual(c.Before, c.After) {
			changed, moved = true, moved || slices.Contains(deciding, c.Class.Name)
		}
	}
	return changed || next.Gap(), moved || next.Gap()
}

// look has keep look what is to be done.
func (s *Service) look() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look
	}
}

// kept is a replica that this host writes, as keep remembers it.
type kept struct {
	kind    xenapi.VDIType
	written bool      // in this life
	upTo    uint64    // the changes that it holds then
	next    time.Time // when it may be written again
	broken  time.Time // since when it cannot be written; zero when it can
}

// keep writes what is due. What it remembers is of this daemon's life alone: the first write of each replica is at once.
func (s *Service) keep(ctx context.Context) error {
	known := map[vdiRef]*kept{}
	s.moved.Store(true)
	for {
		if s.moved.Swap(false) {
			s.settle(ctx)
			s.sort(known)
		}
		timer := time.NewTimer(s.round(ctx, known))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idle is how long keep waits when nothing is due and nothing changes.
const idle = time.Minute

// round writes the replicas that are due and says when to look again.
func (s *Service) round(ctx context.Context, known map[vdiRef]*kept) time.Duration {
	pause := idle
	for vdi, k := range known {
		if k.written && k.broken.IsZero() && k.upTo == s.changes.Load() {
			continue
		}
		if left := time.Until(k.next); left > 0 {
			pause = min(pause, left)
			continue
		}
		pause = min(pause, s.refresh(ctx, vdi, k))
	}
	return pause
}

// refresh writes one replica and says when it may be written again.
func (s *Service) refresh(ctx context.Context, vdi vdiRef, k *kept) (pause time.Duration) {
	upTo, err := s.write(ctx, vdi)
	now := time.Now()
	switch {
	case err == nil:
		k.written, k.upTo, k.broken = true, upTo, time.Time{}
		if k.kind != xenapi.VDITypeRedoLog {
			pause = interval
		}
	default:
		if pause = retryPause; used(err) {
			pause = usedPause
		}
		if k.broken.IsZero() {
			k.broken = now
		}
	}
	k.next = now.Add(pause)
	if ctx.Err() != nil || err != nil && now.Sub(k.broken) < patience(err) {
		return pause
	}
	if told := s.tell(ctx, vdi, err); told != nil && ctx.Err() == nil {
		s.log.Warn("whether the database is written into a VDI has no message", "vdi", vdi, "error", told)
	}
	return pause
}

// tell makes the message that a replica cannot be written, once, and the one that it can again.
func (s *Service) tell(ctx context.Context, vdi vdiRef, failure error) error {
	quiet := false
	_ = s.db.View(func(tx *db.Tx) error {
		rec, _ := db.Lookup(tx, vdi)
		quiet = message.Raised(tx, message.MetadataLUNBroken, rec.UUID) == (failure != nil)
		return nil
	})
	if quiet {
		return nil
	}
	if failure != nil {
		s.log.Warn("the database is not written into a VDI; it is tried again", "vdi", vdi, "error", failure)
	}
	return s.db.Update(ctx, func(tx *db.Tx) error {
		rec, ok := db.Lookup(tx, vdi)
		if !ok || !rec.MetadataLatest {
			return nil // that it is over is no failure
		}
		sr, _ := db.Lookup(tx, rec.SR)
		m := xenapi.Message{Name: message.MetadataLUNBroken, Priority: message.Warning, Cls: xenapi.MessageClassVDI, ObjUUID: rec.UUID}
		where := fmt.Sprintf("VDI %s on SR %s (%s)", rec.UUID, sr.UUID, sr.NameLabel)
		if failure != nil {
			m.Body = fmt.Sprintf("The pool's database cannot be written into %s: %s The copy that is there is older; it is tried again.", where, sentence(failure))
			return message.Raise(tx, m)
		}
		if err := message.Clear(tx, m.Name, m.ObjUUID); err != nil {
			return err
		}
		m.Name, m.Priority, m.Body = message.MetadataLUNHealthy, message.Notice, "The pool's database is written into "+where+" again."
		_, err := message.Post(tx, m)
		return err
	})
}

// sentence says for an administrator what went wrong.
func sentence(err error) string {
	if domain, ok := errors.AsType[*xenapi.Error](err); ok {
		return domain.Sentence()
	}
	return err.Error() + "."
}

// sort makes known the replicas that this host writes, and forgets those that it writes no more.
func (s *Service) sort(known map[vdiRef]*kept) {
	_ = s.db.View(func(tx *db.Tx) error {
		for vdi := range known {
			if rec, _ := db.Lookup(tx, vdi); !rec.MetadataLatest || !s.options.Writes(tx, rec.SR) {
				delete(known, vdi)
			}
		}
		for vdi, rec := range db.All[xenapi.VDI](tx) {
			if known[vdi] == nil && rec.MetadataLatest && s.options.Writes(tx, rec.SR) {
				known[vdi] = &kept{kind: rec.Type}
			}
		}
		return nil
	})
	s.writing.Store(len(known) > 0)
}

// patience is how long a failure lasts before it has a message. What is over at the next attempt has none.
func patience(err error) time.Duration {
	if used(err) || xenapi.CodeOf(err) == xenapi.CodeSRHasNoPBDs {
		return awayFor
	}
	return retryPause
}

// used tells a VDI that somebody else uses, or does something with.
func used(err error) bool {
	code := xenapi.CodeOf(err)
	return code == xenapi.CodeVDIInUse || code == xenapi.CodeOtherOperationInProgress
}

// settle says that there is no redo log where its VDI has gone, as with an SR that was forgotten.
func (s *Service) settle(ctx context.Context) {
	gone := false
	_ = s.db.View(func(tx *db.Tx) error { _, _, gone = logGone(tx); return nil })
	if !gone {
		return
	}
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		ref, pool, gone := logGone(tx)
		if !gone {
			return nil
		}
		pool.RedoLogEnabled, pool.RedoLogVDI = false, ""
		return db.Put(tx, ref, pool)
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("the pool's redo log has gone", "error", err)
	}
}

func logGone(tx *db.Tx) (xenapi.Ref[xenapi.Pool], xenapi.Pool, bool) {
	ref, pool := thePool(tx)
	_, there := db.Lookup(tx, pool.RedoLogVDI)
	return ref, pool, pool.RedoLogEnabled && !there
}
