package patch

import (
	"context"
	"errors"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/rollout"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// driveDeadline bounds the wait for a change of the database, so that time itself is looked at too.
const driveDeadline = 10 * time.Second

var errNotCoordinator = errors.New("this host is not the coordinator any more")

// PoolApply applies the patch on every host that lacks it, as package rollout decides: every host's precheck first, before
// any change; then the canary, the coordinator, the others. It returns when that has ended, wherever the coordinator is
// by then. Errors: those of the first host that failed, with one parameter more for each that did; HOST_OFFLINE naming
// the hosts that are not there, before anything was changed; OTHER_OPERATION_IN_PROGRESS.
func (s *Service) PoolApply(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch]) error {
	return s.roll(ctx, t, ref, "")
}

// roll is PoolApply, of a patch that is called by its update where that is not null.
func (s *Service) roll(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PoolPatch], update xenapi.Ref[xenapi.PoolUpdate]) error {
	if err := s.db.Update(ctx, func(tx *db.Tx) error { return s.begin(tx, t, ref, update) }); err != nil {
		return err
	}
	// From here on the task belongs to whoever drives the rollout. This call only waits, until the daemon stops.
	t.Elsewhere()
	var row Rolling
	for {
		if err := s.drive(ctx, ref); err != nil {
			return err
		}
		if err := s.db.Wait(ctx, func(tx *db.Tx) (bool, error) {
			row, _ = db.Lookup(tx, rollingOf(ref))
			return row.Ended && !pending(tx, t.Ref()) || row.Task != t.Ref() || s.unattended(tx, row), nil
		}); err != nil {
			return err
		}
		if row.Ended || row.Task != t.Ref() {
			return s.howItEnded(row)
		}
	}
}

func (s *Service) howItEnded(row Rolling) error {
	r, err := rollout.Parse([]byte(row.Record))
	if err != nil {
		return err
	}
	return row.outcome(r)
}

// DriveRollouts goes on, as long as this host is the coordinator, with the rollouts that another one began. It returns when
// ctx ends and nothing is under way any more.
func (s *Service) DriveRollouts(ctx context.Context) error {
	defer s.driving.work.Wait()
	for {
		var found xenapi.Ref[xenapi.PoolPatch]
		if err := s.db.Wait(ctx, func(tx *db.Tx) (bool, error) {
			for _, row := range db.All[Rolling](tx) {
				if s.unattended(tx, row) && s.driving.begin(row.Patch) {
					found = row.Patch
					return true, nil
				}
			}
			return false, nil
		}); err != nil {
			return err
		}
		s.driving.work.Go(func() {
			defer s.driving.end(found)
			if err := s.carryOut(ctx, found); err != nil && ctx.Err() == nil {
				s.log.Error("rollout", "patch", found, "error", err)
				pause(ctx, driveDeadline)
			}
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// unattended tells a rollout that this host should drive and does not.
func (s *Service) unattended(tx *db.Tx, row Rolling) bool {
	return row.Record != "" && s.coordinating(tx) && !s.driving.has(row.Patch) && (!row.Ended || pending(tx, row.Task))
}

// drive is carryOut, unless it is under way here.
func (s *Service) drive(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch]) error {
	if !s.driving.begin(ref) {
		return nil
	}
	defer s.driving.end(ref)
	return s.carryOut(ctx, ref)
}

// carryOut drives a rollout until it has ended or this host is not the coordinator any more. What it knows is in the
// database alone, so it may stop anywhere, and another host goes on.
func (s *Service) carryOut(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch]) error {
	d := &driver{service: s, patch: ref, begun: map[xenapi.Ref[xenapi.Task]]bool{}}
	for {
		seen := s.db.Revision()
		done, err := d.turn(ctx)
		if errors.Is(err, errNotCoordinator) {
			return nil
		}
		if done || err != nil {
			return err
		}
		look, stop := context.WithTimeout(ctx, driveDeadline)
		err = s.db.Wait(look, func(*db.Tx) (bool, error) { return s.db.Revision() > seen, nil })
		stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}
