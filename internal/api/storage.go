package api

import (
	"context"
	"encoding/base64"
	"reflect"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/patch"
	"poolpatch/internal/storage"
	"poolpatch/xenapi"
)

type (
	srRef  = xenapi.Ref[xenapi.SR]
	pbdRef = xenapi.Ref[xenapi.PBD]
	vdiRef = xenapi.Ref[xenapi.VDI]
)

func (a *API) srCreate(ctx context.Context, c *call, host xenapi.Ref[xenapi.Host], deviceConfig map[string]string, size int64,
	label, description, srType, contentType string, shared bool, smConfig map[string]string) (srRef, error) {

	rec := xenapi.New[xenapi.SR]()
	rec.NameLabel, rec.NameDescription, rec.Type, rec.ContentType = label, description, srType, contentType
	rec.PhysicalSize, rec.Shared, rec.SMConfig = size, shared, smConfig
	return a.services.Storage.CreateSR(ctx, c.task, storage.NewSR{Record: rec, Host: host, DeviceConfig: deviceConfig})
}

func (a *API) srIntroduce(ctx context.Context, _ *call, uuid, label, description, srType, contentType string, shared bool, smConfig map[string]string) (srRef, error) {
	rec := xenapi.New[xenapi.SR]()
	rec.UUID, rec.NameLabel, rec.NameDescription, rec.Type, rec.ContentType = uuid, label, description, srType, contentType
	rec.Shared, rec.SMConfig = shared, smConfig
	return a.services.Storage.IntroduceSR(ctx, rec)
}

func (a *API) srForget(ctx context.Context, c *call, sr srRef) error {
	return a.services.Storage.ForgetSR(ctx, c.task, sr)
}

func (a *API) srDestroy(ctx context.Context, c *call, sr srRef) error {
	return a.services.Storage.DestroySR(ctx, c.task, sr)
}

func (a *API) srScan(ctx context.Context, c *call, sr srRef) error {
	return a.services.Storage.ScanSR(ctx, c.task, sr)
}

func (a *API) srUpdate(ctx context.Context, _ *call, sr srRef) error {
	return a.services.Storage.UpdateSR(ctx, sr)
}

func (a *API) changeSR(ctx context.Context, sr srRef, edit func(*xenapi.SR)) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, sr, func(rec *xenapi.SR) error { edit(rec); return nil })
	})
}

func (a *API) srSetNameLabel(ctx context.Context, _ *call, sr srRef, value string) error {
	return a.changeSR(ctx, sr, func(rec *xenapi.SR) { rec.NameLabel = value })
}

func (a *API) srSetNameDescription(ctx context.Context, _ *call, sr srRef, value string) error {
	return a.changeSR(ctx, sr, func(rec *xenapi.SR) { rec.NameDescription = value })
}

func (a *API) srSetPhysicalSize(ctx context.Context, _ *call, sr srRef, value int64) error {
	return a.changeSR(ctx, sr, func(rec *xenapi.SR) { rec.PhysicalSize = value })
}

func (a *API) srSetShared(ctx context.Context, _ *call, sr srRef, value bool) error {
	return a.services.Storage.SetShared(ctx, sr, value)
}

func (a *API) srProbe(ctx context.Context, _ *call, _ hostRef, deviceConfig map[string]string, srType string, _ map[string]string) (string, error) {
	return a.services.Storage.Probe(ctx, srType, deviceConfig)
}

// probeResult is a place where an SR is, or can be made.
type probeResult struct {
	Configuration map[string]string `json:"configuration"`
	Complete      bool              `json:"complete"`     // whether SR.create takes the configuration
	SR            *probedSR         `json:"sr,omitempty"` // the one that is there
	ExtraInfo     map[string]string `json:"extra_info"`
}

type probedSR struct {
	UUID string `json:"uuid"`
}

// Class names the XenAPI class.
func (probeResult) Class() string { return "probe_result" }

