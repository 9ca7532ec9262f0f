package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"poolpatch/internal/check"
	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

// Audit compares the records of this host's storage with its SRs, loop devices and mounts.
func (s *Service) Audit(ctx context.Context, _ bool) ([]check.Fault, error) {
	var faults []check.Fault
	for _, part := range []func(context.Context) ([]check.Fault, error){
		s.auditImages, s.auditOwners, s.auditOperations, s.auditLoops, s.auditMounts, s.auditVBDs,
	} {
		found, err := part(ctx)
		if err != nil {
			return nil, err
		}
		faults = append(faults, found...)
	}
	return faults, nil
}

// auditImages holds each attached SR's images against the rows and the belongings (I2, I4).
func (s *Service) auditImages(ctx context.Context) ([]check.Fault, error) {
	s.mu.Lock()
	attached := maps.Clone(s.attached)
	s.mu.Unlock()
	var faults []check.Fault
	for ref, on := range attached {
		var rec xenapi.SR
		_ = s.view(func(tx *db.Tx) error { rec, _ = db.Lookup(tx, ref); return nil })
		dctx, cancel := context.WithTimeout(ctx, driverTimeout)
		images, err := on.List(dctx)
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			faults = append(faults, unreadable(rec, err))
			continue
		}
		_ = s.view(func(tx *db.Tx) error {
			faults = append(faults, s.compare(tx, audited{ref, rec.UUID, rec.Forgotten, on}, images)...)
			return nil
		})
	}
	return faults, nil
}

func unreadable(sr xenapi.SR, err error) check.Fault {
	return check.Fault{
		Invariant: "I2", Object: "SR " + sr.UUID, Problem: "it cannot be listed: " + err.Error(),
		Advice: "is what it lies on there? poolpatch sr scan " + sr.UUID + " shows when it is over",
	}
}

// audited is an SR that is looked at.
type audited struct {
	ref       xenapi.Ref[xenapi.SR]
	uuid      string
	forgotten []string // UUIDs of VDIs
	on        SR
}

func (s *Service) compare(tx *db.Tx, sr audited, images []Image) []check.Fault {
	rows := map[string]xenapi.Ref[xenapi.VDI]{}
	for _, vdi := range db.Referrers[xenapi.VDI](tx, "SR", sr.ref) {
		row, _ := db.Lookup(tx, vdi)
		rows[row.Location] = vdi
	}
	var faults []check.Fault
	for _, img := range images {
		row, known := rows[img.Location]
		if known && img.Vanished {
			continue // its row is one without content, below
		}
		delete(rows, img.Location)
		_, owned := task.Owner(tx, kindVDI, img.UUID)
		switch {
		case owned:
		case known:
			faults = append(faults, s.compareImage(tx, sr, img, row)...)
		default:
			faults = append(faults, s.unknownImage(sr, img))
		}
	}
	for location, vdi := range rows {
		row, _ := db.Lookup(tx, vdi)
		if _, owned := task.Owner(tx, kindVDI, row.UUID); !owned {
			faults = append(faults, withoutContent(sr, location, row))
		}
	}
	return faults
}

// withoutContent is the fault of a VDI whose content somebody has removed. It may come back, from wherever it was moved
// to, so only a person can say that it is gone.
func withoutContent(sr audited, location string, row xenapi.VDI) check.Fault {
	fault := check.Fault{
		Invariant: "I2", Object: "VDI " + row.UUID, Problem: "its image " + location + " is not on SR " + sr.uuid,
		Advice: "restore the file, or give the VDI up: poolpatch vdi destroy " + row.UUID,
	}
	if row.MetadataLatest {
		fault.Problem += ", and the pool's database is to be kept in it"
		fault.Advice = "end that, and begin anew: xe sr-disable-database-replication uuid=" + sr.uuid + ", then xe sr-enable-database-replication"
		if row.Type == xenapi.VDITypeRedoLog {
			fault.Advice = "end that, and begin anew: xe pool-disable-redo-log, then xe pool-enable-redo-log sr-uuid=" + sr.uuid
		}
	}
	return fault
}

