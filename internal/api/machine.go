package api

import (
	"context"

	"poolpatch/internal/db"
	"poolpatch/internal/pool"
	"poolpatch/internal/task"
	"poolpatch/xenapi"
)

// Daemon is the process that serves this host.
type Daemon interface {
	Restart() // begins anew
	Stop()    // ends, for whoever supervises it to start or not
	// Certificate is the one that clients are shown, in PEM; "" where there is none.
	Certificate() string
	// ReplaceCertificate has clients shown another one, in PEM, from the daemon's next start on; ResetCertificate one that the
	// daemon makes then.
	ReplaceCertificate(cert, key, chain string) error
	ResetCertificate() error
	// RenewIdentity gives the host a new certificate among the hosts of its pool.
	RenewIdentity(ctx context.Context) error
}

func (a *API) hostReboot(ctx context.Context, _ *call, host hostRef) error {
	if err := a.disabled(host); err != nil {
		return err
	}
	return a.services.Machine.Reboot(ctx)
}

func (a *API) hostShutdown(ctx context.Context, _ *call, host hostRef) error {
	if err := a.disabled(host); err != nil {
		return err
	}
	return a.services.Machine.PowerOff(ctx)
}

// disabled refuses a host that is in use.
func (a *API) disabled(host hostRef) error {
	return a.view(func(tx *db.Tx) error {
		rec, err := db.Get(tx, host)
		if err == nil && rec.Enabled {
			err = xenapi.ErrHostNotDisabled()
		}
		return err
	})
}

// hostRestartAgent also follows the guidance that asks for it: the daemon begins anew in its process, with the program that is
// on the disk now. A crash before it does restarts it as well.
func (a *API) hostRestartAgent(ctx context.Context, _ *call, host hostRef) error {
	if err := a.clearGuidance(ctx, host, func(g xenapi.UpdateGuidance) bool { return g == xenapi.UpdateGuidanceRestartToolstack }); err != nil {
		return err
	}
	a.services.Daemon.Restart()
	return nil
}

func (a *API) hostShutdownAgent(context.Context, *call) error {
	a.services.Daemon.Stop()
	return nil
}

// hostClearGuidance is for an administrator who knows that what a patch asked for is done, or need not be.
func (a *API) hostClearGuidance(ctx context.Context, _ *call) error {
	return a.clearGuidance(ctx, a.services.Host, func(xenapi.UpdateGuidance) bool { return true })
}

func (a *API) hostSetHostname(ctx context.Context, _ *call, host hostRef, name string) error {
	if err := a.services.Machine.SetHostname(name); err != nil {
		return err
	}
	return a.changeHost(ctx, host, func(rec *xenapi.Host) { rec.Hostname = name })
}

func (a *API) hostKernelLog(context.Context, *call, hostRef) (string, error) {
	return a.services.Machine.KernelLog()
}

func (a *API) hostClearKernelLog(context.Context, *call, hostRef) (string, error) {
	return a.services.Machine.ClearKernelLog()
}

func (a *API) hostFreeMemory(context.Context, *call, hostRef) (int64, error) {
	load, err := a.services.Machine.Load()
	return load.MemoryFree, err
}

// Virtual machines cost memory beyond their own; there are none.
func (a *API) hostMemoryOverhead(_ context.Context, _ *call, host hostRef) (int64, error) {
	return 0, exists(a, host)
}

func (a *API) hostCertificate(context.Context, *call, hostRef) (string, error) {
	return a.services.Daemon.Certificate(), nil
}

// hostInstallCertificate begins the daemon anew: connections end with the certificate that they were made under.
func (a *API) hostInstallCertificate(_ context.Context, _ *call, _ hostRef, cert, key, chain string) error {
	if err := a.services.Daemon.ReplaceCertificate(cert, key, chain); err != nil {
		return err
	}
	a.services.Daemon.Restart()
	return nil
}

func (a *API) hostResetCertificate(ctx context.Context, c *call, _ hostRef) error {
	return a.hostEmergencyResetCertificate(ctx, c)
}

func (a *API) hostEmergencyResetCertificate(context.Context, *call) error {
	if err := a.services.Daemon.ResetCertificate(); err != nil {
		return err
	}
	a.services.Daemon.Restart()
	return nil
}

func (a *API) hostRefreshCertificate(ctx context.Context, _ *call, _ hostRef) error {
	return a.services.Daemon.RenewIdentity(ctx)
}

// hostSyncData has a host see all that was committed, which is all that hosts share.
func (a *API) hostSyncData(ctx context.Context, _ *call, _ hostRef) error {
	return a.services.DB.Sync(ctx)
}

// hostDeclareDead frees at once what the tasks of a dead host had claimed, and says that it does not live. A host that gives
// signs of life is not dead.
func (a *API) hostDeclareDead(ctx context.Context, _ *call, host hostRef) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		rec, err := db.Get(tx, host)
		switch {
		case err != nil:
			return err
		case pool.Alive(tx, host):
			return xenapi.ErrHostIsLive(host)
		}
		if metrics, ok := db.Lookup(tx, rec.Metrics); ok {
			metrics.Live = false
			if err := db.Put(tx, rec.Metrics, metrics); err != nil {
				return err
			}
		}
		return task.FailLost(tx, func(other hostRef) bool { return other != host })
	})
}

func (a *API) changeHost(ctx context.Context, host hostRef, edit func(*xenapi.Host)) error {
	return a.services.DB.Update(ctx, func(tx *db.Tx) error {
		return db.Change(tx, host, func(rec *xenapi.Host) error { edit(rec); return nil })
	})
}
