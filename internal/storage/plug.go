package storage

import (
	"context"
	"errors"
	"path/filepath"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/internal/volume"
	"poolpatch/xenapi"
)

// A VBD that is plugged is a loop device over its VDI's image, in sight of everybody on the host. While its row says
// currently_attached it uses the VDI as a task that has it attached does; nothing of it is mounted here (I1).
//
// The device lives as long as the daemon, or as somebody uses it. So a daemon that starts finds either the very device that the row
// names, and goes on with it, or none, and says so: nobody loses a disk that he has mounted, and nobody else writes it meanwhile.

// PlugVBD makes the VDI of a VBD a block device of this host, whose name, below /dev, is the VBD's device. Errors:
// DEVICE_ALREADY_ATTACHED, VBD_IS_EMPTY, VDI_IN_USE, VDI_READONLY, VDI_MISSING, SR_HAS_NO_PBDS.
func (s *Service) PlugVBD(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VBD]) error {
	l := lock{vbd: ref, vbdOp: xenapi.VBDOperationPlug}
	var rec xenapi.VBD
	err := s.acquire(ctx, t, l, func(tx *db.Tx) (err error) {
		if rec, err = pluggable(tx, ref); err != nil {
			return err
		}
		return s.mineVBD(tx, rec)
	})
	if err != nil {
		return err
	}
	// A crash from here on leaves the marks of a dead task, and below its attachment too: recovery removes both. The device
	// goes with the process, as nobody knows of it yet.
	s.step("vbd-marked")
	plugged := s.plug(ctx, t, ref, rec)
	s.step("vbd-plugged")
	return errOr(plugged, s.update(ctx, func(tx *db.Tx) error { return s.release(tx, t, l) }))
}

// mineVBD refuses a VBD of another host: its devices are not here.
func (s *Service) mineVBD(tx *db.Tx, rec xenapi.VBD) error {
	if host := hostOfVBD(tx, rec); host != s.host {
		vdi, _ := db.Lookup(tx, rec.VDI)
		return xenapi.ErrHostCannotSeeSR(s.host, vdi.SR)
	}
	return nil
}

func (s *Service) plug(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VBD], rec xenapi.VBD) error {
	a, err := s.Attach(ctx, t, rec.VDI, modeOfVBD(rec))
	if err != nil {
		return err
	}
	s.step("vbd-attached")
	loop, err := volume.Attach(ctx, a.File, a.Mode == ReadOnly)
	if err != nil {
		a.Detach(ctx)
		return err
	}
	s.step("vbd-made")
	// The device is known before the row says so: who reads the row may unplug it at once.
	s.setDevice(ref, loop)
	err = s.update(ctx, func(tx *db.Tx) error { return a.become(tx, ref, loop) })
	if err != nil {
		s.setDevice(ref, nil)
		err = errors.Join(err, loop.Detach(ctx), s.noteDetached(ctx, ref)) // it may be recorded all the same
	}
	a.Detach(ctx) // its file; the device keeps the image open
	return err
}

// become makes a task's use of a VDI the VBD's, in one transaction: the VDI is in use all the time.
func (a *Attachment) become(tx *db.Tx, ref xenapi.Ref[xenapi.VBD], loop *volume.Loop) error {
	err := db.Change(tx, ref, func(rec *xenapi.VBD) error {
		rec.CurrentlyAttached, rec.Device, rec.DeviceUse = true, filepath.Base(loop.Path()), loop.Identity()
		return nil
	})
	return errOr(err, task.Disown(tx, kindAttachment, a.object))
}

// UnplugVBD takes the block device of a VBD away. What was written to it is on stable storage then. By force, the device goes
// although that fails, or although the VBD is marked as not unpluggable; not while somebody uses it. Errors:
// DEVICE_ALREADY_DETACHED, VBD_NOT_UNPLUGGABLE, DEVICE_DETACH_REJECTED naming who uses the device, VDI_IO_ERROR.
func (s *Service) UnplugVBD(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.VBD], force bool) error {
	l := lock{vbd: ref, vbdOp: xenapi.VBDOperationUnplug}
	if force {
		l.vbdOp = xenapi.VBDOperationUnplugForce
	}
	var rec xenapi.VBD
	err := s.acquire(ctx, t, l, func(tx *db.Tx) (err error) {
		rec, err = db.Get(tx, ref)
		switch {
		case err != nil:
			return err
		case !rec.CurrentlyAttached:
			return xenapi.ErrDeviceAlreadyDetached(ref)
		case !rec.Unpluggable && !force:
			return xenapi.ErrVBDNotUnpluggable(ref)
		}
		return s.mineVBD(tx, rec)
	})
	if err != nil {
		return err
	}
	// A crash here leaves the mark of a dead task, which recovery drops, and maybe the device, as any end of the daemon does.
	s.step("vbd-unplugging")
	detached := s.releaseDevice(ctx, ref, rec, force)
	// A crash here leaves a row that says attached, of a device that has gone: the next start puts it right.
	s.step("vbd-unplugged")
	err = s.update(ctx, func(tx *db.Tx) error {
		if detached == nil {
			if err := unplugRow(tx, ref); err != nil {
				return err
			}
		}
		return s.release(tx, t, l)
	})
	if detached == nil && rec.Mode == xenapi.VBDModeRW {
		s.Remeasure(ctx, rec.VDI)
	}
	return errOr(detached, err)
}

