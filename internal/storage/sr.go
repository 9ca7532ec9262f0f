package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// NewSR says what SR.create is to make.
type NewSR struct {
	Record       xenapi.SR // name_label, name_description, type, content_type, shared, sm_config, physical_size
	Host         xenapi.Ref[xenapi.Host]
	DeviceConfig map[string]string
}

// CreateSR makes an SR, its PBD on this host, and plugs it. A shared one gets a PBD on every host, plugged where that is
// possible now. Errors: SR_UNKNOWN_DRIVER, and what the driver says; then neither record nor SR is left.
func (s *Service) CreateSR(ctx context.Context, t *task.Task, n NewSR) (xenapi.Ref[xenapi.SR], error) {
	if n.Host != s.host && !n.Record.Shared {
		if err := s.view(func(tx *db.Tx) error { _, err := db.Get(tx, n.Host); return err }); err != nil {
			return "", err
		}
		return "", xenapi.ErrHostOffline(n.Host)
	}
	n.Record.PhysicalSize, n.Record.PhysicalUtilisation, n.Record.VirtualAllocation = -1, -1, 0
	sr, err := s.IntroduceSR(ctx, n.Record)
	if err != nil {
		return "", err
	}
	pbd, err := s.CreatePBD(ctx, xenapi.PBD{Host: s.host, SR: sr, DeviceConfig: n.DeviceConfig})
	if err == nil {
		err = s.createOnDriver(ctx, sr, pbd)
	}
	if err == nil {
		err = s.PlugPBD(ctx, t, pbd)
	}
	if err == nil {
		err = s.refresh(ctx, sr)
	}
	if err != nil {
		s.dropSR(ctx, sr)
		return "", err
	}
	if n.Record.Shared {
		s.plugElsewhere(ctx, t, sr, n.DeviceConfig)
	}
	return sr, nil
}

