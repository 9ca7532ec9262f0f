package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"poolpatch/internal/db"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// CreatePBD joins an SR to a host, unplugged. Errors: PBD_EXISTS, HANDLE_INVALID, VALUE_NOT_SUPPORTED.
func (s *Service) CreatePBD(ctx context.Context, rec xenapi.PBD) (xenapi.Ref[xenapi.PBD], error) {
	ref := xenapi.NewRef[xenapi.PBD]()
	return ref, s.db.Update(ctx, func(tx *db.Tx) error { return insertPBD(tx, ref, rec) })
}

func insertPBD(tx *db.Tx, ref xenapi.Ref[xenapi.PBD], rec xenapi.PBD) error {
	if _, reserved := rec.DeviceConfig["SRmaster"]; reserved {
		return xenapi.ErrValueNotSupported("device_config", "SRmaster", "the key is reserved")
	}
	if _, err := db.Get(tx, rec.SR); err != nil {
		return err
	}
	if _, err := db.Get(tx, rec.Host); err != nil {
		return err
	}
	if other, _, ok := pbdOf(tx, rec.SR, rec.Host); ok {
		return xenapi.ErrPBDExists(rec.SR, rec.Host, other)
	}
	rec.UUID, rec.CurrentlyAttached = xenapi.NewUUID(), false
	return db.Insert(tx, ref, rec)
}

// pbdOf finds the PBD that joins an SR to a host.
func pbdOf(tx *db.Tx, sr xenapi.Ref[xenapi.SR], host xenapi.Ref[xenapi.Host]) (xenapi.Ref[xenapi.PBD], xenapi.PBD, bool) {
	for _, ref := range db.Referrers[xenapi.PBD](tx, "SR", sr) {
		if pbd, ok := db.Lookup(tx, ref); ok && pbd.Host == host {
			return ref, pbd, true
		}
	}
	return "", xenapi.PBD{}, false
}

