package storage

import (
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// AllowedOnSR lists the operations that would be accepted on an SR now, as far as this host can tell.
func (s *Service) AllowedOnSR(tx *db.Tx, ref xenapi.Ref[xenapi.SR], rec xenapi.SR) []xenapi.StorageOperation {
	if len(rec.CurrentOperations) > 0 {
		return nil
	}
	sr, err := s.open(ref)
	if err != nil {
		return []xenapi.StorageOperation{
			xenapi.StorageOperationPlug, xenapi.StorageOperationForget, xenapi.StorageOperationDestroy,
			xenapi.StorageOperationPBDCreate, xenapi.StorageOperationPBDDestroy,
		}
	}
	allowed := []xenapi.StorageOperation{
		xenapi.StorageOperationScan, xenapi.StorageOperationUpdate, xenapi.StorageOperationUnplug,
		xenapi.StorageOperationPBDCreate, xenapi.StorageOperationVDIIntroduce,
	}
	can := sr.Capabilities()
	for op, able := range map[xenapi.StorageOperation]bool{
		xenapi.StorageOperationVDICreate: can.Create, xenapi.StorageOperationVDIDestroy: can.Delete,
		xenapi.StorageOperationVDIResize: can.Resize, xenapi.StorageOperationVDIClone: can.Clone,
		xenapi.StorageOperationVDISnapshot: can.Snapshot,
	} {
		if able {
			allowed = append(allowed, op)
		}
	}
	return inOrder(allowed)
}

// AllowedOnVDI lists the operations that would be accepted on a VDI now. An attached one may be cloned,
// and copied while nobody writes it.
func (s *Service) AllowedOnVDI(tx *db.Tx, rec xenapi.VDI) []xenapi.VDIOperation {
	sr, err := s.open(rec.SR)
	if err != nil || len(rec.CurrentOperations) > 0 {
		return nil
	}
	users := attachments(tx, rec.UUID)
	_, owned := task.Owner(tx, kindVDI, rec.UUID)
	can := sr.Capabilities()
	var allowed []xenapi.VDIOperation
	for op, able := range map[xenapi.VDIOperation]bool{
		xenapi.VDIOperationCopy:     !written(users),
		xenapi.VDIOperationClone:    can.Clone,
		xenapi.VDIOperationSnapshot: can.Snapshot,
		xenapi.VDIOperationUpdate:   true,
		xenapi.VDIOperationResize:   can.Resize && len(users) == 0,
		xenapi.VDIOperationDestroy:  can.Delete && rec.Managed && len(users) == 0 && !owned,
		xenapi.VDIOperationForget:   len(users) == 0 && !owned,
	} {
		if able {
			allowed = append(allowed, op)
		}
	}
	return inOrder(allowed)
}

func written(users []task.Belonging) bool {
	return slices.ContainsFunc(users, func(b task.Belonging) bool { return b.Detail["mode"] == modeNames[ReadWrite] })
}

// inOrder sorts operations as the enumeration declares them.
func inOrder[Op interface {
	~string
	Values() []string
}](ops []Op) []Op {
	declared := Op("").Values()
	slices.SortFunc(ops, func(a, b Op) int {
		return slices.Index(declared, string(a)) - slices.Index(declared, string(b))
	})
	return ops
}