// FindSR is [Service.CreateSR] for an SR that may be there already, with its images, from an earlier life of this host. It
// is not made anew then, and a failure takes nothing from it.
func (s *Service) FindSR(ctx context.Context, t *task.Task, n NewSR) (xenapi.Ref[xenapi.SR], error) {
	driver, err := s.driver(n.Record.Type)
	if err != nil {
		return "", err
	}
	prober, ok := driver.(Prober)
	if !ok {
		return s.CreateSR(ctx, t, n)
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	if n.Record.UUID, err = prober.Probe(dctx, n.DeviceConfig); err != nil {
		return "", err
	}
	if n.Record.UUID == "" {
		return s.CreateSR(ctx, t, n)
	}
	n.Record.PhysicalSize, n.Record.PhysicalUtilisation = -1, -1
	sr, err := s.IntroduceSR(ctx, n.Record)
	if err != nil {
		return "", err
	}
	pbd, err := s.CreatePBD(ctx, xenapi.PBD{Host: s.host, SR: sr, DeviceConfig: n.DeviceConfig})
	if err == nil {
		err = s.PlugPBD(ctx, t, pbd)
	}
	if err != nil {
		return "", errors.Join(err, s.update(ctx, func(tx *db.Tx) error { return deleteSR(tx, sr) }))
	}
	return sr, nil
}

// ScanNew scans the SRs of this host that nobody has scanned since their rows were made: what is on them came along with
// the host.
func (s *Service) ScanNew(ctx context.Context, t *task.Task) error {
	var unknown []xenapi.Ref[xenapi.SR]
	_ = s.view(func(tx *db.Tx) error {
		for _, ref := range db.Referrers[xenapi.PBD](tx, "host", s.host) {
			pbd, _ := db.Lookup(tx, ref)
			if sr, ok := db.Lookup(tx, pbd.SR); ok && pbd.CurrentlyAttached && sr.PhysicalSize < 0 {
				unknown = append(unknown, pbd.SR)
			}
		}
		return nil
	})
	var errs []error
	for _, sr := range unknown {
		errs = append(errs, s.ScanSR(ctx, t, sr))
	}
	return errors.Join(errs...)
}

func (s *Service) createOnDriver(ctx context.Context, ref xenapi.Ref[xenapi.SR], pbdRef xenapi.Ref[xenapi.PBD]) error {
	var sr xenapi.SR
	var pbd xenapi.PBD
	err := s.view(func(tx *db.Tx) (err error) {
		if sr, err = db.Get(tx, ref); err != nil {
			return err
		}
		pbd, err = db.Get(tx, pbdRef)
		return err
	})
	if err != nil {
		return err
	}
	driver, err := s.driver(sr.Type)
	if err != nil {
		return err
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	return driver.Create(dctx, config(sr, pbd))
}

// IntroduceSR makes the record of an SR that exists already. An empty UUID gets a random one.
// Errors: SR_UUID_EXISTS, SR_UNKNOWN_DRIVER.
func (s *Service) IntroduceSR(ctx context.Context, rec xenapi.SR) (xenapi.Ref[xenapi.SR], error) {
	rec.Type = strings.ToLower(rec.Type)
	if _, err := s.driver(rec.Type); err != nil {
		return "", err
	}
	if rec.UUID == "" {
		rec.UUID = xenapi.NewUUID()
	}
	uuid, ok := xenapi.ParseUUID(rec.UUID)
	if !ok {
		return "", xenapi.ErrInvalidValue("uuid", rec.UUID)
	}
	rec.UUID = uuid
	if rec.PhysicalSize == 0 {
		rec.PhysicalSize, rec.PhysicalUtilisation = -1, -1
	}
	ref := xenapi.NewRef[xenapi.SR]()
	return ref, s.db.Update(ctx, func(tx *db.Tx) error {
		if _, err := db.ByUUID[xenapi.SR](tx, uuid); err == nil {
			return xenapi.ErrSRUUIDExists(uuid)
		}
		return db.Insert(tx, ref, rec)
	})
}

// ForgetSR removes an SR's records and leaves its content. Errors: SR_HAS_PBD while one is plugged.
func (s *Service) ForgetSR(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.SR]) error {
	l := lock{sr: ref, srOp: xenapi.StorageOperationForget}
	return s.acquire(ctx, t, l, func(tx *db.Tx) error {
		if err := unplugged(tx, ref); err != nil {
			return err
		}
		return errOr(TellForgotten(tx, ref), deleteSR(tx, ref))
	})
}

// TellForgotten makes a message of an SR that is to be forgotten although the pool's database was kept there.
func TellForgotten(tx *db.Tx, ref xenapi.Ref[xenapi.SR]) error {
	for _, vdi := range db.Referrers[xenapi.VDI](tx, "SR", ref) {
		rec, _ := db.Lookup(tx, vdi)
		if !rec.MetadataLatest {
			continue
		}
		sr, _ := db.Lookup(tx, ref)
		_, err := message.Post(tx, xenapi.Message{
			Name: message.ReplicationEnded, Priority: message.Warning, Cls: xenapi.MessageClassSR, ObjUUID: sr.UUID,
			Body: fmt.Sprintf("The pool's database is not written into VDI %s any more: its SR %s (%s) was forgotten.", rec.UUID, sr.UUID, sr.NameLabel),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func unplugged(tx *db.Tx, ref xenapi.Ref[xenapi.SR]) error {
	for _, pbd := range db.Referrers[xenapi.PBD](tx, "SR", ref) {
		if rec, ok := db.Lookup(tx, pbd); ok && rec.CurrentlyAttached {
			return xenapi.ErrSRHasPBD(ref)
		}
	}
	return nil
}

func deleteSR(tx *db.Tx, ref xenapi.Ref[xenapi.SR]) error {
	for _, vdi := range db.Referrers[xenapi.VDI](tx, "SR", ref) {
		if err := deleteVDI(tx, vdi); err != nil {
			return err
		}
	}
	for _, pbd := range db.Referrers[xenapi.PBD](tx, "SR", ref) {
		if err := db.Delete(tx, pbd); err != nil {
			return err
		}
	}
	return db.Delete(tx, ref)
}

// dropSR removes an SR whose creation failed as far as it got attached, and its records.
func (s *Service) dropSR(ctx context.Context, ref xenapi.Ref[xenapi.SR]) {
	dctx, cancel := cleanup(ctx)
	defer cancel()
	if sr, err := s.open(ref); err == nil {
		if err := sr.Wipe(dctx); err != nil {
			s.log.Error("SR of a failed creation not wiped", "sr", ref, "error", errors.Join(err, sr.Detach(dctx)))
		}
		s.setAttached(ref, nil)
	}
	if err := s.update(ctx, func(tx *db.Tx) error { return deleteSR(tx, ref) }); err != nil {
		s.log.Error("records of a failed SR.create not removed; forget the SR", "sr", ref, "error", err)
	}
}

// DestroySR wipes an SR and removes its records. It must have a PBD on this host, none plugged and no
// managed VDI. Errors: SR_HAS_NO_PBDS, SR_HAS_PBD, SR_NOT_EMPTY, SR_INDESTRUCTIBLE.
func (s *Service) DestroySR(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.SR]) error {
	l := lock{sr: ref, srOp: xenapi.StorageOperationDestroy}
	var pbd xenapi.PBD
	err := s.acquire(ctx, t, l, func(tx *db.Tx) (err error) {
		pbd, err = s.destroyable(tx, ref)
		return err
	})
	if err != nil {
		return err
	}
	// A crash while the driver wipes leaves the records: SR.destroy may be called again.
	err = s.wipe(ctx, ref, pbd)
	return errOr(err, s.update(ctx, func(tx *db.Tx) error {
		if err != nil {
			return s.release(tx, t, l)
		}
		return deleteSR(tx, ref)
	}))
}

func errOr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func (s *Service) destroyable(tx *db.Tx, ref xenapi.Ref[xenapi.SR]) (xenapi.PBD, error) {
	sr, err := db.Get(tx, ref)
	if err != nil {
		return xenapi.PBD{}, err
	}
	if sr.OtherConfig["indestructible"] == "true" {
		return xenapi.PBD{}, xenapi.ErrSRIndestructible(ref)
	}
	if err := unplugged(tx, ref); err != nil {
		return xenapi.PBD{}, err
	}
	for _, vdi := range db.Referrers[xenapi.VDI](tx, "SR", ref) {
		if rec, ok := db.Lookup(tx, vdi); ok && rec.Managed {
			return xenapi.PBD{}, xenapi.ErrSRNotEmpty()
		}
	}
	_, pbd, ok := pbdOf(tx, ref, s.host)
	if !ok {
		return xenapi.PBD{}, xenapi.ErrSRHasNoPBDs(ref)
	}
	return pbd, nil
}

// wipe attaches the SR for the time of the call: only an attached one can be emptied.
func (s *Service) wipe(ctx context.Context, ref xenapi.Ref[xenapi.SR], pbd xenapi.PBD) error {
	if err := s.attach(ctx, pbd); err != nil {
		return err
	}
	sr, err := s.open(ref)
	if err != nil {
		return err
	}
	dctx, cancel := cleanup(ctx)
	defer cancel()
	if err := sr.Wipe(dctx); err != nil {
		return errOr(err, s.detach(ctx, ref))
	}
	s.setAttached(ref, nil)
	return nil
}

// SetShared changes whether several hosts may plug the SR. Errors: SR_HAS_MULTIPLE_PBDS.
func (s *Service) SetShared(ctx context.Context, ref xenapi.Ref[xenapi.SR], shared bool) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		pbds := db.Referrers[xenapi.PBD](tx, "SR", ref)
		if !shared && len(pbds) > 1 {
			names := make([]string, len(pbds))
			for i, pbd := range pbds {
				names[i] = pbd.String()
			}
			return xenapi.ErrSRHasMultiplePBDs(names...)
		}
		return db.Change(tx, ref, func(sr *xenapi.SR) error { sr.Shared = shared; return nil })
	})
}

// ScanSR makes the VDI rows of an SR match what is on it: rows for images that are new, none for those
// that vanished, sizes and descriptions as they are. Images that tasks own are left to them. Of an image whose
// content somebody has removed the rest goes too. Errors: SR_BACKEND_FAILURE naming an image whose metadata is damaged,
// after the others were seen to.
func (s *Service) ScanSR(ctx context.Context, t *task.Task, ref xenapi.Ref[xenapi.SR]) error {
	sr, err := s.open(ref)
	if err != nil {
		return err
	}
	l := lock{sr: ref, srOp: xenapi.StorageOperationScan}
	if err := s.acquire(ctx, t, l, func(*db.Tx) error { return nil }); err != nil {
		return err
	}
	err = s.scan(ctx, sr, ref)
	return errOr(err, s.update(ctx, func(tx *db.Tx) error { return s.release(tx, t, l) }))
}

// scan makes the rows follow what is on an SR, which stays attached as long.
func (s *Service) scan(ctx context.Context, sr SR, ref xenapi.Ref[xenapi.SR]) error {
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	images, err := sr.List(dctx)
	if err != nil {
		return err
	}
	var vanished []string
	if err := s.update(ctx, func(tx *db.Tx) (err error) { vanished, err = reconcile(tx, ref, images); return err }); err != nil {
		return err
	}
	// A crash here leaves descriptions without a row, which the next scan removes.
	for _, location := range vanished {
		err = errOr(err, dropVanished(dctx, sr, location))
	}
	return errors.Join(errOr(err, s.refresh(ctx, ref)), anyDamage(images))
}

// anyDamage names an image that a scan could not understand; it has seen to the others.
func anyDamage(images []Image) error {
	for _, img := range images {
		if img.Damaged != "" {
			return xenapi.ErrSRBackendFailure("1", "", img.Damaged+"; poolpatch check says what to do")
		}
	}
	return nil
}

// dropVanished removes the description of an image whose content is gone, unless somebody has brought that back meanwhile.
func dropVanished(ctx context.Context, sr SR, location string) error {
	_, still, err := find(ctx, sr, func(img Image) bool { return img.Location == location && img.Vanished })
	if err != nil || !still {
		return err
	}
	return sr.Destroy(ctx, location)
}

// AutoScanned lists the SRs plugged here that are to be scanned from time to time, because their other_config says
// auto-scan=true (facts, section 9), and that nobody uses now. Of an SR that several hosts see, turn tells whether it is
// this one that scans it.
func (s *Service) AutoScanned(turn func(*db.Tx, xenapi.Ref[xenapi.SR]) bool) (due []xenapi.Ref[xenapi.SR]) {
	_ = s.view(func(tx *db.Tx) error {
		for ref, sr := range db.All[xenapi.SR](tx) {
			_, unplugged := s.open(ref)
			dropDead(tx, sr.CurrentOperations)
			if unplugged == nil && sr.OtherConfig["auto-scan"] == "true" && len(sr.CurrentOperations) == 0 && turn(tx, ref) {
				due = append(due, ref)
			}
		}
		return nil
	})
	return due
}

// reconcile works by location, as XenAPI does. It gives the locations of what nobody will miss any more: the
// descriptions of images whose content is gone.
func reconcile(tx *db.Tx, sr xenapi.Ref[xenapi.SR], images []Image) (vanished []string, err error) {
	rows := map[string]xenapi.Ref[xenapi.VDI]{}
	for _, ref := range db.Referrers[xenapi.VDI](tx, "SR", sr) {
		if vdi, ok := db.Lookup(tx, ref); ok {
			rows[vdi.Location] = ref
		}
	}
	for _, img := range images {
		if img.Vanished {
			if vdi, _ := db.Lookup(tx, rows[img.Location]); !inUse(tx, img.UUID) && !vdi.MetadataLatest {
				vanished = append(vanished, img.Location)
			}
			continue
		}
		_, owned := task.Owner(tx, kindVDI, img.UUID)
		if owned || img.Temporary || img.Incomplete {
			delete(rows, img.Location)
			continue
		}
		if err := reconcileImage(tx, sr, rows[img.Location], img); err != nil {
			return nil, err
		}
		delete(rows, img.Location)
	}
	for _, gone := range rows {
		// That the pool's database is kept in a VDI is not over because its image is gone: who keeps it there tells.
		if vdi, _ := db.Lookup(tx, gone); inUse(tx, vdi.UUID) || vdi.MetadataLatest {
			continue
		}
		if err := deleteVDI(tx, gone); err != nil {
			return nil, err
		}
	}
	return vanished, db.Change(tx, sr, func(rec *xenapi.SR) error { rec.Forgotten = nil; return nil })
}

// inUse tells a VDI that a task owns, or that is attached.
func inUse(tx *db.Tx, uuid string) bool {
	_, owned := task.Owner(tx, kindVDI, uuid)
	return owned || len(attachments(tx, uuid)) > 0
}

func reconcileImage(tx *db.Tx, sr xenapi.Ref[xenapi.SR], row xenapi.Ref[xenapi.VDI], img Image) error {
	if row.IsNull() {
		return db.Insert(tx, xenapi.NewRef[xenapi.VDI](), recordOf(tx, sr, img))
	}
	return db.Change(tx, row, func(vdi *xenapi.VDI) error {
		// The row knows who has attached the VDI to write since; the SR does not.
		digest := vdi.Digest
		if vdi.VirtualSize != img.Size {
			digest = ""
		}
		adopt(tx, vdi, img)
		vdi.Digest = digest
		return nil
	})
}

// UpdateSR refreshes the sizes alone.
func (s *Service) UpdateSR(ctx context.Context, ref xenapi.Ref[xenapi.SR]) error {
	if _, err := s.open(ref); err != nil {
		return err
	}
	return s.refresh(ctx, ref)
}

func (s *Service) refresh(ctx context.Context, ref xenapi.Ref[xenapi.SR]) error {
	space, err := s.space(ctx, ref)
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *db.Tx) error {
		var promised int64
		for _, vdi := range db.Referrers[xenapi.VDI](tx, "SR", ref) {
			rec, _ := db.Lookup(tx, vdi)
			promised += rec.VirtualSize
		}
		sr, err := db.Get(tx, ref)
		if err != nil {
			return err
		}
		was := sr
		sr.VirtualAllocation, sr.PhysicalSize, sr.PhysicalUtilisation = promised, space.Size, space.Used
		if err := tellSpace(tx, sr); err != nil || sr.VirtualAllocation == was.VirtualAllocation && sr.PhysicalSize == was.PhysicalSize &&
			sr.PhysicalUtilisation == was.PhysicalUtilisation {
			return err // nothing to write: it would be an event for every client
		}
		return db.Put(tx, ref, sr)
	})
}