// Class names the XenAPI class.
func (probedSR) Class() string { return "sr_stat" }

// srProbeExt tells the one place that a configuration names: with the SR that is there, or as one to make it at.
func (a *API) srProbeExt(ctx context.Context, _ *call, _ hostRef, deviceConfig map[string]string, srType string, _ map[string]string) ([]probeResult, error) {
	uuid, err := a.services.Storage.Find(ctx, srType, deviceConfig)
	if err != nil {
		return nil, err
	}
	place := probeResult{Configuration: deviceConfig, Complete: true}
	if uuid != "" {
		place.SR = &probedSR{uuid}
	}
	return []probeResult{place}, nil
}

func (a *API) srSupportedTypes(context.Context, *call) ([]string, error) {
	return a.services.Storage.SupportedTypes(), nil
}

func (a *API) pbdCreate(ctx context.Context, _ *call, rec xenapi.PBD) (pbdRef, error) {
	return a.services.Storage.CreatePBD(ctx, rec)
}

func (a *API) pbdDestroy(ctx context.Context, _ *call, self pbdRef) error {
	return a.services.Storage.DestroyPBD(ctx, self)
}

func (a *API) pbdPlug(ctx context.Context, c *call, self pbdRef) error {
	return a.services.Storage.PlugPBD(ctx, c.task, self)
}

func (a *API) pbdUnplug(ctx context.Context, c *call, self pbdRef) error {
	return a.services.Storage.UnplugPBD(ctx, c.task, self)
}

func (a *API) pbdSetDeviceConfig(ctx context.Context, _ *call, self pbdRef, value map[string]string) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, self, func(rec *xenapi.PBD) error {
			if rec.CurrentlyAttached {
				return xenapi.ErrOperationNotAllowed("PBD is currently attached")
			}
			rec.DeviceConfig = value
			return nil
		})
	})
}

func (a *API) vdiCreate(ctx context.Context, c *call, rec xenapi.VDI) (vdiRef, error) {
	rec.Tags = unique(reflect.ValueOf(rec.Tags)).Interface().([]string)
	return a.services.Storage.CreateVDI(ctx, c.task, rec)
}

func (a *API) vdiDestroy(ctx context.Context, c *call, self vdiRef) error {
	return a.services.Storage.DestroyVDI(ctx, c.task, self)
}

func (a *API) vdiForget(ctx context.Context, c *call, vdi vdiRef) error {
	return a.services.Storage.ForgetVDI(ctx, c.task, vdi)
}

func (a *API) vdiIntroduce(ctx context.Context, c *call, uuid, label, description string, sr srRef, vdiType xenapi.VDIType,
	sharable, readOnly bool, otherConfig map[string]string, location string, xenstoreData, smConfig map[string]string,
	managed bool, _, _ int64, metadataOf xenapi.Ref[xenapi.Pool], isASnapshot bool, snapshotTime time.Time, snapshotOf vdiRef) (vdiRef, error) {

	rec := xenapi.New[xenapi.VDI]()
	rec.UUID, rec.NameLabel, rec.NameDescription, rec.SR, rec.Type = uuid, label, description, sr, vdiType
	rec.Sharable, rec.ReadOnly, rec.OtherConfig, rec.Location = sharable, readOnly, otherConfig, location
	rec.XenstoreData, rec.SMConfig, rec.MetadataOfPool = xenstoreData, smConfig, metadataOf
	rec.Managed, rec.IsASnapshot, rec.SnapshotTime, rec.SnapshotOf = managed, isASnapshot, snapshotTime, snapshotOf
	return a.services.Storage.IntroduceVDI(ctx, c.task, rec)
}

func (a *API) vdiCopy(ctx context.Context, c *call, vdi vdiRef, sr srRef, base, into vdiRef) (vdiRef, error) {
	return a.services.Storage.CopyVDI(ctx, c.task, vdi, sr, base, into)
}