// releaseDevice gives the device of a VBD back, if there is one.
func (s *Service) releaseDevice(ctx context.Context, ref xenapi.Ref[xenapi.VBD], rec xenapi.VBD, force bool) error {
	loop, err := s.findDevice(ref, rec)
	if err != nil || loop == nil {
		return err
	}
	if err := loop.Flush(ctx); err != nil && !force {
		return xenapi.ErrVDIIOError(err.Error()).Because(err)
	}
	err = loop.Release(ctx)
	if busy, ok := errors.AsType[*volume.InUseError](err); ok {
		return xenapi.ErrDeviceDetachRejected("VBD", ref, busy.Error()).Because(err)
	}
	if err != nil {
		return err
	}
	s.setDevice(ref, nil)
	return nil
}

// unplugRow says that a VBD is not attached.
func unplugRow(tx *db.Tx, ref xenapi.Ref[xenapi.VBD]) error {
	return db.Change(tx, ref, func(rec *xenapi.VBD) error {
		rec.CurrentlyAttached, rec.Device, rec.DeviceUse = false, "", ""
		return nil
	})
}

// noteDetached records that the device of a VBD has gone, unless there is one again.
func (s *Service) noteDetached(ctx context.Context, ref xenapi.Ref[xenapi.VBD]) error {
	return s.update(ctx, func(tx *db.Tx) error {
		if _, there := db.Lookup(tx, ref); !there || s.device(ref) != nil {
			return nil
		}
		return unplugRow(tx, ref)
	})
}

// settleVBDs brings, at the daemon's start, the VBDs of this host in line with the devices that are there.
func (s *Service) settleVBDs(ctx context.Context) error {
	var errs []error
	for ref, rec := range s.pluggedHere() {
		errs = append(errs, s.settleVBD(ctx, ref, rec))
	}
	return errors.Join(errs...)
}

// settleVBD goes on with the device of a VBD that is still there because somebody uses it, or records that it has gone.
func (s *Service) settleVBD(ctx context.Context, ref xenapi.Ref[xenapi.VBD], rec xenapi.VBD) error {
	loop, err := s.findDevice(ref, rec)
	switch {
	case err != nil: // who cannot tell must not say that nobody uses the VDI
		s.log.Error("it is not known whether the device of a VBD is there; it stays attached", "vbd", rec.UUID, "device", rec.Device, "error", err)
		return nil
	case loop != nil:
		s.log.Info("a VBD is in use, and stays attached", "vbd", rec.UUID, "device", rec.Device)
		return nil
	}
	s.log.Warn("the device of a VBD has gone; plug it again", "vbd", rec.UUID, "device", rec.Device)
	return s.noteDetached(ctx, ref)
}

// releaseVBDs unplugs, at the daemon's stop, the VBDs that nobody uses. The others stay attached, and the next start goes on with
// them; inUse are their VDIs' SRs.
func (s *Service) releaseVBDs(ctx context.Context) (inUse map[xenapi.Ref[xenapi.SR]]bool) {
	inUse = map[xenapi.Ref[xenapi.SR]]bool{}
	plugged := s.openDevices()
	for ref, rec := range plugged {
		if err := s.releaseDevice(ctx, ref, rec, false); err != nil {
			s.log.Warn("a VBD stays attached", "vbd", rec.UUID, "device", rec.Device, "error", err)
			vdi, _ := s.lookup(rec.VDI)
			inUse[vdi.SR] = true
			s.leaveDevice(ref)
			delete(plugged, ref)
		}
	}
	// A crash here leaves rows that say attached, of devices that have gone, as above. So does a database that is not there: a
	// stop does not wait for it.
	err := s.db.Update(ctx, func(tx *db.Tx) error {
		for ref := range plugged {
			if _, there := db.Lookup(tx, ref); !there {
				continue // the pool has forgotten this host
			}
			if err := unplugRow(tx, ref); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.log.Warn("unplugged VBDs are recorded as attached until the next start", "error", err)
	}
	return inUse
}

// leaveDevice leaves a device to who uses it.
func (s *Service) leaveDevice(ref xenapi.Ref[xenapi.VBD]) {
	if loop := s.device(ref); loop != nil {
		loop.Leave()
		s.setDevice(ref, nil)
	}
}

func (s *Service) pluggedHere() (plugged map[xenapi.Ref[xenapi.VBD]]xenapi.VBD) {
	_ = s.view(func(tx *db.Tx) error { plugged = pluggedVBDs(tx, s.host); return nil })
	return plugged
}

// openDevices are the VBDs whose devices this process has open, whatever their rows say.
func (s *Service) openDevices() map[xenapi.Ref[xenapi.VBD]]xenapi.VBD {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := map[xenapi.Ref[xenapi.VBD]]xenapi.VBD{}
	_ = s.view(func(tx *db.Tx) error {
		for ref := range s.devices {
			open[ref], _ = db.Lookup(tx, ref)
		}
		return nil
	})
	return open
}

func (s *Service) device(ref xenapi.Ref[xenapi.VBD]) *volume.Loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.devices[ref]
}

// findDevice gives the device of a VBD that is plugged here, nil when it has gone.
func (s *Service) findDevice(ref xenapi.Ref[xenapi.VBD], rec xenapi.VBD) (*volume.Loop, error) {
	if loop := s.device(ref); loop != nil {
		return loop, nil
	}
	loop, err := volume.Adopt("/dev/"+rec.Device, rec.DeviceUse)
	if loop != nil {
		s.setDevice(ref, loop)
	}
	return loop, err
}

// setDevice remembers the device of a VBD, or with nil that it has none.
func (s *Service) setDevice(ref xenapi.Ref[xenapi.VBD], loop *volume.Loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if loop == nil {
		delete(s.devices, ref)
		return
	}
	s.devices[ref] = loop
}