const (
	// nearlyFull is the share of an SR's space, in hundredths, that makes a message of it.
	nearlyFull = 90
	// roomAgain is the share below which that is over.
	roomAgain = 85
)

// tellSpace makes a message of an SR that is nearly full.
func tellSpace(tx *db.Tx, sr xenapi.SR) error {
	used := sr.PhysicalUtilisation / max(sr.PhysicalSize/100, 1)
	switch {
	case sr.PhysicalSize > 0 && used >= nearlyFull:
		return message.Raise(tx, xenapi.Message{
			Name: message.SRNearlyFull, Priority: message.Warning, Cls: xenapi.MessageClassSR, ObjUUID: sr.UUID,
			Body: fmt.Sprintf("SR %s (%s) is nearly full: %d of %d bytes are used.", sr.UUID, sr.NameLabel, sr.PhysicalUtilisation, sr.PhysicalSize),
		})
	case used < roomAgain:
		return message.Clear(tx, message.SRNearlyFull, sr.UUID)
	}
	return nil
}

// account adds bytes to what an SR's VDIs promise, in the transaction that makes it so, and records its space if that was
// measured.
func account(tx *db.Tx, ref xenapi.Ref[xenapi.SR], bytes int64, space Space) error {
	return db.Change(tx, ref, func(sr *xenapi.SR) error {
		sr.VirtualAllocation += bytes
		if space != unmeasured {
			sr.PhysicalSize, sr.PhysicalUtilisation = space.Size, space.Used
		}
		return nil
	})
}

