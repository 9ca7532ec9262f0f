package repository

import (
	"context"
	"fmt"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// ApplyUpdates applies on this host what the repositories list and the host has not, in their order, and gives what the
// host is asked to do afterwards, each as a set of one word. The hash is the one that the last sync gave. It stops at the first
// patch that fails. Errors: UPDATEINFO_HASH_MISMATCH, UPDATES_REQUIRE_SYNC, OTHER_OPERATION_IN_PROGRESS, those of
// pool_patch.apply, and PATCH_APPLY_FAILED for a patch that was interrupted here before.
func (s *Service) ApplyUpdates(ctx context.Context, t *task.Task, host hostRef, hash string) ([][]string, error) {
	var uuids []string
	if err := s.db.Update(ctx, func(tx *db.Tx) (err error) { uuids, err = s.beginUpdates(tx, t, host, hash); return err }); err != nil {
		return nil, err
	}
	// A crash from here on leaves the mark of a task that has ended, and of the patch that was being applied what an apply
	// leaves: the next start settles both.
	defer func() { s.unmark(ctx, func(tx *db.Tx) error { return unmarkHost(tx, host, t.Ref()) }) }()
	applied := 0
	for i, uuid := range uuids {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		did, err := s.apply(ctx, t, host, uuid)
		if err != nil {
			return nil, err
		}
		if did {
			applied++
		}
		t.Progress(ctx, float64(i+1)/float64(len(uuids)))
	}
	if applied == 0 {
		return [][]string{}, nil
	}
	return s.asked(host)
}

// beginUpdates marks the host, and lists what it lacks.
func (s *Service) beginUpdates(tx *db.Tx, t *task.Task, host hostRef, hash string) ([]string, error) {
	rec, err := db.Get(tx, host)
	if err != nil {
		return nil, err
	}
	if host != s.host {
		return nil, xenapi.ErrHostOffline(host)
	}
	_, pool, _ := thePool(tx)
	repos := enabled(tx, pool)
	if len(repos) == 0 {
		return nil, xenapi.ErrNoRepositoryEnabled()
	}
	switch now := hashOf(repos); {
	case now == "":
		return nil, xenapi.ErrUpdatesRequireSync()
	case now != hash:
		return nil, xenapi.ErrUpdateinfoHashMismatch()
	}
	dropDead(tx, rec.CurrentOperations)
	for _, op := range rec.CurrentOperations {
		return nil, xenapi.ErrOtherOperationInProgress("host", host.String(), string(op))
	}
	mark(&rec.CurrentOperations, t.Ref(), xenapi.HostAllowedOperationApplyUpdates)
	return lacking(tx, host, listed(repos)), db.Put(tx, host, rec)
}

func unmarkHost(tx *db.Tx, host hostRef, t taskRef) error {
	rec, ok := db.Lookup(tx, host)
	if _, marked := rec.CurrentOperations[t.String()]; !ok || !marked {
		return nil
	}
	delete(rec.CurrentOperations, t.String())
	return db.Put(tx, host, rec)
}

// apply applies one patch as a part of the task. One that another patch has brought with it meanwhile is done.
func (s *Service) apply(ctx context.Context, t *task.Task, host hostRef, uuid string) (did bool, err error) {
	var ref xenapi.Ref[xenapi.PoolPatch]
	if err := s.db.View(func(tx *db.Tx) (err error) {
		ref, err = db.ByUUID[xenapi.PoolPatch](tx, uuid)
		return err
	}); err != nil {
		return false, xenapi.ErrUpdatesRequireSync().Because(fmt.Errorf("patch %s: %w", uuid, err))
	}
	_, err = t.Part(ctx, "apply patch "+uuid, func(ctx context.Context, sub *task.Task) (any, error) {
		return s.patches.ApplyUnattended(ctx, sub, ref, host)
	})
	if xenapi.CodeOf(err) == xenapi.CodePatchAlreadyApplied {
		return false, nil
	}
	return err == nil, err
}

// asked is what is to be done on a host for its patches to be in effect.
func (s *Service) asked(host hostRef) ([][]string, error) {
	all := [][]string{}
	err := s.db.View(func(tx *db.Tx) error {
		rec, err := db.Get(tx, host)
		for _, guidance := range rec.PendingGuidances {
			all = append(all, []string{string(guidance)})
		}
		return err
	})
	return all, err
}

// appliedOn are the patches that a host has.
func appliedOn(tx *db.Tx, host hostRef) map[xenapi.Ref[xenapi.PoolPatch]]bool {
	all := map[xenapi.Ref[xenapi.PoolPatch]]bool{}
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "host", host) {
		if rec, ok := db.Lookup(tx, row); ok && rec.Applied {
			all[rec.PoolPatch] = true
		}
	}
	return all
}