// PlugPBD attaches the PBD's SR to this host; it is attached again after every start until it is
// unplugged. Errors: SR_UNKNOWN_DRIVER, SR_NOT_SHARABLE, and what the driver says.
func (s *Service) PlugPBD(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PBD]) error {
	var pbd xenapi.PBD
	l := lock{srOp: xenapi.StorageOperationPlug}
	err := s.view(func(tx *db.Tx) (err error) {
		pbd, err = db.Get(tx, ref)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.mine(pbd); err != nil {
		return err
	}
	if _, err := s.open(pbd.SR); err == nil && pbd.CurrentlyAttached {
		return nil
	}
	l.sr = pbd.SR
	if err := s.acquire(ctx, t, l, func(tx *db.Tx) (err error) {
		if pbd, err = db.Get(tx, ref); err != nil {
			return err
		}
		return sharable(tx, pbd)
	}); err != nil {
		return err
	}
	attached := s.attach(ctx, pbd)
	err = s.update(ctx, func(tx *db.Tx) error {
		if attached == nil {
			if err := setPlugged(tx, ref, true); err != nil {
				return err
			}
		}
		return s.release(tx, t, l)
	})
	if err != nil && attached == nil && !pbd.CurrentlyAttached {
		// What the database does not know must not be usable.
		err = errors.Join(err, s.detach(context.WithoutCancel(ctx), pbd.SR))
	}
	return errOr(attached, err)
}

// mine refuses a PBD of another host: its storage is not reachable from here.
func (s *Service) mine(pbd xenapi.PBD) error {
	if pbd.Host != s.host {
		return xenapi.ErrHostCannotSeeSR(s.host, pbd.SR)
	}
	return nil
}

func sharable(tx *db.Tx, pbd xenapi.PBD) error {
	sr, err := db.Get(tx, pbd.SR)
	if err != nil || sr.Shared {
		return err
	}
	for _, ref := range db.Referrers[xenapi.PBD](tx, "SR", pbd.SR) {
		if other, ok := db.Lookup(tx, ref); ok && other.Host != pbd.Host && other.CurrentlyAttached {
			return xenapi.ErrSRNotSharable(pbd.SR, other.Host)
		}
	}
	return nil
}

func setPlugged(tx *db.Tx, ref xenapi.Ref[xenapi.PBD], plugged bool) error {
	return db.Change(tx, ref, func(pbd *xenapi.PBD) error { pbd.CurrentlyAttached = plugged; return nil })
}

// attach asks the driver for the SR and keeps it; one that is attached stays as it is.
func (s *Service) attach(ctx context.Context, pbd xenapi.PBD) error {
	if _, err := s.open(pbd.SR); err == nil {
		return nil
	}
	var rec xenapi.SR
	if err := s.view(func(tx *db.Tx) (err error) { rec, err = db.Get(tx, pbd.SR); return err }); err != nil {
		return err
	}
	driver, err := s.driver(rec.Type)
	if err != nil {
		return err
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	sr, err := driver.Attach(dctx, config(rec, pbd))
	if err != nil {
		return fmt.Errorf("attach SR %s: %w", rec.UUID, err)
	}
	s.setAttached(pbd.SR, sr)
	return s.noteCapabilities(ctx, pbd.SR, sr.Capabilities().Names())
}

func (s *Service) noteCapabilities(ctx context.Context, ref xenapi.Ref[xenapi.SR], able []string) error {
	return s.update(ctx, func(tx *db.Tx) error {
		if rec, ok := db.Lookup(tx, ref); !ok || slices.Equal(rec.Capabilities, able) {
			return nil
		}
		return db.Change(tx, ref, func(rec *xenapi.SR) error { rec.Capabilities = able; return nil })
	})
}

func config(sr xenapi.SR, pbd xenapi.PBD) Config {
	return Config{UUID: sr.UUID, DeviceConfig: pbd.DeviceConfig, Shared: sr.Shared}
}

// UnplugPBD detaches the SR from this host. Errors: VDI_IN_USE naming the VDIs that are attached.
func (s *Service) UnplugPBD(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.PBD]) error {
	var pbd xenapi.PBD
	if err := s.view(func(tx *db.Tx) (err error) { pbd, err = db.Get(tx, ref); return err }); err != nil {
		return err
	}
	if !pbd.CurrentlyAttached {
		return nil
	}
	if err := s.mine(pbd); err != nil {
		return err
	}
	l := lock{sr: pbd.SR, srOp: xenapi.StorageOperationUnplug}
	if err := s.acquire(ctx, t, l, func(tx *db.Tx) error { return unused(tx, pbd) }); err != nil {
		return err
	}
	detached := s.detach(ctx, pbd.SR)
	err := s.update(ctx, func(tx *db.Tx) error {
		if detached == nil {
			if err := setPlugged(tx, ref, false); err != nil {
				return err
			}
		}
		return s.release(tx, t, l)
	})
	return errOr(detached, err)
}

// unused refuses while a VDI of the SR is attached on the PBD's host or belongs to a task there.
func unused(tx *db.Tx, pbd xenapi.PBD) error {
	var busy []string
	for _, kind := range []string{kindAttachment, kindVDI} {
		for _, b := range task.Belongings(tx, kind) {
			if b.Host != pbd.Host {
				continue
			}
			ref := vdiOfBelonging(tx, b)
			if vdi, ok := db.Lookup(tx, ref); ok && vdi.SR == pbd.SR && !slices.Contains(busy, ref.String()) {
				busy = append(busy, ref.String())
			}
		}
	}
	for _, vbd := range pluggedVBDs(tx, pbd.Host) {
		if vdi, ok := db.Lookup(tx, vbd.VDI); ok && vdi.SR == pbd.SR && !slices.Contains(busy, vbd.VDI.String()) {
			busy = append(busy, vbd.VDI.String())
		}
	}
	if len(busy) > 0 {
		return xenapi.ErrVDIsInUse(busy...)
	}
	return nil
}

// vdiOfBelonging names the VDI that a belonging is, or uses; null while it has no row.
func vdiOfBelonging(tx *db.Tx, b task.Belonging) xenapi.Ref[xenapi.VDI] {
	if b.Kind == kindAttachment {
		return xenapi.Ref[xenapi.VDI](b.Detail["VDI"])
	}
	ref, _ := db.ByUUID[xenapi.VDI](tx, b.Object)
	return ref
}

func (s *Service) detach(ctx context.Context, ref xenapi.Ref[xenapi.SR]) error {
	sr, err := s.open(ref)
	if err != nil {
		return nil // the driver could not attach it: there is nothing to detach
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	if err := sr.Detach(dctx); err != nil {
		return err
	}
	s.setAttached(ref, nil)
	return nil
}

// DestroyPBD removes an unplugged PBD. Errors: OPERATION_NOT_ALLOWED while it is plugged.
func (s *Service) DestroyPBD(ctx context.Context, ref xenapi.Ref[xenapi.PBD]) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		pbd, err := db.Get(tx, ref)
		if err != nil {
			return err
		}
		if pbd.CurrentlyAttached {
			return xenapi.ErrOperationNotAllowed("PBD is currently attached")
		}
		return db.Delete(tx, ref)
	})
}

// PlugAll attaches, at the daemon's start, every SR of this host whose PBD was plugged when it stopped.
// One that cannot be attached now is logged and its PBD marked unplugged: its SR must not keep the host
// down, and an administrator sees why.
func (s *Service) PlugAll(ctx context.Context) error {
	plugged := map[xenapi.Ref[xenapi.PBD]]xenapi.PBD{}
	_ = s.view(func(tx *db.Tx) error {
		for _, ref := range db.Referrers[xenapi.PBD](tx, "host", s.host) {
			if pbd, ok := db.Lookup(tx, ref); ok && pbd.CurrentlyAttached {
				plugged[ref] = pbd
			}
		}
		return nil
	})
	for ref, pbd := range plugged {
		err := s.attach(ctx, pbd)
		if err == nil {
			continue
		}
		s.log.Error("SR not attached; plug its PBD when it is reachable", "pbd", pbd.UUID, "error", err)
		if err := s.update(ctx, func(tx *db.Tx) error { return setPlugged(tx, ref, false) }); err != nil {
			return err
		}
	}
	return nil
}

// DetachAll lets go of every SR, for the daemon's stop, and of the VBDs before. The PBDs stay plugged in the database.
func (s *Service) DetachAll(ctx context.Context) {
	inUse := s.releaseVBDs(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, sr := range s.attached {
		delete(s.attached, ref)
		if inUse[ref] {
			continue // an SR is not detached under an image that is open
		}
		if err := sr.Detach(ctx); err != nil {
			s.log.Warn("detach SR", "sr", ref, "error", err)
		}
	}
}