// unmeasured is the space of an SR that nobody has asked, or that did not say: the next refresh asks again.
var unmeasured Space

func measured(ctx context.Context, sr SR) Space {
	space, err := sr.Space(ctx)
	if err != nil {
		return unmeasured
	}
	return space
}

// RefreshAll refreshes the sizes of every attached SR.
func (s *Service) RefreshAll(ctx context.Context) error {
	s.mu.Lock()
	refs := slices.Collect(maps.Keys(s.attached))
	s.mu.Unlock()
	var errs []error
	for _, ref := range refs {
		errs = append(errs, s.refresh(ctx, ref))
	}
	return errors.Join(errs...)
}

func (s *Service) space(ctx context.Context, ref xenapi.Ref[xenapi.SR]) (Space, error) {
	sr, err := s.open(ref)
	if err != nil {
		return Space{}, err
	}
	dctx, cancel := context.WithTimeout(ctx, driverTimeout)
	defer cancel()
	return sr.Space(dctx)
}

// Free says how many bytes an attached SR has left.
func (s *Service) Free(ctx context.Context, ref xenapi.Ref[xenapi.SR]) (int64, error) {
	space, err := s.space(ctx, ref)
	return space.Free(), err
}

// Capabilities says what an attached SR can do.
func (s *Service) Capabilities(ref xenapi.Ref[xenapi.SR]) (Capabilities, error) {
	sr, err := s.open(ref)
	if err != nil {
		return Capabilities{}, err
	}
	return sr.Capabilities(), nil
}

