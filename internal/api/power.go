package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"poolpatch/internal/db"
	"poolpatch/internal/extension"
	"poolpatch/internal/machine"
	"poolpatch/internal/pool"
	"poolpatch/xenapi"
)

const (
	// powerOnTimeout is how long a host that is switched on may take until it lives.
	powerOnTimeout = 5 * time.Minute
	// wakeInterval lies between two magic packets: a network may lose one.
	wakeInterval = 10 * time.Second
	// wakeOnLAN is the power_on_mode that sends them; all others are programs.
	wakeOnLAN = "wake-on-lan"
)

// Programs are ways to switch a host on.
type Programs interface {
	// Do runs one. Errors: [extension.ErrMissing], XENAPI_PLUGIN_FAILURE.
	Do(ctx context.Context, name string, input []byte, env ...string) error
}

func (a *API) hostSetPowerOnMode(ctx context.Context, _ *call, host hostRef, mode string, config map[string]string) error {
	if mode != "" && !extension.Named(mode) {
		return xenapi.ErrInvalidValue("power_on_mode", mode)
	}
	if mac, given := config["mac"]; given && mode == wakeOnLAN {
		if _, err := machine.ParseMAC(mac); err != nil {
			return err
		}
	}
	return a.changeHost(ctx, host, func(rec *xenapi.Host) { rec.PowerOnMode, rec.PowerOnConfig = mode, config })
}

// hostPowerOn ends when the host lives. It changes nothing by itself: a crash leaves a host that starts, or does not.
func (a *API) hostPowerOn(ctx context.Context, _ *call, host hostRef) error {
	var rec xenapi.Host
	err := a.view(func(tx *db.Tx) (err error) {
		if rec, err = db.Get(tx, host); err == nil && pool.Alive(tx, host) {
			err = xenapi.ErrHostIsLive(host)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case rec.PowerOnMode == "":
		return xenapi.ErrHostPowerOnModeDisabled()
	case rec.PowerOnMode == wakeOnLAN:
		return a.wake(ctx, host, rec)
	}
	if err := a.runPowerOn(ctx, rec); err != nil {
		return err
	}
	return a.awaitHost(ctx, host, func() error { return nil })
}

func (a *API) wake(ctx context.Context, host hostRef, rec xenapi.Host) error {
	address, given := rec.PowerOnConfig["mac"]
	if !given {
		address = rec.MAC
	}
	mac, err := machine.ParseMAC(address)
	if err != nil {
		return err
	}
	return a.awaitHost(ctx, host, func() error { return a.services.Machine.Wake(mac) })
}

// runPowerOn gives a program the configuration on its standard input, where no other process sees it: there may be a password in it.
func (a *API) runPowerOn(ctx context.Context, rec xenapi.Host) error {
	input, err := json.Marshal(map[string]any{"host_uuid": rec.UUID, "power_on_mode": rec.PowerOnMode, "power_on_config": rec.PowerOnConfig})
	if err != nil {
		return fmt.Errorf("configuration of %s: %w", rec.PowerOnMode, err)
	}
	err = a.services.PowerOn.Do(ctx, rec.PowerOnMode, input, "POOLPATCH_HOST_UUID="+rec.UUID)
	if errors.Is(err, extension.ErrMissing) {
		return xenapi.ErrXenAPIMissingPlugin(rec.PowerOnMode)
	}
	return err
}

// awaitHost waits until a host lives, and pushes it now and again.
func (a *API) awaitHost(ctx context.Context, host hostRef, push func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, powerOnTimeout, xenapi.ErrHostOffline(host))
	defer cancel()
	for {
		if err := push(); err != nil {
			return err
		}
		lives, err := a.livesSoon(ctx, host)
		switch {
		case lives:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		}
	}
}

// livesSoon waits for a host until it is to be pushed again.
func (a *API) livesSoon(ctx context.Context, host hostRef) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, wakeInterval)
	defer cancel()
	err := a.services.DB.Wait(ctx, func(tx *db.Tx) (bool, error) { return pool.Alive(tx, host), nil })
	if err != nil && ctx.Err() != nil {
		return false, nil // not yet
	}
	return err == nil, err
}

// hostSetInitiator writes the file first: a crash before the record follows leaves one that follows at the daemon's next start.
func (a *API) hostSetInitiator(ctx context.Context, _ *call, host hostRef, name string) error {
	if err := a.services.Machine.SetInitiator(name); err != nil {
		return err
	}
	return a.changeHost(ctx, host, func(rec *xenapi.Host) { rec.ISCSIIQN = name })
}
