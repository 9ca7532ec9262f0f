package storage

import (
	"slices"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// AllowedOnSR lists the operations that would be accepted on an SR now, by whichever host sees it.
func (s *Service) AllowedOnSR(tx *db.Tx, ref xenapi.Ref[xenapi.SR], rec xenapi.SR) []xenapi.StorageOperation {
	if len(rec.CurrentOperations) > 0 {
		return nil
	}
	if !plugged(tx, ref) {
		return []xenapi.StorageOperation{
			xenapi.StorageOperationPlug, xenapi.StorageOperationForget, xenapi.StorageOperationDestroy,
			xenapi.StorageOperationPBDCreate, xenapi.StorageOperationPBDDestroy,
		}
	}
	allowed := []xenapi.StorageOperation{
		xenapi.StorageOperationScan, xenapi.StorageOperationUpdate, xenapi.StorageOperationUnplug,
		xenapi.StorageOperationPBDCreate, xenapi.StorageOperationVDIIntroduce,
	}
	for op, needs := range map[xenapi.StorageOperation]string{
		xenapi.StorageOperationVDICreate: "VDI_CREATE", xenapi.StorageOperationVDIDestroy: "VDI_DELETE",
		xenapi.StorageOperationVDIResize: "VDI_RESIZE", xenapi.StorageOperationVDIClone: "VDI_CLONE",
		xenapi.StorageOperationVDISnapshot: "VDI_SNAPSHOT", xenapi.StorageOperationVDIDataDestroy: "VDI_CONFIG_CBT",
		xenapi.StorageOperationVDIEnableCBT: "VDI_CONFIG_CBT", xenapi.StorageOperationVDIDisableCBT: "VDI_CONFIG_CBT",
		xenapi.StorageOperationVDIListChangedBlocks: "VDI_CONFIG_CBT",
	} {
		if slices.Contains(rec.Capabilities, needs) {
			allowed = append(allowed, op)
		}
	}
	return inOrder(allowed)
}

// AllowedOnVDI lists the operations that would be accepted on a VDI now. An attached one may be cloned,
// and copied while nobody writes it.
func (s *Service) AllowedOnVDI(tx *db.Tx, rec xenapi.VDI) []xenapi.VDIOperation {
	sr, ok := db.Lookup(tx, rec.SR)
	if !ok || !plugged(tx, rec.SR) || len(rec.CurrentOperations) > 0 {
		return nil
	}
	users := attachments(tx, rec.UUID)
	_, owned := task.Owner(tx, kindVDI, rec.UUID)
	can := func(capability string) bool { return slices.Contains(sr.Capabilities, capability) }
	data := rec.Type != xenapi.VDITypeCBTMetadata
	idle := len(users) == 0 && !owned
	var allowed []xenapi.VDIOperation
	for op, able := range map[xenapi.VDIOperation]bool{
		xenapi.VDIOperationCopy:     data && !written(users),
		xenapi.VDIOperationClone:    data && can("VDI_CLONE"),
		xenapi.VDIOperationSnapshot: data && can("VDI_SNAPSHOT"),
		xenapi.VDIOperationUpdate:   true,
		xenapi.VDIOperationResize:   data && can("VDI_RESIZE") && len(users) == 0 && !rec.MetadataLatest,
		xenapi.VDIOperationDestroy:  can("VDI_DELETE") && rec.Managed && idle && !rec.MetadataLatest,
		xenapi.VDIOperationForget:   idle && !rec.MetadataLatest,

		xenapi.VDIOperationEnableCBT:         can("VDI_CONFIG_CBT") && ofADisk(rec) && !rec.IsASnapshot,
		xenapi.VDIOperationDisableCBT:        can("VDI_CONFIG_CBT") && ofADisk(rec) && !rec.IsASnapshot,
		xenapi.VDIOperationListChangedBlocks: rec.CBTEnabled && !written(users),
		xenapi.VDIOperationDataDestroy:       can("VDI_CONFIG_CBT") && ofADisk(rec) && rec.IsASnapshot && rec.CBTEnabled && idle,
	} {
		if able {
			allowed = append(allowed, op)
		}
	}
	return inOrder(allowed)
}

// AllowedOnVBD lists the operations that a VBD is ready for, whoever else uses its VDI.
func (s *Service) AllowedOnVBD(rec xenapi.VBD) (allowed []xenapi.VBDOperation) {
	switch removable := rec.Type == xenapi.VBDTypeCD; {
	case len(rec.CurrentOperations) > 0:
	case rec.CurrentlyAttached && rec.Unpluggable:
		allowed = []xenapi.VBDOperation{xenapi.VBDOperationUnplug, xenapi.VBDOperationUnplugForce}
	case rec.CurrentlyAttached:
		allowed = []xenapi.VBDOperation{xenapi.VBDOperationUnplugForce}
	case rec.Empty:
		allowed = []xenapi.VBDOperation{xenapi.VBDOperationInsert}
	case removable:
		allowed = []xenapi.VBDOperation{xenapi.VBDOperationAttach, xenapi.VBDOperationEject, xenapi.VBDOperationPlug}
	default:
		allowed = []xenapi.VBDOperation{xenapi.VBDOperationAttach, xenapi.VBDOperationPlug}
	}
	return allowed
}

// Concerned lists the SRs and VDIs whose allowed operations may have changed with a row of another class: what the two
// functions above ask for besides the record itself.
func Concerned(tx *db.Tx, c db.RowChange) []db.Object {
	switch rec := c.Record().(type) {
	case task.Belonging:
		uuid, _, _ := strings.Cut(rec.Object, " ")
		if ref, ok := tx.RefByUUID("VDI", uuid); ok && (rec.Kind == kindAttachment || rec.Kind == kindVDI) {
			return []db.Object{{Class: "VDI", Ref: ref}}
		}
	case xenapi.VBD:
		before, _ := c.Before.(xenapi.VBD)
		after, _ := c.After.(xenapi.VBD)
		if before.CurrentlyAttached != after.CurrentlyAttached {
			return []db.Object{{Class: "VDI", Ref: string(rec.VDI)}}
		}
	case xenapi.PBD:
		before, _ := c.Before.(xenapi.PBD)
		after, _ := c.After.(xenapi.PBD)
		if before.CurrentlyAttached != after.CurrentlyAttached {
			return append(vdisOf(tx, rec.SR), db.Object{Class: "SR", Ref: string(rec.SR)})
		}
	case xenapi.SR:
		if before, ok := c.Before.(xenapi.SR); ok && !slices.Equal(before.Capabilities, rec.Capabilities) {
			return vdisOf(tx, xenapi.Ref[xenapi.SR](c.Ref))
		}
	}
	return nil
}

func vdisOf(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) (all []db.Object) {
	for _, ref := range tx.ReferrersOf("VDI", "SR", string(sr)) {
		all = append(all, db.Object{Class: "VDI", Ref: ref})
	}
	return all
}

// plugged reports whether any host has an SR plugged.
func plugged(tx *db.Tx, sr xenapi.Ref[xenapi.SR]) bool {
	return slices.ContainsFunc(db.Referrers[xenapi.PBD](tx, "SR", sr), func(ref xenapi.Ref[xenapi.PBD]) bool {
		pbd, _ := db.Lookup(tx, ref)
		return pbd.CurrentlyAttached
	})
}

func written(users []use) bool {
	return slices.ContainsFunc(users, func(u use) bool { return u.writes })
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