// SupportedTypes lists the SR types that there are drivers for.
func (s *Service) SupportedTypes() []string {
	var types []string
	for name := range s.drivers {
		types = append(types, name)
	}
	slices.Sort(types)
	return types
}

// RegisterDrivers makes the SM records match the driver table, at the daemon's start.
func (s *Service) RegisterDrivers(ctx context.Context) error {
	return s.update(ctx, func(tx *db.Tx) error {
		rows := map[string]xenapi.Ref[xenapi.SM]{}
		for ref, sm := range db.All[xenapi.SM](tx) {
			rows[sm.Type] = ref
		}
		for name, driver := range s.drivers {
			if err := registerDriver(tx, rows[name], name, driver.Describe()); err != nil {
				return err
			}
		}
		return nil
	})
}

func registerDriver(tx *db.Tx, ref xenapi.Ref[xenapi.SM], name string, d Description) error {
	sm, known := db.Lookup(tx, ref)
	if !known {
		ref, sm = xenapi.NewRef[xenapi.SM](), xenapi.New[xenapi.SM]()
		sm.UUID, sm.Type = xenapi.NewUUID(), name
	}
	sm.NameLabel, sm.NameDescription, sm.Vendor, sm.Copyright, sm.Version = d.Name, d.Text, d.Vendor, d.Copyright, d.Version
	sm.RequiredAPIVersion, sm.Configuration = "1.0", d.Configuration
	sm.Capabilities = d.Features.Names()
	sm.Features = map[string]int64{}
	for _, feature := range sm.Capabilities {
		sm.Features[feature] = 1
	}
	return db.Put(tx, ref, sm)
}
