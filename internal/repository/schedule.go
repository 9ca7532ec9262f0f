package repository

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

const (
	// firstPause and longestPause lie between a sync that failed and the next attempt.
	firstPause   = time.Minute
	longestPause = 6 * time.Hour
	// lookInterval bounds the wait for a time: the clock may have been set meanwhile.
	lookInterval = time.Hour
)

// SyncWhenDue syncs by itself while this host is the coordinator, one time after another, until ctx ends. What fails has a
// message, one until a sync succeeds, and is tried again after pauses that grow.
func (s *Service) SyncWhenDue(ctx context.Context) error {
	failed, earliest := 0, time.Time{}
	for {
		at, err := s.awaitDue(ctx, earliest)
		if err != nil {
			return err
		}
		err = s.syncDue(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			failed, earliest = 0, time.Time{}
			continue
		case errors.Is(err, errNotCoordinator):
			continue
		}
		earliest = time.Now().Add(pauseAfter(failed))
		failed++
		if err := s.tell(ctx, err); err != nil && ctx.Err() == nil {
			s.log.Warn("message of a sync that failed", "error", err)
		}
		s.log.Warn("patches were not fetched from the repositories", "due", at, "again", earliest, "error", err)
	}
}

// syncDue is the sync that has become due.
func (s *Service) syncDue(ctx context.Context) error {
	_, err := s.tasks.Do(ctx, task.Spec{Label: "sync updates"}, func(ctx context.Context, t *task.Task) (any, error) {
		return s.Sync(ctx, t, false)
	})
	return err
}

// pauseAfter is the pause after a number of failures before.
func pauseAfter(failed int) time.Duration {
	return min(firstPause<<min(failed, 16), longestPause)
}

// awaitDue returns when a sync is due, and it is earliest at least. It drops the marks of syncs that ended with their host.
func (s *Service) awaitDue(ctx context.Context, earliest time.Time) (at time.Time, err error) {
	for {
		dead := false
		if err := s.db.Wait(ctx, func(tx *db.Tx) (bool, error) {
			at, dead = s.due(tx), s.marksAreDead(tx)
			return dead || !at.IsZero(), nil
		}); err != nil {
			return at, err
		}
		wait := max(time.Until(at), time.Until(earliest))
		if dead {
			wait = s.settleMarks(ctx)
		} else if wait <= 0 {
			return at, nil
		}
		if err := s.pause(ctx, min(wait, lookInterval), func(tx *db.Tx) bool {
			return !dead && (!s.due(tx).Equal(at) || s.marksAreDead(tx))
		}); err != nil {
			return at, err
		}
	}
}

// settleMarks drops the marks of syncs that have ended, and gives how long to wait where the database does not take that now.
func (s *Service) settleMarks(ctx context.Context) time.Duration {
	err := s.db.Update(ctx, s.dropDeadMarks)
	if err == nil || ctx.Err() != nil {
		return 0
	}
	s.log.Warn("marks of syncs that have ended not removed", "error", err)
	return firstPause
}

// pause waits for a time, or until something is so.
func (s *Service) pause(ctx context.Context, d time.Duration, until func(*db.Tx) bool) error {
	look, stop := context.WithTimeout(ctx, d)
	defer stop()
	err := s.db.Wait(look, func(tx *db.Tx) (bool, error) { return until(tx), nil })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if look.Err() != nil {
		return nil
	}
	return err
}

func (s *Service) marksAreDead(tx *db.Tx) bool {
	_, pool, ok := thePool(tx)
	return ok && s.Coordinating(tx) && dropDead(tx, pool.CurrentOperations)
}

// due is when the pool is to sync next; zero where it does not by itself, or another host does.
func (s *Service) due(tx *db.Tx) time.Time {
	_, pool, ok := thePool(tx)
	if !ok || !pool.UpdateSyncEnabled || !s.Coordinating(tx) || len(enabled(tx, pool)) == 0 {
		return time.Time{}
	}
	return next(pool, s.Location)
}

// next is the first time after the last sync that a pool's schedule names: a moment of the day that differs from pool to pool, so
// that not all of them come at once. A pool that has not synced yet is to do so at once.
func next(pool xenapi.Pool, in *time.Location) time.Time {
	last := pool.LastUpdateSync.In(in)
	if last.Unix() <= 0 {
		return time.Unix(0, 0)
	}
	for i := 0; ; i++ {
		at := time.Date(last.Year(), last.Month(), last.Day()+i, 0, 0, 0, 0, in).Add(moment(pool.UUID))
		onDay := pool.UpdateSyncFrequency == xenapi.UpdateSyncFrequencyDaily || int64(last.Weekday()+time.Weekday(i))%7 == pool.UpdateSyncDay
		if onDay && at.After(last) {
			return at
		}
	}
}

// moment is a time of the day that a pool's UUID chooses.
func moment(uuid string) time.Duration {
	sum := sha256.Sum256([]byte(uuid))
	return time.Duration(binary.BigEndian.Uint32(sum[:])%(24*60*60)) * time.Second
}

// tell makes the message of a sync that failed. That somebody else syncs, or has cancelled it, is no failure.
func (s *Service) tell(ctx context.Context, why error) error {
	domain, ok := errors.AsType[*xenapi.Error](why)
	if !ok || domain.Code == xenapi.CodeSyncUpdatesInProgress || domain.Code == xenapi.CodeTaskCancelled {
		return nil
	}
	return s.db.Update(ctx, func(tx *db.Tx) error {
		_, pool, known := thePool(tx)
		if !known || !s.Coordinating(tx) {
			return nil
		}
		return message.Raise(tx, xenapi.Message{
			Name: message.UpdateSyncFailed, Priority: message.Warning, Cls: xenapi.MessageClassPool, ObjUUID: pool.UUID,
			Body: fmt.Sprintf("Patches were not fetched from the pool's repositories: %v. It is tried again.", xenapi.NewError(domain.Code, domain.Params...)),
		})
	})
}