// vdiPoolMigrate moves a VDI between SRs of the pool. There is no virtual machine that could use it meanwhile.
func (a *API) vdiPoolMigrate(ctx context.Context, c *call, vdi vdiRef, sr srRef, _ map[string]string) (vdiRef, error) {
	return a.services.Storage.MigrateVDI(ctx, c.task, vdi, sr, patch.Moved)
}

func (a *API) vdiClone(ctx context.Context, c *call, vdi vdiRef, _ map[string]string) (vdiRef, error) {
	return a.services.Storage.CloneVDI(ctx, c.task, vdi)
}

func (a *API) vdiSnapshot(ctx context.Context, c *call, vdi vdiRef, _ map[string]string) (vdiRef, error) {
	return a.services.Storage.SnapshotVDI(ctx, c.task, vdi)
}

func (a *API) vdiResize(ctx context.Context, c *call, vdi vdiRef, size int64) error {
	return a.services.Storage.ResizeVDI(ctx, c.task, vdi, size)
}

func (a *API) vdiEnableCBT(ctx context.Context, _ *call, vdi vdiRef) error {
	return a.services.Storage.SetCBT(ctx, vdi, true)
}

func (a *API) vdiDisableCBT(ctx context.Context, _ *call, vdi vdiRef) error {
	return a.services.Storage.SetCBT(ctx, vdi, false)
}

// vdiListChangedBlocks gives a bit for each 64 KiB, in base64.
func (a *API) vdiListChangedBlocks(ctx context.Context, c *call, from, to vdiRef) (string, error) {
	changes, err := a.services.Storage.ChangedBlocks(ctx, c.task, from, to)
	return base64.StdEncoding.EncodeToString(changes), err
}

func (a *API) vdiDataDestroy(ctx context.Context, c *call, vdi vdiRef) error {
	return a.services.Storage.DestroyData(ctx, c.task, vdi)
}

// vdiUpdate has the SR remember what the record says.
func (a *API) vdiUpdate(ctx context.Context, _ *call, vdi vdiRef) error {
	return a.services.Storage.DescribeVDI(ctx, vdi, func(*xenapi.VDI) {})
}

func (a *API) vdiSetNameLabel(ctx context.Context, _ *call, vdi vdiRef, value string) error {
	return a.services.Storage.DescribeVDI(ctx, vdi, func(rec *xenapi.VDI) { rec.NameLabel = value })
}

func (a *API) vdiSetNameDescription(ctx context.Context, _ *call, vdi vdiRef, value string) error {
	return a.services.Storage.DescribeVDI(ctx, vdi, func(rec *xenapi.VDI) { rec.NameDescription = value })
}

func (a *API) vdiSetReadOnly(ctx context.Context, _ *call, vdi vdiRef, value bool) error {
	return a.services.Storage.DescribeVDI(ctx, vdi, func(rec *xenapi.VDI) { rec.ReadOnly = value })
}

func (a *API) vdiSetSharable(ctx context.Context, _ *call, vdi vdiRef, value bool) error {
	return a.services.Storage.DescribeVDI(ctx, vdi, func(rec *xenapi.VDI) { rec.Sharable = value })
}

// vdiSetOnBoot takes what is so already: no SR resets an image when a virtual machine starts.
func (a *API) vdiSetOnBoot(_ context.Context, _ *call, vdi vdiRef, value xenapi.OnBoot) error {
	return a.view(func(tx *db.Tx) error {
		rec, err := db.Get(tx, vdi)
		if err == nil && value != xenapi.OnBootPersist {
			err = xenapi.ErrSROperationNotSupported(rec.SR)
		}
		return err
	})
}

// vdiSetAllowCaching notes a wish: nothing is cached here, so nothing follows from it.
func (a *API) vdiSetAllowCaching(ctx context.Context, _ *call, vdi vdiRef, value bool) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, vdi, func(rec *xenapi.VDI) error { rec.AllowCaching = value; return nil })
	})
}