// compareImage looks at content that a row knows. Whatever is wrong with what the SR remembers of it, the row remembers it too.
func (s *Service) compareImage(tx *db.Tx, sr audited, img Image, row xenapi.Ref[xenapi.VDI]) (faults []check.Fault) {
	fault := check.Fault{Invariant: "I2", Object: fmt.Sprintf("image %s on SR %s", img.Location, sr.uuid)}
	misdescribed, wrongSize := fault, fault
	misdescribed.Repair, misdescribed.Done = "write its metadata anew from the VDI's record", "its metadata was written anew"
	misdescribed.Fix = func(ctx context.Context) error { return s.describeAnew(ctx, sr.on, row) }
	switch {
	case img.Damaged != "":
		misdescribed.Problem = "its metadata cannot be read: " + img.Damaged
	case img.Incomplete:
		misdescribed.Problem = "its metadata is missing"
	case img.Temporary:
		misdescribed.Invariant, misdescribed.Problem = "I4", "it is marked as temporary, and no task owns it"
	}
	if misdescribed.Problem != "" {
		faults = append(faults, misdescribed)
	}
	if vdi, _ := db.Lookup(tx, row); vdi.VirtualSize != img.Size {
		wrongSize.Problem = fmt.Sprintf("it is %d bytes large, its record says %d", img.Size, vdi.VirtualSize)
		wrongSize.Repair, wrongSize.Done = "put the record right", "the record was put right"
		wrongSize.Fix = func(ctx context.Context) error {
			return s.update(ctx, func(tx *db.Tx) error { return resizeRow(tx, row, img, unmeasured) })
		}
		faults = append(faults, wrongSize)
	}
	return faults
}