// lacking are those of the patches that a host has not applied, in their order.
func lacking(tx *db.Tx, host hostRef, uuids []string) []string {
	has := appliedOn(tx, host)
	return slices.DeleteFunc(slices.Clone(uuids), func(uuid string) bool {
		ref, err := db.ByUUID[xenapi.PoolPatch](tx, uuid)
		return err == nil && has[ref]
	})
}

// everywhere reports whether every host of the pool has applied a patch.
func everywhere(tx *db.Tx, uuid string) bool {
	ref, err := db.ByUUID[xenapi.PoolPatch](tx, uuid)
	if err != nil {
		return false
	}
	has := map[hostRef]bool{}
	for _, row := range db.Referrers[xenapi.HostPatch](tx, "pool_patch", ref) {
		if rec, ok := db.Lookup(tx, row); ok && rec.Applied {
			has[rec.Host] = true
		}
	}
	for host := range db.All[xenapi.Host](tx) {
		if !has[host] {
			return false
		}
	}
	return true
}

// Standing says whether a host has all that the repositories listed when they were synced last. It follows from other rows,
// so it is not stored.
func Standing(tx *db.Tx, host hostRef) xenapi.LatestSyncedUpdatesAppliedState {
	_, pool, _ := thePool(tx)
	repos := enabled(tx, pool)
	switch {
	case hashOf(repos) == "":
		return xenapi.LatestSyncedUpdatesAppliedStateUnknown
	case len(lacking(tx, host, listed(repos))) > 0:
		return xenapi.LatestSyncedUpdatesAppliedStateNo
	}
	return xenapi.LatestSyncedUpdatesAppliedStateYes
}

// UpToDate reports whether every host has all that a repository listed when it was synced last. It is not stored either.
func UpToDate(tx *db.Tx, rec xenapi.Repository) bool {
	if rec.Hash == "" {
		return false
	}
	for host := range db.All[xenapi.Host](tx) {
		if len(lacking(tx, host, rec.Patches)) > 0 {
			return false
		}
	}
	return true
}

// Concerned lists the objects whose standing may have changed with a row of another class.
func Concerned(tx *db.Tx, c db.RowChange) []db.Object {
	switch rec := c.Record().(type) {
	case xenapi.HostPatch:
		return append(objects(tx, "Repository"), db.Object{Class: "host", Ref: string(rec.Host)})
	case xenapi.Host:
		if c.Before == nil || c.After == nil {
			return objects(tx, "Repository")
		}
	case xenapi.Repository, xenapi.Pool:
		if resynced(c) {
			return objects(tx, "host")
		}
	}
	return nil
}

func objects(tx *db.Tx, class string) (all []db.Object) {
	for _, ref := range tx.Refs(class) {
		all = append(all, db.Object{Class: class, Ref: ref})
	}
	return all
}

// resynced reports whether a change is of what the repositories list, or of which they are.
func resynced(c db.RowChange) bool {
	switch before := c.Before.(type) {
	case xenapi.Repository:
		after, ok := c.After.(xenapi.Repository)
		return ok && before.Hash != after.Hash
	case xenapi.Pool:
		after, ok := c.After.(xenapi.Pool)
		return ok && !slices.Equal(before.Repositories, after.Repositories)
	}
	return false
}

// Unready lists why the pool's hosts cannot be updated now: an error for each host that is not there or is disabled, and for
// each patch that was interrupted on one. Where a reboot is to follow, a host may be disabled: it must be.
func (s *Service) Unready(self poolRef, requiresReboot bool) ([][]string, error) {
	all := [][]string{}
	err := s.db.View(func(tx *db.Tx) error {
		if _, err := db.Get(tx, self); err != nil {
			return err
		}
		for ref, host := range db.All[xenapi.Host](tx) {
			switch {
			case !s.Alive(tx, ref):
				all = append(all, xenapi.ErrHostOffline(ref).Description())
			case !host.Enabled && !requiresReboot:
				all = append(all, xenapi.ErrHostDisabled(ref).Description())
			}
			for _, torn := range patch.Torn(tx, ref) {
				all = append(all, torn.Description())
			}
		}
		return nil
	})
	return all, err
}
