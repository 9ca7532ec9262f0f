package patch

import (
	"context"
	"errors"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/storage/image"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Audit compares the records of patches with their content and with the stamps of this host. A deep
// audit makes a private copy of every patch, as an apply would, and verifies it.
func (s *Service) Audit(ctx context.Context, deep bool) ([]check.Fault, error) {
	found, err := s.stamps.read(s.log)
	if err != nil {
		return nil, err
	}
	var faults []check.Fault
	var inVDI []xenapi.Ref[xenapi.PoolPatch]
	_ = s.db.View(func(tx *db.Tx) error {
		for ref, rec := range db.All[xenapi.PoolPatch](tx) {
			faults = append(faults, s.auditPatch(tx, ref, rec, found)...)
			if _, ok := db.Lookup(tx, rec.VDI); ok {
				inVDI = append(inVDI, ref)
			}
		}
		faults = append(faults, s.auditUpdates(tx)...)
		for uuid := range found {
			if _, err := db.ByUUID[xenapi.PoolPatch](tx, uuid); err != nil {
				faults = append(faults, s.stampFault(uuid, "it has a stamp and no record"))
			}
		}
		return nil
	})
	if deep {
		for _, ref := range inVDI {
			faults = append(faults, s.auditContent(ctx, ref)...)
		}
	}
	return faults, nil
}

func (s *Service) auditPatch(tx *db.Tx, ref xenapi.Ref[xenapi.PoolPatch], rec xenapi.PoolPatch, found map[string]stamp) []check.Fault {
	var faults []check.Fault
	if vdi, ok := db.Lookup(tx, rec.VDI); ok && rec.ImageDigest == "" {
		faults = append(faults, check.Fault{
			Invariant: "I1", Object: "patch " + rec.UUID, Problem: "the digest of its VDI is not recorded, so it cannot be applied",
			Advice: uploadAgain(vdi),
		})
	}
	for t := range rec.Claims {
		if !pending(tx, t) {
			faults = append(faults, check.Fault{
				Invariant: "I4", Object: "patch " + rec.UUID, Problem: "it is claimed by a task that has ended", Repair: "drop the claim", Done: "the claim was dropped",
				Fix: func(ctx context.Context) error { return s.update(ctx, forgetClaims) },
			})
		}
	}
	_, row := s.hostPatch(tx, ref)
	_, stamped := found[rec.UUID]
	switch state := State(row.State); {
	case state.Busy() && !pending(tx, row.Task):
		faults = append(faults, check.Fault{
			Invariant: "I3", Object: "patch " + rec.UUID, Problem: "its apply on this host has no task any more",
			Advice: "systemctl restart poolpatch settles it",
		})
	case state == Applied && !stamped:
		faults = append(faults, s.stampFault(rec.UUID, "it is recorded as applied and has no stamp"))
	case stamped && state == Interrupted: // without a row, somebody has called host_patch.destroy: the next start makes it anew
		faults = append(faults, s.stampFault(rec.UUID, "it has a stamp and is not recorded as applied"))
	}
	return faults
}

// auditUpdates looks for updates and patches that do not belong together.
func (s *Service) auditUpdates(tx *db.Tx) (faults []check.Fault) {
	for ref, rec := range db.All[xenapi.PoolUpdate](tx) {
		if _, ok := patchOf(tx, ref); !ok {
			faults = append(faults, check.Fault{
				Invariant: "I2", Object: "update " + rec.UUID, Problem: "it is an update of no patch", Repair: "remove its record", Done: "its record was removed",
				Fix: func(ctx context.Context) error { return s.update(ctx, s.dropOrphans) },
			})
		}
	}
	for ref, rec := range db.All[xenapi.PoolPatch](tx) {
		if _, ok := db.Lookup(tx, rec.PoolUpdate); !ok && !rec.PoolUpdate.IsNull() {
			faults = append(faults, check.Fault{
				Invariant: "I2", Object: "patch " + rec.UUID, Problem: "its update is gone", Repair: "forget the update", Done: "the update was forgotten",
				Fix: func(ctx context.Context) error {
					return s.update(ctx, func(tx *db.Tx) error {
						return db.Change(tx, ref, func(rec *xenapi.PoolPatch) error { rec.PoolUpdate = ""; return nil })
					})
				},
			})
		}
	}
	return faults
}

func pending(tx *db.Tx, t xenapi.Ref[xenapi.Task]) bool {
	rec, ok := db.Lookup(tx, t)
	return ok && rec.Status == xenapi.TaskStatusPending
}

func (s *Service) stampFault(uuid, problem string) check.Fault {
	return check.Fault{
		Invariant: "I5", Object: "patch " + uuid, Problem: problem,
		Repair: "make the records follow the stamps", Done: "the records follow the stamps now", Fix: s.Follow,
	}
}

// auditContent does with a patch what an apply does before it runs anything.
func (s *Service) auditContent(ctx context.Context, ref xenapi.Ref[xenapi.PoolPatch]) []check.Fault {
	_, err := s.tasks.Do(ctx, task.Spec{Label: "check a patch"}, func(ctx context.Context, t *task.Task) (any, error) {
		release, err := s.hold(ctx, t, ref, opPrecheck)
		if err != nil {
			return "", err
		}
		defer release()
		return "", s.withContent(ctx, t, ref, func(content) error { return nil })
	})
	if err == nil {
		return nil
	}
	fault := check.Fault{Invariant: "I1", Object: "patch " + s.uuidOf(ref)}
	fault.Problem, fault.Advice = s.explain(ref, err)
	return []check.Fault{fault}
}

// explain tells content that is spoiled, which only another upload mends, from what hinders a look at it.
func (s *Service) explain(ref xenapi.Ref[xenapi.PoolPatch], err error) (problem, advice string) {
	var vdi xenapi.VDI
	_ = s.db.View(func(tx *db.Tx) error {
		rec, _ := db.Lookup(tx, ref)
		vdi, _ = db.Lookup(tx, rec.VDI)
		return nil
	})
	code := xenapi.CodeOf(err)
	switch {
	case errors.Is(err, image.ErrCorrupt), code == xenapi.CodeVDIIOError:
		return "its content does not verify: " + err.Error(), uploadAgain(vdi)
	case code == xenapi.CodeInvalidPatch:
		return "its content does not verify: " + err.Error(), "poolpatch key list shows whose patches this host trusts; else " + uploadAgain(vdi)
	}
	return "its content cannot be looked at: " + err.Error(), "poolpatch task list shows what is going on; poolpatch check --deep tries again"
}

// uploadAgain replaces the content of a patch that is in a VDI.
func uploadAgain(vdi xenapi.VDI) string {
	return "poolpatch vdi destroy " + vdi.UUID + ", then poolpatch patch upload FILE"
}
