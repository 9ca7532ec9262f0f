package storage

import (
	"context"
	"errors"
	"fmt"
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
		s.auditImages, s.auditOwners, s.auditOperations, s.auditLoops, s.auditMounts,
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
	attached := make(map[xenapi.Ref[xenapi.SR]]SR, len(s.attached))
	for ref, sr := range s.attached {
		attached[ref] = sr
	}
	s.mu.Unlock()
	var faults []check.Fault
	for ref, sr := range attached {
		dctx, cancel := context.WithTimeout(ctx, driverTimeout)
		images, err := sr.List(dctx)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("list SR %s: %w", ref, err)
		}
		_ = s.view(func(tx *db.Tx) error {
			rec, _ := db.Lookup(tx, ref)
			faults = append(faults, s.compare(tx, audited{ref, rec.UUID, rec.Forgotten, sr}, images)...)
			return nil
		})
	}
	return faults, nil
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
		_, owned := task.Owner(tx, kindVDI, img.UUID)
		row, known := rows[img.Location]
		if known && img.Vanished {
			continue // the row's fault is enough
		}
		delete(rows, img.Location)
		if fault, bad := s.compareImage(tx, sr, img, row, known, owned); bad {
			faults = append(faults, fault)
		}
	}
	for location, vdi := range rows {
		row, _ := db.Lookup(tx, vdi)
		if _, owned := task.Owner(tx, kindVDI, row.UUID); owned {
			continue
		}
		faults = append(faults, check.Fault{
			Invariant: "I2", Object: "VDI " + row.UUID, Problem: "its image " + location + " is not on SR " + sr.uuid,
			Repair: "forget the record",
			Fix: func(ctx context.Context) error {
				return errOr(s.update(ctx, func(tx *db.Tx) error { return dropVDI(tx, row.UUID, unmeasured) }), dropVanished(ctx, sr.on, location))
			},
		})
	}
	return faults
}

func (s *Service) compareImage(tx *db.Tx, sr audited, img Image, row xenapi.Ref[xenapi.VDI], known, owned bool) (check.Fault, bool) {
	object := fmt.Sprintf("image %s on SR %s", img.Location, sr.uuid)
	destroy := func(ctx context.Context) error { return sr.on.Destroy(ctx, img.Location) }
	switch {
	case owned:
		return check.Fault{}, false
	case img.Vanished:
		return check.Fault{Invariant: "I4", Object: object, Problem: "its content is gone, and nothing but its description is left", Repair: "remove that",
			Fix: func(ctx context.Context) error { return dropVanished(ctx, sr.on, img.Location) }}, true
	case img.Incomplete || img.Temporary && !known:
		return check.Fault{Invariant: "I4", Object: object, Problem: "it is what an unfinished task left, and no task owns it", Repair: "destroy it", Fix: destroy}, true
	case !known && slices.Contains(sr.forgotten, img.UUID):
		return check.Fault{Object: object, Problem: "its VDI was forgotten (VDI.forget); SR.scan makes the record again"}, true
	case !known:
		return check.Fault{Invariant: "I4", Object: object, Problem: "no record and no task owns it", Repair: "make its record", Fix: func(ctx context.Context) error {
			return s.update(ctx, func(tx *db.Tx) error {
				return errOr(db.Insert(tx, xenapi.NewRef[xenapi.VDI](), recordOf(tx, sr.ref, img)), account(tx, sr.ref, img.Size, unmeasured))
			})
		}}, true
	case img.Temporary:
		return check.Fault{Invariant: "I4", Object: object, Problem: "it is marked as temporary, and no task owns it"}, true
	}
	vdi, _ := db.Lookup(tx, row)
	if vdi.VirtualSize != img.Size {
		return check.Fault{
			Invariant: "I2", Object: object, Problem: fmt.Sprintf("it is %d bytes large, its record says %d", img.Size, vdi.VirtualSize), Repair: "put the record right",
			Fix: func(ctx context.Context) error {
				return s.update(ctx, func(tx *db.Tx) error { return resizeRow(tx, row, img, unmeasured) })
			},
		}, true
	}
	return check.Fault{}, false
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
					Invariant: "I4", Object: kind + " " + b.Object, Problem: "the task that owns it has ended", Repair: "remove it",
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
		return nil
	})
	return faults, nil
}

func (s *Service) deadOperation(object string) check.Fault {
	return check.Fault{
		Invariant: "I4", Object: object, Problem: "it is marked as used by a task that has ended", Repair: "drop the mark", Fix: s.forgetOperations,
	}
}

// auditLoops finds loop devices over images that nothing here has attached (I4). They clear themselves
// when their last user lets go, so there is nothing to repair but to find that user.
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
				Invariant: "I4", Object: "mount point " + dir, Problem: "no VDI is attached there", Repair: "unmount and remove it",
				Fix: func(ctx context.Context) error { return errors.Join(volume.Unmount(ctx, dir), os.Remove(dir)) },
			})
		}
		return nil
	})
	return faults, nil
}
