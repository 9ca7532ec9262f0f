package storage

import (
	"context"
	"strconv"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// autodetect asks for whichever device number is free.
const autodetect = "autodetect"

// lastDevice is the largest device number.
const lastDevice = 255

// CreateVBD makes a VBD as rec says, unplugged: VM, VDI, userdevice (a number from 0 to 255, or "autodetect"), bootable, mode,
// type, unpluggable, empty, other_config and the qos fields. Errors: HANDLE_INVALID, VDI_READONLY, DEVICE_ALREADY_EXISTS,
// INVALID_DEVICE, VBD_NOT_REMOVABLE_MEDIA for an empty disk, VBD_CDS_MUST_BE_READONLY.
func (s *Service) CreateVBD(ctx context.Context, rec xenapi.VBD) (xenapi.Ref[xenapi.VBD], error) {
	ref := xenapi.NewRef[xenapi.VBD]()
	return ref, s.db.Update(ctx, func(tx *db.Tx) error { return insertVBD(tx, ref, rec) })
}

func insertVBD(tx *db.Tx, ref xenapi.Ref[xenapi.VBD], rec xenapi.VBD) (err error) {
	if _, err := db.Get(tx, rec.VM); err != nil {
		return err
	}
	if rec.Empty {
		rec.VDI = ""
	}
	if rec.Empty && rec.Type != xenapi.VBDTypeCD {
		return xenapi.ErrVBDNotRemovableMedia("in constructor") // it has no name yet
	}
	if err := fitsMode(tx, rec); err != nil {
		return err
	}
	if rec.Userdevice, err = chooseDevice(tx, rec.VM, rec.Userdevice); err != nil {
		return err
	}
	rec.UUID, rec.CurrentlyAttached, rec.Device = xenapi.NewUUID(), false, ""
	return db.Insert(tx, ref, rec)
}

// fitsMode refuses to write what is read-only.
func fitsMode(tx *db.Tx, rec xenapi.VBD) error {
	if rec.Mode == xenapi.VBDModeRW && rec.Type == xenapi.VBDTypeCD {
		return xenapi.ErrVBDCDsMustBeReadonly()
	}
	if rec.Empty {
		return nil
	}
	vdi, err := db.Get(tx, rec.VDI)
	if err == nil && rec.Mode == xenapi.VBDModeRW && vdi.ReadOnly {
		return xenapi.ErrVDIReadonly(rec.VDI)
	}
	return err
}

// chooseDevice gives the device number that was asked for if it is free, or the first free one.
func chooseDevice(tx *db.Tx, vm xenapi.Ref[xenapi.VM], wanted string) (string, error) {
	taken := map[string]bool{}
	for _, ref := range db.Referrers[xenapi.VBD](tx, "VM", vm) {
		vbd, _ := db.Lookup(tx, ref)
		taken[vbd.Userdevice] = true
	}
	for n := range lastDevice + 1 {
		number := strconv.Itoa(n)
		switch {
		case wanted == number && taken[number]:
			return "", xenapi.ErrDeviceAlreadyExists(number)
		case wanted == number, wanted == autodetect && !taken[number]:
			return number, nil
		}
	}
	return "", xenapi.ErrInvalidDevice(wanted)
}

// DestroyVBD removes an unplugged VBD. Errors: OPERATION_NOT_ALLOWED while it is plugged.
func (s *Service) DestroyVBD(ctx context.Context, ref xenapi.Ref[xenapi.VBD]) error {
	return s.patiently(ctx, func(tx *db.Tx) error {
		rec, err := idleVBD(tx, ref)
		if err != nil {
			return err
		}
		if rec.CurrentlyAttached {
			vm, _ := db.Lookup(tx, rec.VM)
			return xenapi.ErrOperationNotAllowed("VBD '" + rec.UUID + "' still attached to '" + vm.UUID + "'")
		}
		return db.Delete(tx, ref)
	})
}

// idleVBD reads a VBD that no task works on.
func idleVBD(tx *db.Tx, ref xenapi.Ref[xenapi.VBD]) (xenapi.VBD, error) {
	rec, err := db.Get(tx, ref)
	if err != nil {
		return rec, err
	}
	dropDead(tx, rec.CurrentOperations)
	for _, op := range rec.CurrentOperations {
		return rec, xenapi.ErrOtherOperationInProgress("VBD", ref.String(), string(op))
	}
	return rec, nil
}

// changeVBD changes an unplugged VBD that no task works on.
func (s *Service) changeVBD(ctx context.Context, ref xenapi.Ref[xenapi.VBD], fn func(*db.Tx, *xenapi.VBD) error) error {
	return s.patiently(ctx, func(tx *db.Tx) error {
		rec, err := idleVBD(tx, ref)
		if err != nil {
			return err
		}
		if rec.CurrentlyAttached {
			return xenapi.ErrDeviceAlreadyAttached(ref)
		}
		if err := fn(tx, &rec); err != nil {
			return err
		}
		return db.Put(tx, ref, rec)
	})
}

// SetVBDMode says whether an unplugged VBD is to write. Errors: DEVICE_ALREADY_ATTACHED, VDI_READONLY, VBD_CDS_MUST_BE_READONLY.
func (s *Service) SetVBDMode(ctx context.Context, ref xenapi.Ref[xenapi.VBD], mode xenapi.VBDMode) error {
	return s.changeVBD(ctx, ref, func(tx *db.Tx, rec *xenapi.VBD) error {
		rec.Mode = mode
		return fitsMode(tx, *rec)
	})
}

// InsertVDI puts a VDI into an empty CD drive that is not plugged. Errors: VBD_NOT_REMOVABLE_MEDIA, VBD_NOT_EMPTY,
// DEVICE_ALREADY_ATTACHED, HANDLE_INVALID.
func (s *Service) InsertVDI(ctx context.Context, ref xenapi.Ref[xenapi.VBD], vdi xenapi.Ref[xenapi.VDI]) error {
	return s.changeVBD(ctx, ref, func(tx *db.Tx, rec *xenapi.VBD) error {
		switch {
		case rec.Type != xenapi.VBDTypeCD:
			return xenapi.ErrVBDNotRemovableMedia(ref)
		case !rec.Empty:
			return xenapi.ErrVBDNotEmpty(ref)
		}
		rec.VDI, rec.Empty = vdi, false
		return fitsMode(tx, *rec)
	})
}

// EjectVDI empties a CD drive that is not plugged. Errors: VBD_NOT_REMOVABLE_MEDIA, VBD_IS_EMPTY, DEVICE_ALREADY_ATTACHED.
func (s *Service) EjectVDI(ctx context.Context, ref xenapi.Ref[xenapi.VBD]) error {
	return s.changeVBD(ctx, ref, func(_ *db.Tx, rec *xenapi.VBD) error {
		switch {
		case rec.Type != xenapi.VBDTypeCD:
			return xenapi.ErrVBDNotRemovableMedia(ref)
		case rec.Empty:
			return xenapi.ErrVBDIsEmpty(ref)
		}
		rec.VDI, rec.Empty = "", true
		return nil
	})
}

// AssertAttachable fails as a plug of the VBD would fail now. Errors: DEVICE_ALREADY_ATTACHED, VBD_IS_EMPTY, VDI_IN_USE,
// VDI_READONLY, SR_HAS_NO_PBDS.
func (s *Service) AssertAttachable(ref xenapi.Ref[xenapi.VBD]) error {
	return s.view(func(tx *db.Tx) error {
		rec, err := pluggable(tx, ref)
		if err != nil {
			return err
		}
		vdi, err := db.Get(tx, rec.VDI)
		if err != nil {
			return err
		}
		if _, pbd, _ := pbdOf(tx, vdi.SR, hostOfVBD(tx, rec)); !pbd.CurrentlyAttached {
			return xenapi.ErrSRHasNoPBDs(vdi.SR)
		}
		return claimable(tx, rec.VDI, vdi, modeOfVBD(rec))
	})
}

// pluggable reads a VBD that can be plugged as far as that is its own affair.
func pluggable(tx *db.Tx, ref xenapi.Ref[xenapi.VBD]) (xenapi.VBD, error) {
	rec, err := db.Get(tx, ref)
	switch {
	case err != nil:
		return rec, err
	case rec.CurrentlyAttached:
		return rec, xenapi.ErrDeviceAlreadyAttached(ref)
	case rec.Empty:
		return rec, xenapi.ErrVBDIsEmpty(ref)
	}
	if vdi, ok := db.Lookup(tx, rec.VDI); ok {
		if _, temporary := task.Owner(tx, kindVDI, vdi.UUID); temporary {
			return rec, xenapi.ErrVDIInUse(rec.VDI, "attach") // it goes when its task ends
		}
	}
	return rec, fitsMode(tx, rec)
}

func modeOfVBD(rec xenapi.VBD) Mode {
	if rec.Mode == xenapi.VBDModeRW {
		return ReadWrite
	}
	return ReadOnly
}

// hostOfVBD is the host whose control domain a VBD is of.
func hostOfVBD(tx *db.Tx, rec xenapi.VBD) xenapi.Ref[xenapi.Host] {
	vm, _ := db.Lookup(tx, rec.VM)
	return vm.ResidentOn
}

// pluggedVBDs are the VBDs of a host that are plugged.
func pluggedVBDs(tx *db.Tx, host xenapi.Ref[xenapi.Host]) map[xenapi.Ref[xenapi.VBD]]xenapi.VBD {
	plugged := map[xenapi.Ref[xenapi.VBD]]xenapi.VBD{}
	for ref, rec := range db.All[xenapi.VBD](tx) {
		if rec.CurrentlyAttached && hostOfVBD(tx, rec) == host {
			plugged[ref] = rec
		}
	}
	return plugged
}