// describeAnew has the SR remember what a row says.
func (s *Service) describeAnew(ctx context.Context, on SR, row xenapi.Ref[xenapi.VDI]) error {
	rec, err := s.lookup(row)
	if err != nil {
		return err
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	return located(on.Describe(dctx, s.imageOf(rec)), rec.SR, row)
}

// unknownImage is the fault of an image that no record and no task knows. Only what cannot be a VDI any more is destroyed.
func (s *Service) unknownImage(sr audited, img Image) check.Fault {
	fault := check.Fault{Invariant: "I4", Object: fmt.Sprintf("image %s on SR %s", img.Location, sr.uuid)}
	forgotten := slices.Contains(sr.forgotten, img.UUID)
	switch {
	case img.Vanished:
		fault.Problem, fault.Repair, fault.Done = "its content is gone, and nothing but its metadata is left", "remove that", "its metadata was removed"
		fault.Fix = func(ctx context.Context) error { return dropVanished(ctx, sr.on, img.Location) }
	case img.Damaged != "":
		fault.Problem = "its metadata cannot be read, and no record knows it: " + img.Damaged
		fault.Advice = "restore that file; or remove it, then poolpatch check --repair destroys the image"
	case forgotten && img.Incomplete:
		fault.Problem = "its VDI was forgotten (VDI.forget), and its metadata is missing"
		fault.Advice = "restore that file, or remove the image's"
	case forgotten:
		fault.Invariant, fault.Problem = "", "its VDI was forgotten (VDI.forget); SR.scan makes the record again"
	case img.Incomplete || img.Temporary:
		fault.Problem, fault.Repair, fault.Done = "it is what an unfinished task left, and no task owns it", "destroy it", "the image was destroyed"
		fault.Fix = func(ctx context.Context) error { return sr.on.Destroy(ctx, img.Location) }
	default:
		fault.Problem, fault.Repair, fault.Done = "no record and no task owns it", "make its record", "its record was made"
		fault.Fix = func(ctx context.Context) error {
			return s.update(ctx, func(tx *db.Tx) error {
				return errOr(db.Insert(tx, xenapi.NewRef[xenapi.VDI](), recordOf(tx, sr.ref, img)), account(tx, sr.ref, img.Size, unmeasured))
			})
		}
	}
	return fault
}

// auditOwners finds belongings of this host whose task has ended (I4). Those that wait for a process of a patch to end are only
// mentioned.
func (s *Service) auditOwners(context.Context) ([]check.Fault, error) {
	undo := map[string]task.Undo{}
	for _, k := range s.Undo() {
		undo[k.Kind] = k.Undo
	}
	var faults []check.Fault
	_ = s.view(func(tx *db.Tx) error {
		for _, kind := range []string{kindAttachment, kindVDI} {
			for _, b := range task.Belongings(tx, kind) {
				owner, ok := db.Lookup(tx, b.Task)
				if b.Host != s.host || ok && owner.Status == xenapi.TaskStatusPending {
					continue
				}
				if s.busyWorkspace(uuidOfVDI(b)) != nil {
					faults = append(faults, check.Fault{Object: kind + " " + b.Object, Problem: "a process that its task has left uses it; it goes when that ends"})
					continue
				}
				faults = append(faults, check.Fault{
					Invariant: "I4", Object: kind + " " + b.Object, Problem: "the task that owns it has ended", Repair: "remove it", Done: "it was removed",
					Fix: func(ctx context.Context) error { return undo[kind](ctx, b) },
				})
			}
		}
		return nil
	})
	return faults, nil
}

func (s *Service) auditOperations(context.Context) ([]check.Fault, error) {
	var faults []check.Fault
	_ = s.view(func(tx *db.Tx) error {
		for _, sr := range db.All[xenapi.SR](tx) {
			if dropDead(tx, sr.CurrentOperations) {
				faults = append(faults, s.deadOperation("SR "+sr.UUID))
			}
		}
		for _, vdi := range db.All[xenapi.VDI](tx) {
			if dropDead(tx, vdi.CurrentOperations) {
				faults = append(faults, s.deadOperation("VDI "+vdi.UUID))
			}
		}
		for _, vbd := range db.All[xenapi.VBD](tx) {
			if dropDead(tx, vbd.CurrentOperations) {
				faults = append(faults, s.deadOperation("VBD "+vbd.UUID))
			}
		}
		return nil
	})
	return faults, nil
}

func (s *Service) deadOperation(object string) check.Fault {
	return check.Fault{
		Invariant: "I4", Object: object, Problem: "it is marked as used by a task that has ended",
		Repair: "drop the mark", Done: "the mark was dropped", Fix: s.forgetOperations,
	}
}

// auditLoops finds loop devices over images that nothing here has attached (I4). They clear themselves
// when their last user lets go, and only a person can find that user.
func (s *Service) auditLoops(context.Context) ([]check.Fault, error) {
	devices, err := volume.Devices()
	if err != nil {
		return nil, err
	}
	var faults []check.Fault
	_ = s.view(func(tx *db.Tx) error {
		for _, d := range devices {
			if uuid, ours := s.imageOfLoop(tx, d); ours && len(attachments(tx, uuid)) == 0 {
				faults = append(faults, check.Fault{
					Invariant: "I4", Object: "loop device " + d.Path, Problem: "it holds " + d.Backing + ", which nothing has attached",
					Advice: "if nothing uses it (findmnt -S " + d.Path + ", fuser " + d.Path + "): losetup -d " + d.Path,
				})
			}
		}
		return nil
	})
	return faults, nil
}

// imageOfLoop says which VDI a loop device is over, when it is one of an SR of this host.
func (s *Service) imageOfLoop(tx *db.Tx, d volume.Device) (uuid string, ours bool) {
	for _, ref := range db.Referrers[xenapi.PBD](tx, "host", s.host) {
		pbd, _ := db.Lookup(tx, ref)
		dir := pbd.DeviceConfig["location"]
		if dir == "" || !strings.HasPrefix(d.Backing, filepath.Clean(dir)+"/") {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(d.Backing), " (deleted)")
		uuid, _ = xenapi.ParseUUID(strings.TrimSuffix(name, filepath.Ext(name)))
		return uuid, true
	}
	return "", false
}

// auditVBDs finds VBDs of this host that say that they are attached, while nothing is there (I4).
func (s *Service) auditVBDs(context.Context) ([]check.Fault, error) {
	var faults []check.Fault
	_ = s.view(func(tx *db.Tx) error {
		for ref, rec := range pluggedVBDs(tx, s.host) {
			if s.device(ref) == nil && len(rec.CurrentOperations) == 0 {
				faults = append(faults, check.Fault{
					Invariant: "I4", Object: "VBD " + rec.UUID, Problem: "it says that it is attached as " + rec.Device + ", and it is not",
					Repair: "say that it is not, unless it is found in use", Done: "its record was put right",
					Fix: func(ctx context.Context) error { return s.settleVBD(ctx, ref, rec) },
				})
			}
		}
		return nil
	})
	return faults, nil
}

// auditMounts finds mount points that no attachment of this host accounts for (I4).
func (s *Service) auditMounts(context.Context) ([]check.Fault, error) {
	entries, err := os.ReadDir(s.mounts)
	if err != nil {
		return nil, fmt.Errorf("mount points: %w", err)
	}
	var faults []check.Fault
	_ = s.view(func(tx *db.Tx) error {
		for _, entry := range entries {
			vdi, ok := db.Lookup(tx, xenapi.Ref[xenapi.VDI]("OpaqueRef:"+entry.Name()))
			if ok && len(attachments(tx, vdi.UUID)) > 0 {
				continue
			}
			dir := filepath.Join(s.mounts, entry.Name())
			faults = append(faults, check.Fault{
				Invariant: "I4", Object: "mount point " + dir, Problem: "no VDI is attached there",
				Repair: "unmount and remove it", Done: "it was unmounted and removed",
				Fix: func(ctx context.Context) error { return errors.Join(volume.Unmount(ctx, dir), os.Remove(dir)) },
			})
		}
		return nil
	})
	return faults, nil
}
