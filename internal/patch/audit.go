package patch

import (
	"context"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
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
	if _, ok := db.Lookup(tx, rec.VDI); ok && rec.ImageDigest == "" {
		faults = append(faults, check.Fault{Invariant: "I1", Object: "patch " + rec.UUID, Problem: "the digest of its VDI is not recorded, so it cannot be applied"})
	}
	for t := range rec.Claims {
		if !pending(tx, t) {
			faults = append(faults, check.Fault{
				Invariant: "I4", Object: "patch " + rec.UUID, Problem: "it is claimed by a task that has ended", Repair: "drop the claim",
				Fix: func(ctx context.Context) error { return s.update(ctx, forgetClaims) },
			})
		}
	}
	_, row := s.hostPatch(tx, ref)
	_, stamped := found[rec.UUID]
	switch state := State(row.State); {
	case state.Busy() && !pending(tx, row.Task):
		faults = append(faults, check.Fault{Invariant: "I3", Object: "patch " + rec.UUID, Problem: "its apply on this host has no task any more", Repair: "restart the daemon"})
	case state == Applied && !stamped:
		faults = append(faults, s.stampFault(rec.UUID, "it is recorded as applied and has no stamp"))
	case stamped && state == Interrupted: // without a row, somebody has called host_patch.destroy: the next start makes it anew
		faults = append(faults, s.stampFault(rec.UUID, "it has a stamp and is not recorded as applied"))
	}
	return faults
}

func pending(tx *db.Tx, t xenapi.Ref[xenapi.Task]) bool {
	rec, ok := db.Lookup(tx, t)
	return ok && rec.Status == xenapi.TaskStatusPending
}

func (s *Service) stampFault(uuid, problem string) check.Fault {
	return check.Fault{Invariant: "I5", Object: "patch " + uuid, Problem: problem, Repair: "make the records follow the stamps", Fix: s.Follow}
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
	return []check.Fault{{Invariant: "I1", Object: "patch " + s.uuidOf(ref), Problem: "its content does not verify: " + err.Error()}}
}
