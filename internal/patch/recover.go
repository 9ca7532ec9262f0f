package patch

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/xenapi"
)

// EndInterrupted comes first in the recovery: it ends the programs that a dead daemon left running on
// this host, for they hold mounts and an interrupted patch must not go on; then it ends the tasks that
// ran them with an error that says what happened.
func (s *Service) EndInterrupted(ctx context.Context) error {
	if err := s.endPrograms(ctx); err != nil {
		return err
	}
	found, err := s.stamps.read(s.log)
	if err != nil {
		return err
	}
	var rows []xenapi.HostPatch
	_ = s.db.View(func(tx *db.Tx) error {
		for _, row := range db.Referrers[xenapi.HostPatch](tx, "host", s.host) {
			if rec, ok := db.Lookup(tx, row); ok && State(rec.State) == Running {
				rows = append(rows, rec)
			}
		}
		return nil
	})
	for _, rec := range rows {
		if err := s.endTask(ctx, rec, found); err != nil {
			return err
		}
	}
	return nil
}

// endTask tells whoever waits for the apply. With a stamp the patch is applied, and only the output of
// its program is lost.
func (s *Service) endTask(ctx context.Context, rec xenapi.HostPatch, found map[string]stamp) error {
	a := attempt{patch: rec.PoolPatch, output: "The daemon ended after the patch was applied; its output is in the log."}
	_ = s.db.View(func(tx *db.Tx) error {
		patch, _ := db.Lookup(tx, rec.PoolPatch)
		a.update = patch.Claims[rec.Task].Update
		return nil
	})
	if _, ok := found[s.uuidOf(rec.PoolPatch)]; ok {
		return s.tasks.Settle(ctx, rec.Task, s.encode(a.result()))
	}
	err := xenapi.ErrPatchApplyFailed(
		"interrupted: the daemon ended while the patch was applied, and the host may be half patched; apply it again to let its precheck decide")
	if !a.update.IsNull() {
		err = twins{a.update, a.patch}.translate(err)
	}
	return s.tasks.Fail(ctx, rec.Task, err)
}

// Recover drops the claims of dead tasks and makes the records follow the stamps. It runs after the
// tasks' own recovery, and every time: a clean start finds nothing to do.
func (s *Service) Recover(ctx context.Context) error {
	if err := s.update(ctx, forgetClaims); err != nil {
		return err
	}
	return s.Follow(ctx)
}

// Follow makes the records of this host follow its stamps: rows of patches that have one, none for those
// that lack one, and what was being applied by a task that is dead is settled. Rows of living tasks are
// left to them. It also runs after a patch was applied, which may have brought others with it.
func (s *Service) Follow(ctx context.Context) error {
	found, err := s.stamps.read(s.log)
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *db.Tx) error {
		if err := s.settle(tx, found); err != nil {
			return err
		}
		return s.adoptStamps(tx, found)
	})
}

// settle gives each row of this host the event that the stamps tell: found, missing, or a crash.
func (s *Service) settle(tx *db.Tx, found map[string]stamp) (err error) {
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "host", s.host) {
		rec, ok := db.Lookup(tx, row)
		if !ok || State(rec.State).Busy() && pending(tx, rec.Task) {
			continue
		}
		patch, known := db.Lookup(tx, rec.PoolPatch)
		if !known {
			// The patch's record is gone: a stamp, if there is one, makes both anew.
			if err := db.Delete(tx, row); err != nil {
				return err
			}
			continue
		}
		event := s.whatHappened(rec, found, patch.UUID)
		if event == Crash {
			s.log.Warn("a patch was interrupted by the end of the daemon", "patch", patch.UUID, "state", rec.State)
		}
		if event == StampFound && !rec.Applied {
			err = s.recordStamped(tx, row, found[patch.UUID])
		} else {
			err = change(tx, row, event, func(*xenapi.HostPatch) {})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) whatHappened(rec xenapi.HostPatch, found map[string]stamp, uuid string) Event {
	if _, ok := found[uuid]; ok {
		return StampFound
	}
	if State(rec.State).Busy() {
		return Crash
	}
	return StampMissing
}

// adoptStamps makes the records of stamps that the database does not know. A patch that is being applied
// at this moment keeps its row's state: its own protocol records it.
func (s *Service) adoptStamps(tx *db.Tx, found map[string]stamp) error {
	for uuid, st := range found {
		ref, err := db.ByUUID[xenapi.PoolPatch](tx, uuid)
		if err != nil {
			if ref, err = insertFromStamp(tx, st); err != nil {
				return err
			}
		}
		row, rec := s.hostPatch(tx, ref)
		if State(rec.State).Busy() || rec.Applied {
			continue
		}
		if row.IsNull() {
			if row, err = s.insertHostPatch(tx, ref); err != nil {
				return err
			}
		}
		if err := s.recordStamped(tx, row, st); err != nil {
			return err
		}
	}
	return nil
}

// recordStamped is what one transaction says of an apply that only its stamp tells of.
func (s *Service) recordStamped(tx *db.Tx, row xenapi.Ref[xenapi.HostPatch], st stamp) error {
	if err := change(tx, row, StampFound, func(rec *xenapi.HostPatch) { rec.TimestampApplied = st.applied }); err != nil {
		return err
	}
	return s.ask(tx, row, s.unfollowed(st))
}

func insertFromStamp(tx *db.Tx, st stamp) (xenapi.Ref[xenapi.PoolPatch], error) {
	rec := xenapi.New[xenapi.PoolPatch]()
	rec.UUID, rec.NameLabel, rec.NameDescription = st.info.UUID, st.info.NameLabel, st.info.NameDescription
	rec.Version, rec.AfterApplyGuidance = st.info.Version, st.info.AfterApplyGuidance
	ref := xenapi.NewRef[xenapi.PoolPatch]()
	return ref, db.Insert(tx, ref, rec)
}
